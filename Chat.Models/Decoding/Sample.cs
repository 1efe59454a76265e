using Chat.Domain.Plugins;

namespace Chat.Models.Decoding;

/// <summary>Draws each token from the distribution that temperature, top-k, top-p (arXiv:1904.09751) and min-p (arXiv:2407.01082) leave. Defaults: EVA2.0's static evaluation script.</summary>
[Plugin("sample", Paper = "arXiv:1904.09751", Summary = "Draws from the head of the distribution: lively.")]
public class Sample : IDecodingStrategy
{
    public virtual DecodingOptions Defaults { get; } = new() { Temperature = 0.9, TopP = 0.9, RepetitionPenalty = 1.2, NoRepeatNgram = 3 };

    public bool IsPure => true;

    public int Width(DecodingOptions options) => 1;

    public ISearch Start(DecodingOptions options, DecodingContext context) => new TokenSearch(options, context, greedy: false);
}

/// <summary>EVA2.0's interactive script without beams: colder, stronger against repetition.</summary>
[Plugin("sample-steady", Paper = "arXiv:2203.09313", Summary = "Sampling, colder and stronger against repetition: steady.")]
public sealed class SampleSteady : Sample
{
    public override DecodingOptions Defaults { get; } = new() { Temperature = 0.7, TopP = 0.9, RepetitionPenalty = 1.6, NoRepeatNgram = 3, Antonyms = true };
}
