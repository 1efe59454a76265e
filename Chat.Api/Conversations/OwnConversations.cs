using Chat.Api.Store;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;

namespace Chat.Api.Conversations;

/// <summary>
/// A caller's way to conversations: checks ownership, and mends what a dead process left behind before anybody decides by it. Somebody else's
/// conversation and an unknown one give the same answer.
/// </summary>
internal sealed class OwnConversations(ConversationStore store, ReplyLog log, RunningReplies replies)
{
    /// <exception cref="ChatException"><c>not_found</c>.</exception>
    public async Task<Conversation> GetAsync(Caller caller, string? id)
    {
        MessageText.Id(id, "conversationId");
        return await store.FindAsync(id!) is { } conversation && conversation.IsOwnedBy(caller) ? conversation : throw ChatException.NoConversation();
    }

    /// <summary>All turns. A running reply whose writer is gone is <c>interrupted</c> from here on, with the text that was logged.</summary>
    public async Task<Transcript> TurnsAsync(Conversation conversation)
    {
        var transcript = await store.TurnsAsync(conversation.Id);
        if (!transcript.Turns.Any(IsOrphan)) return transcript;
        var mended = await Task.WhenAll(transcript.Turns.Select(t => IsOrphan(t) ? log.InterruptAsync(conversation.Id, t) : Task.FromResult<Turn?>(t)));
        return new([.. mended.OfType<Turn>()]);
    }

    /// <summary>A turn with the text that was shown so far, where it is still running.</summary>
    public async Task<Turn> WithShownTextAsync(Conversation conversation, Turn turn)
    {
        if (turn.State != TurnState.Running) return turn;
        if (replies.Find(turn.Id) is { } running) return turn with { Text = running.Text };
        return turn with { Text = ReplyLog.TextOf(await log.ReadAsync(conversation.Id, turn.Id, 0)) };
    }

    private bool IsOrphan(Turn turn) => turn is { Role: ChatRole.Assistant, State: TurnState.Running } && replies.Find(turn.Id) is null;
}
