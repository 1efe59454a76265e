using Chat.Api.Store;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>Another reply to the same message, beside the first. Idempotent by <see cref="RequestId"/>.</summary>
public sealed record RegenerateReply(string? ConversationId, string? ReplyId, string? RequestId, ReplyOptions? Options) : CallerRequest<IAsyncEnumerable<ChatEvent>>;

internal sealed class RegenerateReplyHandler(OwnConversations conversations, ConversationStore store, ReplyStarter replies) : IRequestHandler<RegenerateReply, IAsyncEnumerable<ChatEvent>>
{
    public async Task<IAsyncEnumerable<ChatEvent>> Handle(RegenerateReply regenerate, CancellationToken cancellationToken)
    {
        var replyId = MessageText.Id(regenerate.ReplyId, "replyId");
        var requestId = MessageText.Id(regenerate.RequestId, "requestId");
        var conversation = await conversations.GetAsync(regenerate.Caller, regenerate.ConversationId);

        // Two equal requests at once: the slower one meets the lease or the faster one's mark, and this look finds its reply.
        for (var attempt = 1; ; attempt++)
        {
            var heard = await store.RequestAsync(conversation.Id, requestId);
            var wish = new ReplyWish(transcript => transcript.Regenerate(replyId, heard?.Reply, heard?.Of), FactKind.Regenerated, Of: replyId, Request: (requestId, heard));
            try
            {
                return await replies.StartAsync(conversation, regenerate.Options, wish, cancellationToken);
            }
            catch (ChatException e) when (e.Error == ChatError.Busy && attempt == 1) { }
        }
    }
}
