using Chat.Domain.Plugins;

namespace Chat.Models.Decoding;

/// <summary>Draws each token from the distribution that temperature, top-k, top-p (arXiv:1904.09751) and min-p (arXiv:2407.01082) leave. Defaults: EVA2.0's static evaluation script.</summary>
[Plugin("sample", Paper = "arXiv:1904.09751", Summary = "Draws from the head of the distribution: lively.")]
public class Sample : IDecodingStrategy
{
    public virtual DecodingOptions Defaults { get; } = new() { Temperature = 0.9, TopP = 0.9, RepetitionPenalty = 1.2, NoRepeatNgram = 3 };

    public bool IsPure => true;

    public int Width(DecodingOptions options) => 1;

    public virtual ISearch Start(DecodingOptions options, DecodingContext context) => new TokenSearch(options, context, greedy: false);
}

/// <summary>EVA2.0's interactive script without beams: colder, stronger against repetition.</summary>
[Plugin("sample-steady", Paper = "arXiv:2203.09313", Summary = "Sampling, colder and stronger against repetition: steady.")]
public sealed class SampleSteady : Sample
{
    public override DecodingOptions Defaults { get; } = new() { Temperature = 0.7, TopP = 0.9, RepetitionPenalty = 1.6, NoRepeatNgram = 3, Antonyms = true };
}

/// <summary>
/// Locally typical sampling (Meister et al., arXiv:2202.00666): draws among the tokens whose information is near the entropy, so that neither the
/// too obvious nor the too strange is said. The kept set is made first, on what the temperature left; the other cuts follow.
/// </summary>
[Plugin("typical", Paper = "arXiv:2202.00666", Summary = "Draws among tokens about as surprising as the model expects: neither dull nor odd.")]
public sealed class Typical : Sample
{
    public override DecodingOptions Defaults { get; } = new TypicalOptions { RepetitionPenalty = 1.2, NoRepeatNgram = 3 };
}

/// <summary>Top-a (B. Peng, RWKV-LM, 2021; KoboldAI): cuts below a·p², p the best token's probability; many tokens stay where the model is unsure, few where it is sure.</summary>
[Plugin("top-a", Summary = "Draws from a head that is short where the model is sure and long where it is not.")]
public sealed class TopA : Sample
{
    public override DecodingOptions Defaults { get; } = new() { Temperature = 0.9, TopA = 0.2, RepetitionPenalty = 1.2, NoRepeatNgram = 3 };
}
