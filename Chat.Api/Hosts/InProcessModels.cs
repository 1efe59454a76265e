using System.Security.Cryptography;
using Chat.Api.Operations;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Api.Hosts;

/// <summary>Models that answer in this process: every folder of <see cref="ModelsOptions.Folder"/>.</summary>
internal static class InProcessModels
{
    /// <summary>Registers <see cref="IChatModels"/> and reads the models when the host starts. A folder that is wrong, or options that are, fail the start.</summary>
    /// <param name="mayBeEmpty">For a host whose models are loaded later.</param>
    public static WebApplicationBuilder AddInProcessModels(this WebApplicationBuilder builder, bool mayBeEmpty = false)
    {
        var services = builder.Services;
        services.AddSingleton(provider => new DecodingCatalog(provider.GetRequiredService<PluginCatalog>()));
        services.AddSingleton(provider => provider.GetRequiredService<IConfiguration>().GetSection("Models").Get<ModelsOptions>() ?? new());
        services.AddSingleton<ModelServing>();
        services.AddSingleton(provider => Create(provider, mayBeEmpty));
        services.AddSingleton<IChatModels>(provider => provider.GetRequiredService<InProcessChatModels>());
        services.AddHostedService<ModelStart>();
        return builder;
    }

    private static InProcessChatModels Create(IServiceProvider services, bool mayBeEmpty)
    {
        var options = services.GetRequiredService<ModelsOptions>();
        var serving = services.GetRequiredService<ModelServing>();
        var logger = services.GetRequiredService<ILogger<InProcessChatModels>>();
        var names = ModelServing.Folders(options.Folder);
        if (names.Length == 0 && !mayBeEmpty) throw new InvalidOperationException($"Models:Folder '{options.Folder}' holds no model folder: none has a {ModelFolder.ConfigFileName}.");
        var folders = Order(names.Select(Open), options);
        foreach (var (name, pin) in options.Pins)
            if (!mayBeEmpty && !folders.Exists(f => f.Description.Id == pin.Model))
                throw new InvalidOperationException($"Models:Pins:{name}:Model '{pin.Model}' is not among the models: {string.Join(", ", folders.Select(f => f.Description.Id))}.");
        ServedModel[] models = [.. folders.Select(serving.Serve)];
        foreach (var model in models) logger.LogInformation("Serving {Model}, {Parameters} parameters, content {Hash}", model.Description.Id, model.Description.Parameters, model.Description.Hash);
        var engine = new EngineOptions
        {
            Rows = options.Rows,
            QueueLimit = options.QueueLimit,
            PrefillTokens = options.PrefillTokens,
            OnFailure = error => logger.LogError(error, "A model failed"),
        };
        try
        {
            return new(models, services.GetRequiredService<DecodingCatalog>(), DecodingDefaults.Read(services.GetRequiredService<IConfiguration>()), engine,
                services.GetService<TimeProvider>() ?? TimeProvider.System, DrawSeed);
        }
        catch (GenerationException e)
        {
            throw new InvalidOperationException($"Decoding:Default, or defaultDecoding in a model's chat-model.json: {e.Message}");
        }
        catch (CheckpointException e)
        {
            throw new InvalidOperationException($"A draft cannot be used: {e.Message} Mend weights.draftOf in its chat-model.json.");
        }
    }

    /// <summary>Fits a JavaScript number, so that a page can send it back.</summary>
    public static long DrawSeed() => RandomNumberGenerator.GetInt32(int.MaxValue);

    private static ModelFolder Open(string path)
    {
        try
        {
            return ModelFolder.Open(path);
        }
        catch (CheckpointException e)
        {
            throw new InvalidOperationException($"The model folder {path} cannot be served: {e.Message} Mend it, or take it out of Models:Folder.");
        }
    }

    private static List<ModelFolder> Order(IEnumerable<ModelFolder> folders, ModelsOptions options)
    {
        var all = folders.ToList();
        if (all.GroupBy(f => f.Description.Id).FirstOrDefault(g => g.Count() > 1) is { } twice) throw new InvalidOperationException($"Two model folders have the id '{twice.Key}': {string.Join(", ", twice.Select(f => f.Path))}.");
        var ordered = ModelServing.InOrder(all, f => f.Description, options.Default).ToList();
        return options.Default is not { } first || all.Count == 0 || ordered[0].Description.Id == first ? ordered
            : throw new InvalidOperationException($"Models:Default '{first}' is not among the models: {string.Join(", ", all.Select(f => f.Description.Id))}.");
    }

    // Weights are read while the host starts up: the first request finds them, or the host says why not.
    private sealed class ModelStart(IChatModels models) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellation) => models is InProcessChatModels own ? own.Ready.WaitAsync(cancellation) : Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellation) => Task.CompletedTask;
    }
}
