using Chat.Api.Registry;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;

namespace Chat.Api.Hosts;

/// <summary>Where a gateway's models are: on the hosts that <c>Hosts:Addresses</c> and <c>Hosts:Dns</c> name, else in this process.</summary>
internal static class ChatModelsSetup
{
    public static void AddChatModels(this WebApplicationBuilder builder)
    {
        var options = HostsOptions.Read(builder.Configuration);
        builder.Services.AddSingleton(options);
        if (options.Addresses.Length + options.Dns.Length == 0)
        {
            builder.AddInProcessModels();
            builder.Services.AddSingleton<ModelPull>();
            builder.Services.AddSingleton<HostFolders>();
            if (builder.Configuration.GetSection("Models:Load").GetChildren().Any()) builder.Services.AddHostedService<LoadAtStart>();
            return;
        }
        var services = builder.Services;
        services.AddSingleton(provider => new DecodingCatalog(provider.GetRequiredService<PluginCatalog>()));
        var models = builder.Configuration.GetSection("Models").Get<ModelsOptions>() ?? new();
        if (models.Pins.Count > 0) throw new InvalidOperationException("Models:Pins belongs to the model hosts; this gateway has none of its own (Hosts:Addresses). PUT /api/pins/NAME pins at all its hosts.");
        services.AddSingleton(models);
        services.AddSingleton(provider => new RemoteChatModels(
            options, provider.GetRequiredService<ModelsOptions>(), provider.GetRequiredService<DecodingCatalog>(), DecodingDefaults.Read(builder.Configuration),
            provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<ILogger<RemoteChatModels>>()));
        services.AddSingleton<IChatModels>(provider => provider.GetRequiredService<RemoteChatModels>());
        services.AddHostedService(provider => provider.GetRequiredService<RemoteChatModels>());
    }
}
