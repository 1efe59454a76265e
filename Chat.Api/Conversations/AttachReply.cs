using Chat.Api.Store;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>The events of a reply behind a sequence, to the end: after a cut, on a second device.</summary>
public sealed record AttachReply(string? ConversationId, string? ReplyId, long AfterSequence) : CallerRequest<IAsyncEnumerable<ChatEvent>>;

internal sealed class AttachReplyHandler(OwnConversations conversations, ReplyLog log, ReplyReader reader) : IRequestHandler<AttachReply, IAsyncEnumerable<ChatEvent>>
{
    public async Task<IAsyncEnumerable<ChatEvent>> Handle(AttachReply attach, CancellationToken cancellationToken)
    {
        var replyId = MessageText.Id(attach.ReplyId, "replyId");
        if (attach.AfterSequence < 0) throw ChatException.Invalid($"'afterSequence' is {attach.AfterSequence}; it must be 0 or more.");
        var conversation = await conversations.GetAsync(attach.Caller, attach.ConversationId);
        var reply = (await conversations.TurnsAsync(conversation)).Reply(replyId);

        if (reply.State != TurnState.Running && !await log.ExistsAsync(conversation.Id, replyId))
            throw new ChatException(ChatError.NotFound, "The events of this reply are no longer kept; its text is in the history.");
        return reader.ReadAsync(conversation.Id, reply, attach.AfterSequence, cancellationToken);
    }
}
