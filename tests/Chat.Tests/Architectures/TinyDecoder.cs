using Chat.Models.Architectures;
using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.Tests.Architectures;

/// <summary>A small decoder of each family, with every switch of the families on in one of them, and weights large enough that every part shows in the logits.</summary>
internal static class TinyDecoder
{
    public static readonly DecoderConfig Llama = new()
    {
        Family = DecoderFamily.Llama, VocabularySize = 40, Width = 16, FeedForward = 24, Layers = 3, Heads = 4, KeyValueHeads = 2, HeadWidth = 6, MaxPositions = 4096, Epsilon = 1e-5,
        Activation = Activation.Silu, Gated = true, LayerNorm = false, Rotary = new(10_000), Tied = false, Start = 1, Ends = [2, 3],
    };

    public static readonly Dictionary<string, DecoderConfig> Families = new()
    {
        ["gpt2"] = Llama with
        {
            Family = DecoderFamily.Gpt2, FeedForward = 64, KeyValueHeads = 4, HeadWidth = 4, MaxPositions = 32, Activation = Activation.GeluTanh, Gated = false, LayerNorm = true, Rotary = null, Tied = true,
            AttentionBias = true, OutputBias = true, FeedForwardBias = true, LayerScale = true, Start = 2, Ends = [2],
        },
        ["llama"] = Llama,
        ["llama3"] = Llama with { Rotary = new(500_000, new Llama3Scaling(8, 1, 4, 16)), Tied = true, AttentionBias = true, OutputBias = true, FeedForwardBias = true, HeadWidth = 8 },
        ["linear"] = Llama with { Rotary = new(10_000, new LinearScaling(4)) },
        ["yarn"] = Llama with { Rotary = new(100, new YarnScaling(8, 64, 32, 1, true, YarnScaling.SharpeningOf(8))), HeadWidth = 10 },
        ["yarn-parts"] = Llama with { Rotary = new(1000, new YarnScaling(4, 200, 16, 2, false, YarnScaling.SharpeningOf(4, 1, 0.5))), HeadWidth = 12 },
        ["mistral"] = Llama with { Family = DecoderFamily.Mistral, Window = 4, KeyValueHeads = 1 },
        ["qwen2"] = Llama with { Family = DecoderFamily.Qwen2, Rotary = new(1_000_000), Tied = true, AttentionBias = true, Window = 3, WindowFrom = 1 },
        ["qwen3"] = Llama with { Family = DecoderFamily.Qwen3, Rotary = new(1_000_000), HeadNorms = true, HeadWidth = 10, Window = 3, WindowLayers = [true, false, true] },
    };

    public static TheoryData<string> Names => [.. Families.Keys];

    public static Decoder Build(string name) => Build(Families[name]);

    public static Decoder Build(DecoderConfig config)
    {
        var model = new Decoder(config, seed: 11);
        model.eval();
        using var gradients = no_grad();
        using var generator = new Generator(12, CPU);
        foreach (var (key, weight) in model.named_parameters())
            if (key.EndsWith(".bias", StringComparison.Ordinal) || key.Contains("norm", StringComparison.Ordinal)) weight.add_(empty(weight.shape).normal_(0, 0.3, generator));
            else weight.mul_(key.Contains("embed", StringComparison.Ordinal) ? 40 : 15);
        return model;
    }

    /// <summary>Ids of the tiny vocabulary, the same for the same seed.</summary>
    public static int[] Ids(int length, int seed) => TinyModel.Ids(length, seed);
}
