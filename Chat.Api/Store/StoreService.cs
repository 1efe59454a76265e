using Chat.Api.Operations;

namespace Chat.Api.Store;

/// <summary>The store: Redis where <c>ConnectionStrings:Redis</c> names one, else Garnet inside this process under <c>Data:Folder</c>.</summary>
internal static class StoreService
{
    public static void AddStore(this WebApplicationBuilder builder)
    {
        var services = builder.Services;
        services.AddSingleton(TimeProvider.System);
        var data = DataFolder.Of(builder.Configuration, builder.Environment);
        builder.AddKeysInDataFolder();
        if (builder.Configuration.GetConnectionString("Redis") is { Length: > 0 } redis)
        {
            services.AddSingleton(sp => StoreConnection.Open(redis, isEmbedded: false, sp.GetRequiredService<TimeProvider>()));
        }
        else
        {
            services.AddSingleton(sp => new EmbeddedGarnet(Path.Combine(data, "store"), sp.GetRequiredService<ILoggerFactory>()));
            services.AddSingleton(sp => StoreConnection.Open(sp.GetRequiredService<EmbeddedGarnet>().Configuration, isEmbedded: true, sp.GetRequiredService<TimeProvider>()));
            var wait = builder.Configuration.GetValue("Data:ErasedTextSeconds", 10.0);
            SettingsCheck.Require(wait is >= 1 and <= 86_400, "Data:ErasedTextSeconds", wait, "from 1 to 86400");
            services.AddSingleton(sp => ActivatorUtilities.CreateInstance<ErasedText>(sp, TimeSpan.FromSeconds(wait)));
            services.AddHostedService(sp => sp.GetRequiredService<ErasedText>());
        }
        services.AddSingleton(builder.Configuration.GetSection("Retention").Get<Retention>() ?? new());
        services.AddSingleton(builder.Configuration.GetSection("Training").Get<Conversations.TrainingSettings>() ?? new());
        services.AddSingleton<ConversationStore>();
        services.AddSingleton<ReplyLog>();
    }
}
