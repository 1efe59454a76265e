using Chat.Api.Identity;
using Chat.Api.Store;
using MediatR;
using Microsoft.AspNetCore.SignalR;

namespace Chat.Api.Conversations;

/// <summary>What the conversation service is made of.</summary>
internal static class ConversationService
{
    /// <summary>Larger hub messages close the connection; a message of 20,000 characters fits in every script.</summary>
    private const int LargestHubMessage = 64 * 1024;

    public static void AddConversations(this WebApplicationBuilder builder)
    {
        var services = builder.Services;
        services.AddSingleton(builder.Configuration.GetSection("Replies").Get<ReplySettings>() ?? new());
        services.AddSingleton(sp => new ReplyBeat(sp.GetRequiredService<StoreConnection>(), sp.GetRequiredService<ReplySettings>().Coalesce, sp.GetRequiredService<TimeProvider>()));
        services.AddSingleton(new Bots(builder.Configuration));
        services.AddSingleton<RunningReplies>();
        services.AddHostedService(sp => sp.GetRequiredService<RunningReplies>());
        services.AddSingleton<ReplyReader>();
        services.AddSingleton<ReplyStarter>();
        services.AddSingleton<ReplyStopper>();
        services.AddSingleton<OwnConversations>();
        services.AddRequestHandlers();

        services.AddSignalR(hub =>
        {
            hub.MaximumReceiveMessageSize = LargestHubMessage;
            hub.MaximumParallelInvocationsPerClient = 8;     // a Stop must not wait behind a Send
            hub.StatefulReconnectBufferSize = 200_000;
            hub.AddFilter<HubErrors>();
            hub.AddFilter<HubLimits>();
        }).AddChatProtocols();
        // SignalR logs each refused call as a failure; HubErrors has already logged those that are one.
        builder.Logging.AddFilter("Microsoft.AspNetCore.SignalR.Internal.DefaultHubDispatcher", LogLevel.None);
        services.ConfigureHttpJsonOptions(json => HubProtocols.Shape(json.SerializerOptions));
    }

    public static void MapChatHub(this WebApplication app) => app.MapHub<ChatHub>("/hubs/chat", connection => connection.AllowStatefulReconnects = true);

    /// <summary>MediatR 5.1.0 has no registration of its own; newer ones need a licence.</summary>
    private static void AddRequestHandlers(this IServiceCollection services)
    {
        services.AddSingleton<ServiceFactory>(provider => provider.GetService!);
        services.AddSingleton<IMediator, Mediator>();
        foreach (var handler in typeof(ConversationService).Assembly.GetTypes().Where(t => t is { IsClass: true, IsAbstract: false }))
            foreach (var contract in handler.GetInterfaces().Where(i => i.IsGenericType && i.GetGenericTypeDefinition() == typeof(IRequestHandler<,>)))
                services.AddSingleton(contract, handler);
    }
}
