using Microsoft.AspNetCore.DataProtection;

namespace Chat.Api.Store;

/// <summary>The store: Redis where <c>ConnectionStrings:Redis</c> names one, else Garnet inside this process under <c>Data:Folder</c>.</summary>
internal static class StoreService
{
    public static void AddStore(this WebApplicationBuilder builder)
    {
        var services = builder.Services;
        services.AddSingleton(TimeProvider.System);
        var data = Path.GetFullPath(builder.Configuration["Data:Folder"] is { Length: > 0 } folder ? folder : "data", builder.Environment.ContentRootPath);
        // ASP.NET's sign-in makes keys at start, under the user's home if nobody says where. It warns that they are not encrypted; nothing here is signed with them.
        services.AddDataProtection().PersistKeysToFileSystem(new(Path.Combine(data, "keys")));
        builder.Logging.AddFilter("Microsoft.AspNetCore.DataProtection", LogLevel.Error);
        if (builder.Configuration.GetConnectionString("Redis") is { Length: > 0 } redis)
        {
            services.AddSingleton(sp => StoreConnection.Open(redis, isEmbedded: false, sp.GetRequiredService<TimeProvider>()));
        }
        else
        {
            services.AddSingleton(sp => new EmbeddedGarnet(Path.Combine(data, "store"), sp.GetRequiredService<ILoggerFactory>()));
            services.AddSingleton(sp => StoreConnection.Open(sp.GetRequiredService<EmbeddedGarnet>().Configuration, isEmbedded: true, sp.GetRequiredService<TimeProvider>()));
        }
        services.AddSingleton(builder.Configuration.GetSection("Retention").Get<Retention>() ?? new());
        services.AddSingleton<ConversationStore>();
        services.AddSingleton<ReplyLog>();
    }
}
