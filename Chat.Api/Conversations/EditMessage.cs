using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>Says a message differently: a new branch beside it, with its own reply. Idempotent by <see cref="NewMessageId"/>.</summary>
public sealed record EditMessage(string? ConversationId, string? MessageId, string? NewMessageId, string? Text) : CallerRequest<IAsyncEnumerable<ChatEvent>>;

internal sealed class EditMessageHandler(OwnConversations conversations, ReplyStarter replies) : IRequestHandler<EditMessage, IAsyncEnumerable<ChatEvent>>
{
    public async Task<IAsyncEnumerable<ChatEvent>> Handle(EditMessage edit, CancellationToken cancellationToken)
    {
        var id = MessageText.Id(edit.MessageId, "messageId");
        var newId = MessageText.Id(edit.NewMessageId, "newMessageId");
        var text = MessageText.Message(edit.Text);
        var conversation = await conversations.GetAsync(edit.Caller, edit.ConversationId);

        var wish = new ReplyWish(transcript => transcript.Edit(id, newId, text), FactKind.Edited, Of: id);
        return await replies.StartAsync(conversation, options: null, wish, cancellationToken);
    }
}
