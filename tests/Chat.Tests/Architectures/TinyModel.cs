using System.Runtime.InteropServices;
using Chat.Models.Architectures;
using static TorchSharp.torch;

namespace Chat.Tests.Architectures;

/// <summary>Small encoder-decoders with weights large enough that every part of them shows in the logits.</summary>
internal static class TinyModel
{
    public static readonly EncoderDecoderConfig Config = new()
    {
        VocabularySize = 40, Width = 20, FeedForward = 32, Heads = 3, HeadWidth = 8, EncoderLayers = 2, DecoderLayers = 3, AttentionScale = true,
        InitialDeviation = 0.3, Pad = 5, Separator = 4, Start = 39, MaxContext = 24, MaxReply = 16,
    };

    /// <summary>The same sizes as T5 has them: no scale, no roles.</summary>
    public static readonly EncoderDecoderConfig T5 = Config with
    {
        Family = EncoderDecoderFamily.T5, AttentionScale = false, Roles = false, InitialDeviation = 0.05, Dropout = 0.1, MaxDistance = 24, MaxContext = 24, MaxReply = 24,
    };

    public static EncoderDecoder Build(EncoderDecoderConfig? config = null, ulong seed = 7)
    {
        var model = new EncoderDecoder(config ?? Config, seed);
        model.eval();
        using var gradients = no_grad();
        foreach (var (name, weight) in model.named_parameters())
            if (name.Contains("relative_attention_bias", StringComparison.Ordinal) || name is "shared.weight" or "role_embeds.weight") weight.mul_(40);
        return model;
    }

    public static Tensor Weight(this EncoderDecoder model, string name) => model.named_parameters().Single(pair => pair.name == name).parameter;

    /// <summary>[rows longest] ids and their mask, padded on the right.</summary>
    public static (Tensor Ids, Tensor Mask) Batch(int[][] rows, int extra = 0, int pad = 5)
    {
        var width = rows.Max(row => row.Length) + extra;
        return (tensor(rows.SelectMany(row => row.Concat(Enumerable.Repeat(pad, width - row.Length))).ToArray(), [rows.Length, width], dtype: ScalarType.Int64),
            tensor(rows.SelectMany(row => Enumerable.Range(0, width).Select(i => i < row.Length ? 1f : 0f)).ToArray(), [rows.Length, width]));
    }

    /// <summary>Ids without pads and special ones, the same for the same seed.</summary>
    public static int[] Ids(int length, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(6, Config.VocabularySize))];
    }

    public static float[] Floats(this Tensor tensor) => MemoryMarshal.Cast<byte, float>(tensor.detach().to_type(ScalarType.Float32).contiguous().bytes).ToArray();

    /// <summary>Two float32 computations of the same thing.</summary>
    public static void Close(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, double absolute = 5e-5, double relative = 1e-5)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(actual[i] - expected[i]) <= absolute + relative * Math.Abs(expected[i]), $"Value {i} is {actual[i]} instead of {expected[i]}.");
    }

    public static void Close(Tensor expected, Tensor actual, double absolute = 5e-5, double relative = 1e-5) => Close(expected.Floats(), actual.Floats(), absolute, relative);
}
