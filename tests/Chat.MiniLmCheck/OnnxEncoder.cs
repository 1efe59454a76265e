using Chat.Models.Engine;
using Microsoft.ML.OnnxRuntime;

namespace Chat.MiniLmCheck;

/// <summary>ONNX Runtime on the package's own file, optimised as far as it can.</summary>
internal sealed class OnnxEncoder : IDisposable
{
    private static readonly string[] Inputs = ["input_ids", "attention_mask", "token_type_ids"], Outputs = ["last_hidden_state"];
    private readonly InferenceSession session;
    private readonly RunOptions options = new();

    public OnnxEncoder(byte[] model, int threads)
    {
        using var settings = new SessionOptions { GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL, IntraOpNumThreads = threads, InterOpNumThreads = 1 };
        session = new(model, settings);
    }

    /// <summary>The last states of texts as one padded batch. [n][tokens C]</summary>
    public float[][] Encode(int[][] texts, int width)
    {
        var longest = texts.Max(text => text.Length);
        long[] ids = new long[texts.Length * longest], mask = new long[ids.Length], types = new long[ids.Length], shape = [texts.Length, longest];
        for (var row = 0; row < texts.Length; row++)
            for (var t = 0; t < texts[row].Length; t++) (ids[row * longest + t], mask[row * longest + t]) = (texts[row][t], 1);
        using OrtValue idValues = OrtValue.CreateTensorValueFromMemory(ids, shape), maskValues = OrtValue.CreateTensorValueFromMemory(mask, shape), typeValues = OrtValue.CreateTensorValueFromMemory(types, shape);
        using var answers = session.Run(options, Inputs, [idValues, maskValues, typeValues], Outputs);
        var states = answers[0].GetTensorDataAsSpan<float>();
        var rows = new float[texts.Length][];
        for (var row = 0; row < rows.Length; row++) rows[row] = states.Slice(row * longest * width, texts[row].Length * width).ToArray();
        return rows;
    }

    public void Dispose()
    {
        options.Dispose();
        session.Dispose();
    }
}

/// <summary>Texts as arrays, for measuring alone.</summary>
internal static class CpuEncoderExtensions
{
    /// <summary>The last states of texts. [n][tokens C]</summary>
    public static float[][] Encode(this CpuEncoder encoder, int[][] texts)
    {
        var (states, from) = (new float[texts.Sum(text => text.Length) * encoder.Config.Width], 0);
        encoder.Encode([.. texts.SelectMany(text => text)], [.. texts.Select(text => text.Length)], [], states);
        return [.. texts.Select(text => states[from..(from += text.Length * encoder.Config.Width)])];
    }

    public static float[] Embed(float[] states, int width)
    {
        var embedding = new float[width];
        CpuEncoder.Embed(states, embedding);
        return embedding;
    }
}
