using System.Text.Json;
using System.Text.Json.Serialization;

namespace Chat.Training.Methods;

/// <summary>A line of the journal: a step's figures, or a validation's.</summary>
/// <param name="Step">Updates of all stages.</param>
/// <param name="Loss">The method's, in nats.</param>
/// <param name="Validation">Token-mean loss in nats by corpus, on validation lines.</param>
/// <param name="ContextGain">Nats a token that the right context saves against a wrong one, on validation lines.</param>
/// <param name="Parts">What a loss is made of, and other figures of the update, by name.</param>
/// <param name="Alarm">What went wrong in this update.</param>
/// <param name="Replies">What greedy replies to held-out prompts are worth, on validation lines of stages with <c>quality</c>.</param>
/// <param name="Seconds">What an update's replies and its teacher took of it, where there are any.</param>
/// <param name="Ended">Why the stage ends before its last step.</param>
public sealed record JournalEntry(
    long Step, string Stage, double? Loss = null, double? GradientNorm = null, double? LearningRate = null, long? Tokens = null, double? TokensPerSecond = null,
    IReadOnlyDictionary<string, double>? Validation = null, IReadOnlyDictionary<string, double>? ContextGain = null,
    IReadOnlyDictionary<string, double>? Parts = null, string? Alarm = null,
    ReplyFigures? Replies = null, UpdateSeconds? Seconds = null, string? Ended = null)
{
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    /// <summary>A journal's lines; one that a dying process left half-written is not among them.</summary>
    public static JournalEntry[] Read(string journal) => [.. File.ReadLines(journal).Select(Parse).OfType<JournalEntry>()];

    /// <summary>A line, or <c>null</c> where it is not whole; half of one may well end in a brace.</summary>
    public static JournalEntry? Parse(string line)
    {
        try { return JsonSerializer.Deserialize<JournalEntry>(line, Json); }
        catch (JsonException) { return null; }
    }

    public string ToLine() => JsonSerializer.Serialize(this, Json);
}

/// <summary>A run's journal as it is written: lines for programs, and events for TensorBoard (<c>tensorboard --logdir runs</c>).</summary>
internal sealed class Journal(RunFolder folder, long firstStep, TimeProvider time) : IDisposable
{
    private readonly StreamWriter lines = new(folder.Journal, append: true) { AutoFlush = true };
    private readonly TensorBoardLog events = new(folder.Root, firstStep, time);

    public void Write(JournalEntry entry)
    {
        lines.WriteLine(entry.ToLine());
        events.Write(entry);
    }

    public void Dispose()
    {
        lines.Dispose();
        events.Dispose();
    }
}
