using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>The better reply of a pair; <c>null</c> = a tie. Pairs come with experiments: until then no pair id is known.</summary>
public sealed record ChooseReply(string? ConversationId, string? PairId, string? ReplyId) : CallerRequest<Unit>;

internal sealed class ChooseReplyHandler(OwnConversations conversations) : IRequestHandler<ChooseReply, Unit>
{
    public async Task<Unit> Handle(ChooseReply choose, CancellationToken cancellationToken)
    {
        MessageText.Id(choose.PairId, "pairId");
        await conversations.GetAsync(choose.Caller, choose.ConversationId);
        throw ChatException.NoTurn("pair");
    }
}
