using System.Security.Cryptography;
using Chat.Api.Operations;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using Chat.Models.Libtorch;
using TorchSharp;

namespace Chat.Api.Hosts;

/// <summary>Configuration section <c>Models</c>.</summary>
public sealed record ModelsOptions
{
    /// <summary>Holds model folders, or is one; by default the shipped ones beside the program.</summary>
    public string Folder { get; init; } = Path.Combine(AppContext.BaseDirectory, "Shipped");

    /// <summary>Id of the model that answers when nobody names one; by default the largest that has no teacher.</summary>
    public string? Default { get; init; }

    /// <summary><c>cpu</c>, <c>cuda</c>, <c>cuda:1</c> ….</summary>
    public string Device { get; init; } = Cpu;

    /// <summary>Who computes; by default the kernels on a CPU, libtorch elsewhere.</summary>
    public ModelRunner? Runner { get; init; }

    /// <summary>How the kernels keep matrices: int8 by default, which costs a hundredth of a percent of perplexity and doubles the speed (BENCHMARKS.md).</summary>
    public WeightFormat Weights { get; init; } = WeightFormat.Int8;

    /// <summary>Threads of the kernels, shared by all models; by default as many as there are processors.</summary>
    public int? Threads { get; init; }

    /// <summary>The type libtorch computes in.</summary>
    public torch.ScalarType Type { get; init; } = torch.ScalarType.Float32;

    /// <summary>Hypotheses alive at once, requests that may wait, and tokens of prompts read in one step; for each model.</summary>
    public int Rows { get; init; } = 32;
    public int QueueLimit { get; init; } = 1024;
    public int PrefillTokens { get; init; } = 256;

    /// <summary>Memory of the kernels for keys and values, for each model: enough for one reply is taken at least, and no more than all rows can use.</summary>
    public long CacheBytes { get; init; } = ServedModel.DefaultCacheBytes;

    internal const string Cpu = "cpu";
}

/// <summary>What computes a model in this process.</summary>
public enum ModelRunner
{
    /// <summary>Our own code for CPUs; nothing else is loaded.</summary>
    Kernels,

    /// <summary>libtorch, on any device it has.</summary>
    Torch,
}

/// <summary>Models that answer in this process: every folder of <see cref="ModelsOptions.Folder"/>.</summary>
public static class InProcessModels
{
    /// <summary>Registers <see cref="IChatModels"/> and reads the models when the host starts. A folder that is wrong, or options that are, fail the start.</summary>
    public static WebApplicationBuilder AddInProcessModels(this WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton(services => new DecodingCatalog(services.GetRequiredService<PluginCatalog>()));
        builder.Services.AddSingleton<IChatModels>(Create);
        builder.Services.AddHostedService<ModelStart>();
        return builder;
    }

    private static InProcessChatModels Create(IServiceProvider services)
    {
        var configuration = services.GetRequiredService<IConfiguration>();
        var options = configuration.GetSection("Models").Get<ModelsOptions>() ?? new();
        var logger = services.GetRequiredService<ILogger<InProcessChatModels>>();
        foreach (var (name, value) in new[] { ("Rows", options.Rows), ("QueueLimit", options.QueueLimit), ("PrefillTokens", options.PrefillTokens), ("Threads", options.Threads ?? 1) })
            SettingsCheck.Require(value >= 1, "Models:" + name, value, "at least 1");
        var serve = Runner(options);
        var models = Order(Folders(options.Folder).Select(Open), options).Select(serve).ToList();
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
            return new(models, services.GetRequiredService<DecodingCatalog>(), DecodingDefaults.Read(configuration.GetSection("Decoding:Default")), engine,
                services.GetService<TimeProvider>() ?? TimeProvider.System,
                // Fits a JavaScript number, so that a page can send it back.
                () => RandomNumberGenerator.GetInt32(int.MaxValue));
        }
        catch (GenerationException e)
        {
            throw new InvalidOperationException($"Decoding:Default, or defaultDecoding in a model's chat-model.json: {e.Message}");
        }
    }

    private static Func<ModelFolder, ServedModel> Runner(ModelsOptions options)
    {
        var onCpu = options.Device == ModelsOptions.Cpu;
        return (options.Runner ?? (onCpu ? ModelRunner.Kernels : ModelRunner.Torch)) switch
        {
            ModelRunner.Torch => OnTorch(options),
            _ when onCpu => OnKernels(options),
            _ => throw new InvalidOperationException($"Models:Runner 'kernels' computes on the CPU only, and Models:Device is '{options.Device}'. Runners: kernels, torch."),
        };
    }

    private static Func<ModelFolder, ServedModel> OnKernels(ModelsOptions options)
    {
        var team = options.Threads is { } threads ? new Team(threads) : Team.Shared;        // lives as long as the process
        return folder => ServedModel.OnKernels(folder, options.Weights, team, options.CacheBytes);
    }

    // Apart from the rest, because naming a device loads libtorch.
    private static Func<ModelFolder, ServedModel> OnTorch(ModelsOptions options)
    {
        LibtorchLoader.Require();
        var device = DeviceOf(options.Device);
        return folder => ServedModel.OnTorch(folder, device, options.Type);
    }

    private static torch.Device DeviceOf(string name)
    {
        try
        {
            var device = torch.device(name);
            if (device.type == DeviceType.CPU || torch.cuda.is_available()) return device;
        }
        catch (Exception e) when (e is ArgumentException or FormatException or InvalidOperationException) { }
        throw new InvalidOperationException($"Models:Device '{name}' is not to be had here: cpu, or cuda, cuda:1 … where a CUDA libtorch (CHAT_LIBTORCH) finds such a GPU.");
    }

    private static string[] Folders(string root)
    {
        if (!Directory.Exists(root)) throw new InvalidOperationException($"Models:Folder '{root}' is not a folder.");
        string[] folders = [.. Directory.GetDirectories(root).Append(root).Where(f => File.Exists(Path.Combine(f, ModelFolder.ConfigFileName))).Order(StringComparer.Ordinal)];
        return folders.Length > 0 ? folders : throw new InvalidOperationException($"Models:Folder '{root}' holds no model folder: none has a {ModelFolder.ConfigFileName}.");
    }

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

    private static IEnumerable<ModelFolder> Order(IEnumerable<ModelFolder> folders, ModelsOptions options)
    {
        var all = folders.OrderBy(f => f.Description.Teacher is not null).ThenByDescending(f => f.Description.Parameters).ThenBy(f => f.Description.Id, StringComparer.Ordinal).ToList();
        if (all.GroupBy(f => f.Description.Id).FirstOrDefault(g => g.Count() > 1) is { } twice) throw new InvalidOperationException($"Two model folders have the id '{twice.Key}': {string.Join(", ", twice.Select(f => f.Path))}.");
        if (options.Default is not { } first) return all;
        return all.Any(f => f.Description.Id == first) ? all.OrderBy(f => f.Description.Id != first)
            : throw new InvalidOperationException($"Models:Default '{first}' is not among the models: {string.Join(", ", all.Select(f => f.Description.Id))}.");
    }

    // Weights are read while the host starts up: the first request finds them, or the host says why not.
    private sealed class ModelStart(IChatModels models) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellation) => models is InProcessChatModels own ? own.Ready.WaitAsync(cancellation) : Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellation) => Task.CompletedTask;
    }
}
