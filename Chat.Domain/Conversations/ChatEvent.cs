using System.Text.Json.Serialization;

namespace Chat.Domain.Conversations;

public enum ChatEventType { Started, Delta, Tool, Refused, Finished, Error }

public enum ReplyFinish { Stop, Length, Stopped }

/// <summary>Tokens the model was fed and tokens it chose (the end token not counted).</summary>
public sealed record Usage(int PromptTokens, int CompletionTokens);

/// <summary>
/// One event of a reply, as clients receive it and as the reply log keeps it. <see cref="Sequence"/> starts at 1 with <c>started</c> and rises
/// by exactly 1 an event. <c>finished</c>, <c>refused</c> and <c>error</c> are terminal: nothing follows them, ever.
/// </summary>
public record ChatEvent
{
    public required ChatEventType Type { get; init; }
    public required string ReplyId { get; init; }
    public required long Sequence { get; init; }

    /// <summary>A delta's words (whole characters), or the sentence of a refusal or an error.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Text { get; init; }

    /// <summary>Only on <c>finished</c>.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ReplyFinish? FinishReason { get; init; }

    /// <summary>Only on <c>finished</c>.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Usage? Usage { get; init; }

    /// <summary>The model's id, on <c>started</c>.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Model { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? PairId { get; init; }

    /// <summary>Filled only for callers with the role product.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Experiment { get; init; }

    /// <summary>Filled only for callers with the role product.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Arm { get; init; }

    public bool IsTerminal() => Type is ChatEventType.Finished or ChatEventType.Refused or ChatEventType.Error;
}
