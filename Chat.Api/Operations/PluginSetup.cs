using System.Reflection;
using Chat.Domain.Plugins;
using Chat.Models.Tokenizers;
using Chat.Safety;

namespace Chat.Api.Operations;

public static class PluginSetup
{
    private static readonly Assembly[] Assemblies = [typeof(PluginCatalog).Assembly, typeof(ITextTokenizer).Assembly, typeof(SafetyGate).Assembly, typeof(PluginSetup).Assembly];

    /// <summary>Registers the catalog of every plugin that this process can use. Two plugins of one name fail the start.</summary>
    public static WebApplicationBuilder AddPlugins(this WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton(new PluginCatalog(Assemblies));
        return builder;
    }
}
