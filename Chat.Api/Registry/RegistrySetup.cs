using Chat.Api.Hosts;
using Microsoft.AspNetCore.Authentication;

namespace Chat.Api.Registry;

/// <summary>A gateway's registry: records and aliases in the store, and the model folders that it gives to hosts.</summary>
internal static class RegistrySetup
{
    public static void AddRegistry(this WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton<ModelRegistry>();
        builder.Services.AddSingleton<ModelShelf>();
        builder.Services.AddAuthentication().AddScheme<AuthenticationSchemeOptions, HostKey>(HostKey.Scheme, null);
    }
}
