using Chat.Api.Store;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <param name="Rating"><c>up</c>, <c>down</c>, or <c>null</c> to take it back.</param>
public sealed record RateReply(string? ConversationId, string? ReplyId, string? Rating, string? Comment) : CallerRequest<Unit>;

internal sealed class RateReplyHandler(OwnConversations conversations, ConversationStore store, TimeProvider time) : IRequestHandler<RateReply, Unit>
{
    public async Task<Unit> Handle(RateReply rate, CancellationToken cancellationToken)
    {
        var replyId = MessageText.Id(rate.ReplyId, "replyId");
        Rating? value = rate.Rating switch
        {
            null => null,
            "up" => Rating.Up,
            "down" => Rating.Down,
            _ => throw ChatException.Invalid($"No rating '{rate.Rating}'. Known: up, down, null."),
        };
        var comment = MessageText.Comment(rate.Comment);
        var conversation = await conversations.GetAsync(rate.Caller, rate.ConversationId);
        var reply = (await store.TurnsAsync(conversation.Id)).Reply(replyId);

        var now = time.GetUtcNow();
        var rated = new RatedReply(value, comment, RatedReply.ReasonsOf(comment), now);
        var fact = new JournalFact { Tenant = conversation.Tenant, Kind = FactKind.Rated, At = now, Turn = replyId, Model = reply.Reply?.Model, Rating = value, Reasons = rated.Reasons };
        if (!await store.RateAsync(conversation.Id, replyId, rated, fact)) throw ChatException.NoConversation();
        return Unit.Value;
    }
}
