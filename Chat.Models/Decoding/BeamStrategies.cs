using Chat.Domain.Plugins;

namespace Chat.Models.Decoding;

/// <summary>What the beam strategies share: several rows, and tokens that depend on more than their own row.</summary>
public abstract class BeamStrategy : IDecodingStrategy
{
    public abstract DecodingOptions Defaults { get; }

    public bool IsPure => false;

    public int Width(DecodingOptions options) => ((BeamOptions)options).NumBeams;

    public abstract ISearch Start(DecodingOptions options, DecodingContext context);
}

/// <summary>True beam search, which EVA2.0's code lacks: there all beams start equal and stay equal (<see cref="EvaSearch"/>).</summary>
[Plugin("beam", Summary = "The most probable reply of several followed at once: safe, often dull.")]
public class Beam : BeamStrategy
{
    public override DecodingOptions Defaults { get; } = new BeamOptions();

    public override ISearch Start(DecodingOptions options, DecodingContext context) => new BeamSearch((BeamOptions)options, context, sample: false);
}

[Plugin("beam-ctl", Paper = "arXiv:2203.09313", Summary = "Beam search with length and repetition control.")]
public sealed class BeamWithControl : Beam
{
    public override DecodingOptions Defaults { get; } = new BeamOptions { RepetitionPenalty = 1.6, NoRepeatNgram = 3 };
}

/// <summary>EVA2.0's «beam + sampling», with temperature once and a masked start.</summary>
[Plugin("beam-sample", Paper = "arXiv:2203.09313", Summary = "Several replies followed at once, their continuations drawn.")]
public class BeamSample : BeamStrategy
{
    public override DecodingOptions Defaults { get; } = new BeamOptions { Temperature = 0.9, TopP = 0.9 };

    public override ISearch Start(DecodingOptions options, DecodingContext context) => new BeamSearch((BeamOptions)options, context, sample: true);
}

/// <summary>The strategy that EVA2.0 ships with: beam + sampling + length + repetition + antonyms.</summary>
[Plugin("eva2", Paper = "arXiv:2203.09313", Summary = "EVA2.0's choice: beam-sample with length and repetition control.")]
public sealed class Eva2 : BeamSample
{
    public override DecodingOptions Defaults { get; } = new BeamOptions { Temperature = 0.9, TopP = 0.9, RepetitionPenalty = 1.6, NoRepeatNgram = 3, Antonyms = true };
}

/// <summary>The same settings with the published code's behaviour, bug for bug.</summary>
[Plugin("eva2-compat", Paper = "arXiv:2203.09313", Summary = "EVA2.0's published code, bug for bug; for comparison.")]
public sealed class Eva2Compat : BeamStrategy
{
    public override DecodingOptions Defaults { get; } = new BeamOptions { Temperature = 0.9, TopP = 0.9, RepetitionPenalty = 1.6, NoRepeatNgram = 3, Antonyms = true };

    public override ISearch Start(DecodingOptions options, DecodingContext context) => new EvaSearch((BeamOptions)options, context);
}
