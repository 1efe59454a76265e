using System.Reflection;
using Chat.Api.Training;
using Chat.Domain.Plugins;
using Chat.Models.Tokenizers;
using Chat.Safety;

namespace Chat.Api.Operations;

public static class PluginSetup
{
    private static readonly Assembly[] Assemblies = [typeof(PluginCatalog).Assembly, typeof(ITextTokenizer).Assembly, typeof(SafetyGate).Assembly, typeof(PluginSetup).Assembly];

    /// <summary>Registers the catalog of every plugin that this process can use: its own, and those of Plugins:Folder. Two plugins of one name, or an assembly that is refused, fail the start.</summary>
    public static WebApplicationBuilder AddPlugins(this WebApplicationBuilder builder)
    {
        var options = builder.Configuration.GetSection("Plugins").Get<PluginFolderOptions>() ?? new();
        builder.Services.AddSingleton(new PluginCatalog([.. Assemblies, .. PluginFolder.Load(options, Assemblies)]));
        return builder;
    }

    /// <summary>GET /api/plugins: what can be named in configuration, options and arms, and, where a training worker was ever there, in recipes.</summary>
    public static void MapPlugins(this WebApplication app) =>
        app.MapGet("/api/plugins", async (PluginCatalog catalog, TrainingJobs training) => catalog.All.Select(p => new PluginInfo(p.Kind, p.Name, p.Summary, p.Paper))
                .Concat((await training.PluginsAsync()).Select(p => new PluginInfo(p.Kind, p.Name, p.Summary, p.Paper))).DistinctBy(p => (p.Kind, p.Name)).ToList())
            .WithName("listPlugins").WithTags("plugins").WithSummary("Lists the plugins of this server and of the training worker by kind.").RequireAuthorization()
            .ProducesProblem(StatusCodes.Status401Unauthorized);

    public sealed record PluginInfo(string Kind, string Name, string Summary, string? Paper);
}
