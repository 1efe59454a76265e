using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;

namespace Chat.Domain.Training;

/// <summary>Where a job stands. A worker that dies leaves it <c>running</c>, and another one takes it up when its lease is over.</summary>
[JsonConverter(typeof(JobStateWords))]
public enum JobState
{
    /// <summary>Waits for a worker whose device is free.</summary>
    Queued,
    Running,
    /// <summary>To be cancelled: its worker ends with the step it is at, and a checkpoint.</summary>
    Cancelling,
    /// <summary>Goes on from its checkpoint when it is resumed, as a failed one does.</summary>
    Cancelled,
    Failed,
    Finished,
}

/// <summary>A job's states as camelCase words; numbers are refused.</summary>
public sealed class JobStateWords() : JsonStringEnumConverter<JobState>(System.Text.Json.JsonNamingPolicy.CamelCase, allowIntegerValues: false);

/// <summary>What was asked of a training worker. Never changes.</summary>
/// <param name="Tenant">Only its operators see the job.</param>
/// <param name="Recipe">A training recipe; its <c>name</c> names the run.</param>
/// <param name="Evaluate">Whether the finished model's scores are measured and put into its card.</param>
/// <param name="Register">Whether the run becomes a model folder with a card that gateways and hosts can load.</param>
public sealed partial record TrainingJob(string Id, string Tenant, string SubmittedBy, DateTimeOffset SubmittedAt, JsonObject Recipe, bool Evaluate, bool Register)
{
    /// <summary>Version of the stored form.</summary>
    public int Schema { get; init; } = 1;

    /// <summary>The run's name.</summary>
    [JsonIgnore]
    public string Name => (string?)Recipe["name"] ?? "";

    /// <summary>What <see cref="IsName"/> takes, in words.</summary>
    public const string NameForm = "1 to 64 letters, digits, dots and dashes, a letter or digit first";

    /// <summary>Whether a text can name a run or a model that a job makes: both become folders.</summary>
    public static bool IsName(string text) => Form().IsMatch(text);

    [GeneratedRegex("^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")]
    private static partial Regex Form();
}

/// <summary>How far a job is, as its worker last said. Kept with the job, also when it has ended.</summary>
/// <param name="Phase"><c>train</c>, <c>export</c>, <c>evaluate</c> or <c>register</c>.</param>
/// <param name="Stage">The recipe's name of the stage that is trained.</param>
/// <param name="Step">Updates so far, of all stages.</param>
/// <param name="Of">Updates of the whole recipe; a stage may end early.</param>
/// <param name="Loss">Of the newest update, in nats.</param>
/// <param name="SecondsLeft">Of training, at the pace so far.</param>
/// <param name="Validation">Newest held-out loss in nats by corpus.</param>
/// <param name="Message">What the trainer last said.</param>
/// <param name="Alarm">What somebody should look at.</param>
/// <param name="Checkpoint">Step of the newest checkpoint.</param>
public sealed record JobProgress(
    string Phase, DateTimeOffset At, string? Stage = null, long Step = 0, long Of = 0, double? Loss = null, double? TokensPerSecond = null, double? SecondsLeft = null,
    IReadOnlyDictionary<string, double>? Validation = null, string? Message = null, string? Alarm = null, long Checkpoint = 0);

/// <summary>How a job ended.</summary>
/// <param name="Error">Why it failed, and what to do.</param>
/// <param name="Model">Content hash of the registered model.</param>
public sealed record JobEnd(DateTimeOffset At, string? Error = null, string? Model = null);

/// <summary>A job as operators see it.</summary>
/// <param name="Name">The run's name.</param>
/// <param name="Worker">Who is at it, or was when it died.</param>
/// <param name="Device">Where; one job at a time.</param>
/// <param name="Error">Why it failed, and what to do.</param>
/// <param name="Model">Content hash of the model that it made.</param>
/// <param name="Recipe">As it was submitted; only where one job is read.</param>
public sealed record TrainingJobInfo(
    string Id, string Name, JobState State, string SubmittedBy, DateTimeOffset SubmittedAt, bool Evaluate, bool Register,
    string? Worker, string? Device, JobProgress? Progress, DateTimeOffset? EndedAt, string? Error, string? Model, JsonObject? Recipe);

/// <summary>A plugin of the worker, as it tells the gateways: what recipes can name.</summary>
public sealed record WorkerPlugin(string Kind, string Name, string Summary, string? Paper);
