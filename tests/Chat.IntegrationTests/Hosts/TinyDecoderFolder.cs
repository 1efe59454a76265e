using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;

namespace Chat.IntegrationTests.Hosts;

/// <summary>A decoder-only model folder in Hugging Face's layout, of random weights, written without libtorch.</summary>
internal static class TinyDecoderFolder
{
    public const string Template = "{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ eos_token }}{% endfor %}assistant:";

    private static readonly DecoderConfig Config = new()
    {
        Family = DecoderFamily.Llama, VocabularySize = 304, Width = 16, FeedForward = 24, Layers = 2, Heads = 4, KeyValueHeads = 2, HeadWidth = 8, MaxPositions = 512, Epsilon = 1e-5,
        Activation = Activation.Silu, Gated = true, LayerNorm = false, Rotary = new(10_000), Tied = true, Start = null, Ends = [303],
    };

    /// <summary>Bytes of the keys and values of sixteen tokens.</summary>
    public static long PageBytes => Chat.Models.Kernels.KeyValuePages.BytesOf(Config.Layers, Config.KeyValueHeads, Config.HeadWidth);

    /// <param name="parent">Where it is put, in a folder of the name, which is the model's id.</param>
    public static void Write(string parent, string name)
    {
        var folder = Directory.CreateDirectory(Path.Combine(parent, name)).FullName;
        File.WriteAllText(Path.Combine(folder, "config.json"), DecoderConfigFile.ToJson(Config));
        File.Copy(Path.Combine(AppContext.BaseDirectory, "Tokenizer", "tokenizer.json"), Path.Combine(folder, "tokenizer.json"));
        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), new JsonObject { ["chat_template"] = Template, ["eos_token"] = "<|user|>" }.ToJsonString());

        var (header, weights, random) = (new JsonObject(), new List<float>(), new Random(name.Length));
        foreach (var (key, shape) in DecoderWeights.Needed(Config))
        {
            var (from, count) = (weights.Count, shape.Aggregate(1L, (product, dim) => product * dim));
            for (var i = 0L; i < count; i++) weights.Add(shape.Length == 1 ? 1 : (float)(random.NextDouble() - 0.5));
            header[key] = new JsonObject { ["dtype"] = "F32", ["shape"] = new JsonArray([.. shape.Select(dim => (JsonNode)dim)]), ["data_offsets"] = new JsonArray(4L * from, 4L * weights.Count) };
        }
        var text = Encoding.UTF8.GetBytes(header.ToJsonString());
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, text.Length);
        File.WriteAllBytes(Path.Combine(folder, "model.safetensors"), [.. length, .. text, .. MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(weights))]);
    }
}
