using System.Text.Json.Nodes;
using Chat.Domain.Generation;

namespace Chat.Domain.Conversations;

/// <summary>A user's turn is always <see cref="Stop"/>: it is whole. An assistant's says how the reply ended.</summary>
public enum TurnState { Running, Stop, Length, Stopped, Refused, Interrupted }

/// <summary>Everything that decided a reply, and what it cost. Enough to produce it again.</summary>
public sealed record ReplyRecord
{
    public required string Model { get; init; }
    public required string ModelHash { get; init; }
    public required string Strategy { get; init; }

    /// <summary>Every option as it was used, spelled out.</summary>
    public required JsonObject Decoding { get; init; }
    public long? Seed { get; init; }
    public required string Bot { get; init; }
    public string? Experiment { get; init; }
    public string? Arm { get; init; }

    /// <summary>Milliseconds from the turn's acceptance.</summary>
    public double? FirstTokenMs { get; init; }
    public double? TotalMs { get; init; }
    public Usage? Usage { get; init; }
    public SpeculationUse? Speculation { get; init; }
}

/// <summary>
/// One utterance. <see cref="ReplyTo"/> makes the branches: an assistant's turn names its message, a user's turn the reply that it follows.
/// The text of a running reply is in its log only.
/// </summary>
public sealed record Turn
{
    public int Schema { get; init; } = Conversation.CurrentSchema;
    public required string Tenant { get; init; }

    /// <summary>A user's messageId, an assistant's replyId.</summary>
    public required string Id { get; init; }
    public required ChatRole Role { get; init; }
    public required string Text { get; init; }
    public required TurnState State { get; init; }
    public string? ReplyTo { get; init; }
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>What the model is given instead of the text, where input safety masked something.</summary>
    public string? MaskedText { get; init; }

    /// <summary>Only on assistant turns.</summary>
    public ReplyRecord? Reply { get; init; }

    /// <summary>The events of a reply that is over, for when its log is no longer kept: the same text and end, in one piece.</summary>
    public IReadOnlyList<ChatEvent> AsEvents()
    {
        var events = new List<ChatEvent> { new() { Type = ChatEventType.Started, ReplyId = Id, Sequence = 1, Model = Reply?.Model } };
        if (Text.Length > 0) events.Add(new() { Type = ChatEventType.Delta, ReplyId = Id, Sequence = 2, Text = Text });
        var last = new ChatEvent { Type = ChatEventType.Finished, ReplyId = Id, Sequence = events.Count + 1 };
        events.Add(State switch
        {
            TurnState.Refused => last with { Type = ChatEventType.Refused, Text = "This reply was refused by the safety rules." },
            TurnState.Interrupted or TurnState.Running => last with { Type = ChatEventType.Error, Text = "The reply was interrupted." },
            TurnState.Length => last with { FinishReason = ReplyFinish.Length, Usage = Reply?.Usage },
            TurnState.Stopped => last with { FinishReason = ReplyFinish.Stopped, Usage = Reply?.Usage },
            _ => last with { FinishReason = ReplyFinish.Stop, Usage = Reply?.Usage },
        });
        return events;
    }
}

/// <summary>A user's opinion of a reply.</summary>
public enum Rating { Up, Down }

/// <param name="Value"><c>null</c> = taken back.</param>
/// <param name="Reasons">Leading <c>#words</c> of the comment, without the sign.</param>
public sealed record RatedReply(Rating? Value, string? Comment, IReadOnlyList<string> Reasons, DateTimeOffset At)
{
    public static IReadOnlyList<string> ReasonsOf(string? comment) =>
        [.. (comment ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).TakeWhile(w => w.Length > 1 && w[0] == '#').Select(w => w[1..])];
}

/// <summary>One row of a history, as clients see it.</summary>
public sealed record HistoryTurn(string Id, ChatRole Role, string Text, TurnState State, string? ReplyTo, DateTimeOffset CreatedAt)
{
    public static HistoryTurn Of(Turn turn) => new(turn.Id, turn.Role, turn.Text, turn.State, turn.ReplyTo, turn.CreatedAt);
}

public sealed record History(IReadOnlyList<HistoryTurn> Turns);
