using System.ComponentModel.DataAnnotations;
using System.Text.Json;

namespace Chat.Models.Decoding;

/// <summary>
/// Options that every strategy takes. The wire's name of an option is the property's in camelCase. A strategy with more options derives
/// a record; <see cref="DecodingCatalog"/> binds and checks by these attributes. Strategies that choose the best token alone (greedy) are
/// indifferent to temperature, top-k, top-p, min-p and top-a: none of them ever removes or overtakes the best token.
/// </summary>
public record DecodingOptions
{
    /// <summary>Divides the scores. 0 means greedy in every strategy: all probability on the best token.</summary>
    [Range(0.0, 2.0)] public double Temperature { get; init; } = 1;

    /// <summary>Keeps the fewest best tokens whose probabilities reach this; 1 = off.</summary>
    [Range(0.0, 1.0, MinimumIsExclusive = true)] public double TopP { get; init; } = 1;

    /// <summary>Keeps this many best tokens, ties kept; 0 = off.</summary>
    [Range(0, 1_000_000)] public int TopK { get; init; }

    /// <summary>Removes tokens less probable than this share of the best one; 0 = off.</summary>
    [Range(0.0, 1.0)] public double MinP { get; init; }

    /// <summary>Removes tokens less probable than this share of the best one's probability squared: the surer the model, the more is cut; 0 = off.</summary>
    [Range(0.0, 1.0)] public double TopA { get; init; }

    /// <summary>Seed of the random stream; drawn when nobody gives one.</summary>
    public long Seed { get; init; }

    [Range(0, 1_000_000)] public int MinTokens { get; init; } = 2;

    [Range(1, 1_000_000)] public int MaxTokens { get; init; } = 128;

    /// <summary>The reply ends before the first of these.</summary>
    [Length(0, 16)] public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>CTRL's θ over the set of ids in dialogue and reply; 1 = off.</summary>
    [Range(0.0, 10.0, MinimumIsExclusive = true)] public double RepetitionPenalty { get; init; } = 1;

    /// <summary>No n units (see <see cref="TokenTable.Units"/>) twice over dialogue and reply; 0 = off.</summary>
    [Range(0, 16)] public int NoRepeatNgram { get; init; }

    /// <summary>Subtracted from a token's score for each time it stands in the reply.</summary>
    [Range(-2.0, 2.0)] public double FrequencyPenalty { get; init; }

    /// <summary>Subtracted from a token's score if it stands in the reply.</summary>
    [Range(-2.0, 2.0)] public double PresencePenalty { get; init; }

    /// <summary>Added to the scores of these ids.</summary>
    [Range(-100.0, 100.0), Length(0, 1024)] public IReadOnlyDictionary<int, double> LogitBias { get; init; } = new Dictionary<int, double>();

    /// <summary>Strings that the reply never contains.</summary>
    [Length(0, 64)] public IReadOnlyList<string> BadWords { get; init; } = [];

    /// <summary>Bans antonyms of the utterance's words; needs a model with an <c>antonyms.json</c>.</summary>
    public bool Antonyms { get; init; }

    /// <summary>A line of verse of five or seven Han characters is answered by a line of equal length, unless the reply is prose.</summary>
    public bool EqualLines { get; init; }

    /// <summary>Who guesses ahead, so that the model says several tokens in one pass. The reply is the same whoever does; strategies that are not pure are not guessed for.</summary>
    public Speculation Speculation { get; init; }

    /// <summary>Chains of guesses that may be tried beside each other, where rows of the model are free and it is measured to be faster.</summary>
    [Range(1, 4)] public int SpeculationWidth { get; init; } = 1;

    /// <summary>The whole reply fits this expression; see <see cref="Constraints.RegexReader"/> for what it may hold.</summary>
    [Length(1, 4096)] public string? GuidedRegex { get; init; }

    /// <summary>The whole reply is JSON that this schema accepts; see <see cref="Constraints.JsonSchemaReader"/> for what it may hold.</summary>
    public JsonElement? GuidedJson { get; init; }

    /// <summary>The reply's form is given.</summary>
    public bool IsGuided => GuidedRegex is not null || GuidedJson is not null;

    /// <summary>A copy of the same type.</summary>
    public DecodingOptions Copy() => this with { };
}

/// <summary>Who guesses a reply's next tokens: nobody, what followed the same words before, or the model's own draft model.</summary>
public enum Speculation { None, Ngram, Draft }

/// <summary>Options of the strategies that keep several hypotheses.</summary>
public record BeamOptions : DecodingOptions
{
    [Range(1, 16)] public int NumBeams { get; init; } = 4;

    /// <summary>ℓ: hypotheses are ranked by sum of log-probabilities / length^ℓ. 0 ranks by sum, 1 by mean.</summary>
    [Range(0.0, 5.0)] public double LengthPenalty { get; init; } = 1.6;

    /// <summary>Stop at the first moment when numBeams hypotheses are complete.</summary>
    public bool EarlyStopping { get; init; }
}

/// <summary>Options of diverse beam search.</summary>
public sealed record DiverseBeamOptions : BeamOptions
{
    /// <summary>Groups that numBeams is shared out to, as evenly as it goes; more groups than beams are as many groups as beams.</summary>
    [Range(1, 16)] public int NumGroups { get; init; } = 2;

    /// <summary>λ: what a token's rank loses for each hypothesis of an earlier group that chose it in the same step.</summary>
    [Range(0.0, 100.0)] public double DiversityStrength { get; init; } = 0.5;
}

/// <summary>Options of locally typical sampling.</summary>
public sealed record TypicalOptions : DecodingOptions
{
    /// <summary>τ: keeps the fewest tokens, those first whose information is nearest to the entropy, whose probabilities reach this; 1 = off.</summary>
    [Range(0.0, 1.0, MinimumIsExclusive = true)] public double TypicalP { get; init; } = 0.95;
}

/// <summary>Options of contrastive search.</summary>
public sealed record ContrastiveOptions : DecodingOptions
{
    /// <summary>k: the most probable tokens that are looked at; each takes a row.</summary>
    [Range(1, 16)] public int Candidates { get; init; } = 4;

    /// <summary>α: how much likeness to the reply so far counts against probability; 0 is greedy.</summary>
    [Range(0.0, 1.0)] public double DegenerationPenalty { get; init; } = 0.6;
}
