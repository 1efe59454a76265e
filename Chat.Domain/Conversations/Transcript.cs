using Chat.Domain.Generation;

namespace Chat.Domain.Conversations;

/// <summary>What a Send, Edit or Regenerate comes to, given what is already there.</summary>
public abstract record ReplyDecision
{
    private ReplyDecision() { }

    /// <summary>The request was heard before: its reply is streamed from the start, nothing is stored.</summary>
    public sealed record Replay(Turn Reply) : ReplyDecision;

    /// <summary>A new reply to <paramref name="MessageId"/>.</summary>
    /// <param name="NewMessage">The message is new and is stored with the reply.</param>
    /// <param name="Text">The message's text.</param>
    /// <param name="Follows">The reply that the message follows.</param>
    public sealed record Begin(string MessageId, bool NewMessage, string Text, string? Follows) : ReplyDecision;
}

/// <summary>
/// The turns of a conversation, all branches, in the order in which they were stored, and the decisions that depend on nothing else.
/// Immutable.
/// </summary>
public sealed class Transcript
{
    private readonly IReadOnlyList<Turn> turns;
    private readonly Dictionary<string, Turn> byId;

    public Transcript(IReadOnlyList<Turn> turns)
    {
        this.turns = turns;
        byId = turns.ToDictionary(t => t.Id);
    }

    public IReadOnlyList<Turn> Turns => turns;

    public Turn? Find(string id) => byId.GetValueOrDefault(id);

    /// <exception cref="ChatException">No such reply.</exception>
    public Turn Reply(string id) => Find(id) is { Role: ChatRole.Assistant } reply ? reply : throw ChatException.NoTurn("reply");

    public Turn? NewestReply => turns.LastOrDefault(t => t.Role == ChatRole.Assistant);

    public Turn? NewestReplyTo(string messageId) => turns.LastOrDefault(t => t.Role == ChatRole.Assistant && t.ReplyTo == messageId);

    /// <param name="replyTo">The reply that the message follows, <c>null</c> = the newest.</param>
    public ReplyDecision Send(string messageId, string text, string? replyTo)
    {
        if (Find(messageId) is { } known) return Again(known, text);
        var follows = replyTo is null ? NewestReply : Reply(replyTo);
        return new ReplyDecision.Begin(messageId, NewMessage: true, text, follows?.Id);
    }

    /// <summary>An edit is a sibling of the edited message: both follow the same reply, none is lost.</summary>
    public ReplyDecision Edit(string messageId, string newMessageId, string text)
    {
        if (Find(messageId) is not { Role: ChatRole.User } edited) throw ChatException.NoTurn("message");
        if (Find(newMessageId) is not { } known) return new ReplyDecision.Begin(newMessageId, NewMessage: true, text, edited.ReplyTo);
        if (known.Id == edited.Id || known.ReplyTo != edited.ReplyTo)
            throw new ChatException(ChatError.Conflict, "'newMessageId' already names another turn of this conversation.");
        return Again(known, text);
    }

    /// <param name="replyId">The reply to replace on its branch.</param>
    /// <param name="earlier">The reply that this request id made before, if any.</param>
    /// <param name="earlierOf">The reply that was to be replaced then.</param>
    public ReplyDecision Regenerate(string replyId, string? earlier, string? earlierOf)
    {
        var message = Find(Reply(replyId).ReplyTo!)!;
        if (earlier is null) return new ReplyDecision.Begin(message.Id, NewMessage: false, message.Text, message.ReplyTo);
        if (earlierOf != replyId) throw new ChatException(ChatError.Conflict, "'requestId' was already used to regenerate another reply.");
        var reply = Reply(earlier);
        return reply.State == TurnState.Interrupted ? new ReplyDecision.Begin(message.Id, NewMessage: false, message.Text, message.ReplyTo) : new ReplyDecision.Replay(reply);
    }

    /// <summary>The dialogue that leads to a message, oldest first. Exchanges that were refused or died without a word are left out whole.</summary>
    public IReadOnlyList<ChatMessage> DialogueBefore(string? replyId)
    {
        var messages = new List<ChatMessage>();
        while (replyId is not null && Find(replyId) is { } reply && Find(reply.ReplyTo!) is { } message)
        {
            if (reply.State != TurnState.Refused && reply.Text.Length > 0)
            {
                messages.Add(new(ChatRole.Assistant, reply.Text));
                messages.Add(new(ChatRole.User, message.MaskedText ?? message.Text));
            }
            replyId = message.ReplyTo;
        }
        messages.Reverse();
        return messages;
    }

    /// <summary>The newest <paramref name="limit"/> turns before the turn <paramref name="before"/>, oldest first.</summary>
    /// <exception cref="ChatException">A limit below 1, or no turn <paramref name="before"/>.</exception>
    public IReadOnlyList<Turn> Page(string? before, int limit)
    {
        if (limit < 1) throw ChatException.Invalid($"'limit' is {limit}; it must be 1 to 200.");
        var end = turns.Count;
        if (before is not null)
        {
            var turn = Find(before) ?? throw ChatException.NoTurn("turn");
            for (end = 0; turns[end] != turn; end++) { }
        }
        var start = Math.Max(0, end - Math.Min(limit, 200));
        return [.. turns.Skip(start).Take(end - start)];
    }

    private ReplyDecision Again(Turn known, string text)
    {
        if (known.Role != ChatRole.User || known.Text != text)
            throw new ChatException(ChatError.Conflict, "This message id already names a turn with another text.");
        return NewestReplyTo(known.Id) is { State: not TurnState.Interrupted } reply
            ? new ReplyDecision.Replay(reply)
            : new ReplyDecision.Begin(known.Id, NewMessage: false, known.Text, known.ReplyTo);
    }
}
