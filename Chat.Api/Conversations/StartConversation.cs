using Chat.Api.Store;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

public sealed record StartConversation(ReplyOptions? Options) : CallerRequest<ConversationInfo>;

internal sealed class StartConversationHandler(ConversationStore store, ReplyStarter replies, Bots bots, TimeProvider time) : IRequestHandler<StartConversation, ConversationInfo>
{
    public async Task<ConversationInfo> Handle(StartConversation start, CancellationToken cancellationToken)
    {
        var bot = bots.Get(start.Options?.Bot);
        // Bad options are refused now rather than with the first message.
        if (start.Options is not null) await replies.CheckAsync(conversation: null, bot, start.Options);

        var now = time.GetUtcNow();
        var conversation = new Conversation
        {
            Tenant = start.Caller.Tenant, User = start.Caller.User, Id = Guid.NewGuid().ToString("N"),
            Bot = bot.Name, Options = start.Options, CreatedAt = DateTimeOffset.FromUnixTimeMilliseconds(now.ToUnixTimeMilliseconds()), UpdatedAt = now,
        };
        await store.CreateAsync(conversation);
        return conversation.Info;
    }
}
