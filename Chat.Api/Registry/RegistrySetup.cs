using Chat.Api.Hosts;
using Microsoft.AspNetCore.Authentication;

namespace Chat.Api.Registry;

/// <summary>A gateway's registry: records, aliases and pins in the store, and the model folders that it gives to hosts.</summary>
internal static class RegistrySetup
{
    public static void AddRegistry(this WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton<ModelRegistry>();
        builder.Services.AddSingleton<ModelShelf>();
        builder.Services.AddSingleton<PinKeeper>();
        builder.Services.AddHostedService(services => services.GetRequiredService<PinKeeper>());
        builder.Services.AddAuthentication().AddScheme<AuthenticationSchemeOptions, HostKey>(HostKey.Scheme, null);
    }
}
