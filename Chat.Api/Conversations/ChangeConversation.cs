using Chat.Api.Store;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

public sealed record RenameConversation(string Id, string? Title) : CallerRequest<ConversationSummary>;

internal sealed class RenameConversationHandler(OwnConversations conversations, ConversationStore store) : IRequestHandler<RenameConversation, ConversationSummary>
{
    public async Task<ConversationSummary> Handle(RenameConversation rename, CancellationToken cancellationToken)
    {
        var title = MessageText.Title(rename.Title);
        var conversation = await conversations.GetAsync(rename.Caller, rename.Id);
        if (!await store.RenameAsync(conversation.Id, title)) throw ChatException.NoConversation();
        return ConversationSummary.Of(conversation with { Title = title });
    }
}

/// <summary>Erases a conversation with everything that hangs on it; a running reply is stopped first.</summary>
public sealed record DeleteConversation(string Id) : CallerRequest<Unit>;

internal sealed class DeleteConversationHandler(OwnConversations conversations, ConversationStore store, ReplyStopper stopper) : IRequestHandler<DeleteConversation, Unit>
{
    public async Task<Unit> Handle(DeleteConversation delete, CancellationToken cancellationToken)
    {
        var conversation = await conversations.GetAsync(delete.Caller, delete.Id);
        foreach (var running in (await conversations.TurnsAsync(conversation)).Turns.Where(t => t.State == TurnState.Running))
            await stopper.StopAsync(conversation.Id, running);
        await store.DeleteAsync(conversation);
        return Unit.Value;
    }
}
