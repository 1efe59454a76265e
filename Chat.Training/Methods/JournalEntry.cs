using System.Text.Json;
using System.Text.Json.Serialization;

namespace Chat.Training.Methods;

/// <summary>A line of the journal: a step's figures, or a validation's.</summary>
/// <param name="Step">Updates of all stages.</param>
/// <param name="Loss">The method's, in nats.</param>
/// <param name="Validation">Token-mean loss in nats by corpus, on validation lines.</param>
/// <param name="ContextGain">Nats a token that the right context saves against a wrong one, on validation lines.</param>
/// <param name="Parts">What a loss is made of, and other figures of the update, by name.</param>
public sealed record JournalEntry(
    long Step, string Stage, double? Loss = null, double? GradientNorm = null, double? LearningRate = null, long? Tokens = null, double? TokensPerSecond = null,
    IReadOnlyDictionary<string, double>? Validation = null, IReadOnlyDictionary<string, double>? ContextGain = null,
    IReadOnlyDictionary<string, double>? Parts = null)
{
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    public string ToLine() => JsonSerializer.Serialize(this, Json);
}
