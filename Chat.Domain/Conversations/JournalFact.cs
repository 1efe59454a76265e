namespace Chat.Domain.Conversations;

public enum FactKind { Sent, Started, FirstToken, Finished, Rated, Regenerated, Stopped, Edited, Refused }

/// <summary>
/// One line of the append-only conversation journal: what happened, when, to which turn. No text. Experiments and reports only roll it up, so a
/// fact is written in the same transaction as the change that it tells of.
/// </summary>
public sealed record JournalFact
{
    public int Schema { get; init; } = Conversation.CurrentSchema;
    public required string Tenant { get; init; }
    public required FactKind Kind { get; init; }
    public required DateTimeOffset At { get; init; }

    /// <summary>The turn that it is about: a message for sent and edited, a reply for all others.</summary>
    public required string Turn { get; init; }
    public string? Model { get; init; }
    public TurnState? State { get; init; }
    public Usage? Usage { get; init; }
    public double? Milliseconds { get; init; }
    public Rating? Rating { get; init; }
    public IReadOnlyList<string>? Reasons { get; init; }

    /// <summary>The turn that an edit or a regeneration replaces on its branch.</summary>
    public string? Of { get; init; }
}
