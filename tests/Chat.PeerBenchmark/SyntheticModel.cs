using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Gguf;
using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.PeerBenchmark;

/// <summary>A model of Qwen2 0.5B's shape with random weights, for both engines: it has speed and no quality.</summary>
internal static class SyntheticModel
{
    private static readonly DecoderConfig Config = new()
    {
        Family = DecoderFamily.Qwen2,
        VocabularySize = 151_936,
        Width = 896,
        FeedForward = 4864,
        Layers = 24,
        Heads = 14,
        KeyValueHeads = 2,
        HeadWidth = 64,
        MaxPositions = 32_768,
        Epsilon = 1e-6,
        Activation = Activation.Silu,
        Gated = true,
        LayerNorm = false,
        Rotary = new(1e6),
        Tied = true,
        AttentionBias = true,
    };

    public static string Gguf(string folder, GgufType type) => Path.Combine(folder, $"{type}.gguf");

    /// <summary>Writes what of it is missing: the folder in bfloat16 (1 GB), and a GGUF file of each type (0.5 and 0.35 GB).</summary>
    public static void Write(string folder)
    {
        Directory.CreateDirectory(folder);
        var weights = Path.Combine(folder, "model.safetensors");
        if (!File.Exists(weights))
        {
            using var scope = NewDisposeScope();
            using var untracked = no_grad();
            using var model = new Decoder(Config, seed: 1, CPU, ScalarType.BFloat16);
            File.WriteAllText(Path.Combine(folder, ModelFolder.ConfigFileName), DecoderConfigFile.ToJson(Config));
            DecoderWeights.Save(model, weights);
        }
        foreach (var type in new[] { GgufType.Q8_0, GgufType.Q4_0 })
            if (!File.Exists(Gguf(folder, type))) GgufExport.Write(folder, Gguf(folder, type), type);
    }

    public static DecoderConfig Read(string folder) => DecoderConfigFile.Read(ConfigFile.Load(Path.Combine(folder, ModelFolder.ConfigFileName)), DecoderFamily.Qwen2);
}
