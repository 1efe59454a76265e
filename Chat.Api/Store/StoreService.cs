namespace Chat.Api.Store;

/// <summary>The store: Redis where <c>ConnectionStrings:Redis</c> names one, else Garnet inside this process under <c>Data:Folder</c>.</summary>
internal static class StoreService
{
    public static void AddStore(this WebApplicationBuilder builder)
    {
        var services = builder.Services;
        services.AddSingleton(TimeProvider.System);
        if (builder.Configuration.GetConnectionString("Redis") is { Length: > 0 } redis)
        {
            services.AddSingleton(sp => StoreConnection.Open(redis, isEmbedded: false, sp.GetRequiredService<TimeProvider>()));
        }
        else
        {
            var data = Path.GetFullPath(builder.Configuration["Data:Folder"] ?? "data", builder.Environment.ContentRootPath);
            services.AddSingleton(sp => new EmbeddedGarnet(Path.Combine(data, "store"), sp.GetRequiredService<ILoggerFactory>()));
            services.AddSingleton(sp => StoreConnection.Open(sp.GetRequiredService<EmbeddedGarnet>().Configuration, isEmbedded: true, sp.GetRequiredService<TimeProvider>()));
        }
        services.AddSingleton<ConversationStore>();
        services.AddSingleton<ReplyLog>();
    }
}
