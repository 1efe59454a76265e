using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Chat.Training.Methods;

/// <summary>
/// The trainer's figures and spans for OpenTelemetry, beside the journal, which has them all. One meter a process; nobody listening costs nothing. No run or job is a label,
/// since a store of series keeps every name for ever: spans have those. Thread-safe.
/// </summary>
public static class TrainingMeter
{
    /// <summary>Of the meter and of the source of spans.</summary>
    public const string Name = "Chat.Training";

    /// <summary>The label: the recipe's name of the stage.</summary>
    public const string Stage = "stage";

    /// <summary>The label: <c>learning</c>, <c>sampling</c> (writing replies) or <c>teacher</c> (asking it).</summary>
    public const string Part = "part";

    private static readonly Meter Meter = new(Name);

    /// <summary>Spans <c>stage</c> and <c>validation</c>; the worker's jobs are around them.</summary>
    public static readonly ActivitySource Spans = new(Name);

    private static readonly Counter<long> Steps = Meter.CreateCounter<long>("chat_training_steps_total", description: "Updates made.");
    private static readonly Counter<long> Tokens = Meter.CreateCounter<long>("chat_training_tokens_total", description: "Tokens learnt from, both sides.");
    private static readonly Counter<double> Seconds = Meter.CreateCounter<double>("chat_training_step_seconds_total", "s", "Time in updates, by what it went into.");
    private static readonly Gauge<double> Loss = Meter.CreateGauge<double>("chat_training_loss", description: "Loss of the newest update, in nats.");
    private static readonly Gauge<double> GradientNorm = Meter.CreateGauge<double>("chat_training_gradient_norm", description: "Norm of the newest update's gradient, before it is clipped.");
    private static readonly Gauge<double> LearningRate = Meter.CreateGauge<double>("chat_training_learning_rate", description: "Learning rate of the newest update.");

    /// <summary>Counts an update.</summary>
    /// <param name="entry">Its line of the journal.</param>
    /// <param name="tokens">That this update learnt from.</param>
    internal static void Updated(JournalEntry entry, long tokens, double seconds)
    {
        var stage = new KeyValuePair<string, object?>(Stage, entry.Stage);
        Steps.Add(1, stage);
        Tokens.Add(tokens, stage);
        var (sampling, teacher) = (entry.Seconds?.Sampling ?? 0, entry.Seconds?.Teacher ?? 0);
        foreach (var (part, taken) in new (string, double)[] { ("learning", seconds - sampling - teacher), ("sampling", sampling), ("teacher", teacher) }) Seconds.Add(Math.Max(0, taken), stage, new(Part, part));
        if (entry.Loss is { } loss) Loss.Record(loss, stage);
        if (entry.GradientNorm is { } norm) GradientNorm.Record(norm, stage);
        if (entry.LearningRate is { } rate) LearningRate.Record(rate, stage);
    }
}
