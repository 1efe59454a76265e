using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>A user's message. Idempotent by <see cref="MessageId"/>: hearing it again streams the reply that it already has.</summary>
/// <param name="ReplyTo">The reply that the message follows; <c>null</c> = the newest.</param>
public sealed record SendMessage(string? ConversationId, string? MessageId, string? Text, string? ReplyTo, ReplyOptions? Options) : CallerRequest<IAsyncEnumerable<ChatEvent>>;

/// <summary>
/// A message's way: whose conversation is it → has the message been heard → is it allowed → store it with its reply, durably, under the
/// writer's lease → let the model write through the safety gate into the log, apart from this call → read the log to its end.
/// </summary>
internal sealed class SendMessageHandler(OwnConversations conversations, ReplyStarter replies) : IRequestHandler<SendMessage, IAsyncEnumerable<ChatEvent>>
{
    public async Task<IAsyncEnumerable<ChatEvent>> Handle(SendMessage message, CancellationToken cancellationToken)
    {
        var id = MessageText.Id(message.MessageId, "messageId");
        var text = MessageText.Message(message.Text);
        var conversation = await conversations.GetAsync(message.Caller, message.ConversationId);

        var wish = new ReplyWish(transcript => transcript.Send(id, text, message.ReplyTo), FactKind.Sent);
        return await replies.StartAsync(conversation, message.Options, wish, cancellationToken);
    }
}
