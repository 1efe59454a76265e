using Chat.Api.Operations;
using Chat.Domain.Generation;
using Chat.Models.Checkpoints;
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

    /// <summary>HTTP addresses of gateways and model hosts from which a host pulls folders that it has not.</summary>
    public string[] Sources { get; init; } = [];

    /// <summary>Content hashes that a process which serves models loads when it starts, beside the folders of <see cref="Folder"/>.</summary>
    public string[] Load { get; init; } = [];

    /// <summary><c>cpu</c>, <c>cuda</c>, <c>cuda:1</c> ….</summary>
    public string Device { get; init; } = ComputeDevice.Cpu;

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

    /// <summary>Beginnings of prompts that the kernels keep read, by name, and their memory beside <see cref="CacheBytes"/> for each decoder-only model, which is taken only as it is used.</summary>
    public Dictionary<string, PinOptions> Pins { get; init; } = [];
    public long PinBytes { get; init; } = 256L << 20;
}

/// <summary>What <c>Models:Pins:NAME</c> says.</summary>
public sealed record PinOptions
{
    /// <summary>Id of a decoder-only model.</summary>
    public string? Model { get; init; }

    /// <summary>A bot's, word for word; without it only what the model's template begins with is pinned.</summary>
    public string SystemPrompt { get; init; } = "";
}

/// <summary>What computes a model in this process.</summary>
public enum ModelRunner
{
    /// <summary>Our own code for CPUs; nothing else is loaded.</summary>
    Kernels,

    /// <summary>libtorch, on any device it has.</summary>
    Torch,
}

/// <summary>From model folders to models that this process can run, as section <c>Models</c> says.</summary>
internal sealed class ModelServing
{
    /// <exception cref="InvalidOperationException">Options that cannot hold here.</exception>
    public ModelServing(ModelsOptions options)
    {
        foreach (var (name, value) in new[] { ("Rows", options.Rows), ("QueueLimit", options.QueueLimit), ("PrefillTokens", options.PrefillTokens), ("Threads", options.Threads ?? 1) })
            SettingsCheck.Require(value >= 1, "Models:" + name, value, "at least 1");
        SettingsCheck.Require(options.PinBytes >= 0, "Models:PinBytes", options.PinBytes, "at least 0");
        foreach (var (name, pin) in options.Pins)
            if (string.IsNullOrWhiteSpace(pin.Model)) throw new InvalidOperationException($"Models:Pins:{name} names no model: Models:Pins:{name}:Model is the id of one.");
        var onCpu = options.Device == ComputeDevice.Cpu;
        Serve = (options.Runner ?? (onCpu ? ModelRunner.Kernels : ModelRunner.Torch)) switch
        {
            ModelRunner.Torch => OnTorch(options),
            _ when onCpu => OnKernels(options),
            _ => throw new InvalidOperationException($"Models:Runner 'kernels' computes on the CPU only, and Models:Device is '{options.Device}'. Runners: kernels, torch."),
        };
    }

    public Func<ModelFolder, ServedModel> Serve { get; }

    /// <summary>The model folders in a folder, itself among them, by name; hidden ones (what is being pulled) are none.</summary>
    /// <exception cref="InvalidOperationException">There is no such folder.</exception>
    public static string[] Folders(string root) => Directory.Exists(root)
        ? [.. Directory.GetDirectories(root).Where(f => !Path.GetFileName(f).StartsWith('.')).Append(root).Where(f => File.Exists(Path.Combine(f, ModelFolder.ConfigFileName))).Order(StringComparer.Ordinal)]
        : throw new InvalidOperationException($"Models:Folder '{root}' is not a folder.");

    /// <summary>The default model first: the one that is named, else the largest that has no teacher.</summary>
    public static IOrderedEnumerable<T> InOrder<T>(IEnumerable<T> models, Func<T, ModelDescription> description, string? named) => models
        .OrderBy(m => description(m).Id != named).ThenBy(m => description(m).Teacher is not null).ThenByDescending(m => description(m).Parameters).ThenBy(m => description(m).Id, StringComparer.Ordinal);

    private static Func<ModelFolder, ServedModel> OnKernels(ModelsOptions options)
    {
        var team = options.Threads is { } threads ? new Team(threads) : Team.Shared;        // lives as long as the process
        return folder => Pinned(ServedModel.OnKernels(folder, options.Weights, team, options.CacheBytes, options.PinBytes), options);
    }

    // Apart from the rest, because naming a device loads libtorch.
    private static Func<ModelFolder, ServedModel> OnTorch(ModelsOptions options)
    {
        torch.Device device;
        try { device = ComputeDevice.Open(options.Device); }
        catch (ArgumentException error) { throw new InvalidOperationException($"Models:Device {error.Message}", error); }
        return folder => Pinned(ServedModel.OnTorch(folder, device, options.Type), options);
    }

    private static ServedModel Pinned(ServedModel model, ModelsOptions options) =>
        model with { Pins = options.Pins.Where(pin => pin.Value.Model == model.Description.Id).ToDictionary(pin => pin.Key, pin => pin.Value.SystemPrompt) };
}
