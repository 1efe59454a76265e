using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>The newest <see cref="Limit"/> turns of all branches before the turn <see cref="Before"/>, oldest first.</summary>
public sealed record ReadHistory(string? ConversationId, string? Before, int Limit) : CallerRequest<History>;

internal sealed class ReadHistoryHandler(OwnConversations conversations) : IRequestHandler<ReadHistory, History>
{
    public async Task<History> Handle(ReadHistory read, CancellationToken cancellationToken)
    {
        if (read.Limit < 1) throw ChatException.Invalid($"'limit' is {read.Limit}; it must be 1 to 200.");
        var conversation = await conversations.GetAsync(read.Caller, read.ConversationId);
        var page = (await conversations.TurnsAsync(conversation)).Page(read.Before, read.Limit);
        return new([.. (await Task.WhenAll(page.Select(t => conversations.WithShownTextAsync(conversation, t)))).Select(HistoryTurn.Of)]);
    }
}
