using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Kernels;

namespace Chat.GoldenRunner;

/// <summary>The cases of <see cref="EncoderForward"/> on the kernels that serve. They know no padding, so <c>pad_extra</c> asks for nothing.</summary>
internal static class EncoderKernels
{
    public static JsonNode Run(Arguments arguments, EncoderConfig config, JsonNode input)
    {
        using var checkpoint = Checkpoint.OpenFolder(arguments.Model);
        // What stands behind a layer is the last state of a model that ends there.
        CpuEncoder[] upTo = [.. Enumerable.Range(0, config.Layers + 1).Select(layers => CpuEncoder.Load(config with { Layers = layers }, checkpoint, WeightFormat.Exact))];
        try { return Cases.Run(input, one => Answer(upTo, one)); }
        finally { foreach (var model in upTo) model.Dispose(); }
    }

    private static JsonObject Answer(CpuEncoder[] upTo, JsonObject one)
    {
        var (rows, listed, width) = (one["ids"].Rows(), one["hidden_rows"]?.Ints(), upTo[^1].Config.Width);
        var types = one["token_type_ids"]?.Rows();
        var last = States(upTo[^1]);
        var answer = new JsonObject();
        foreach (var want in one["want"]!.AsArray().Select(node => (string)node!))
            answer[want] = want switch
            {
                "last_hidden_state" => Valid(last),
                "hidden_states" => EncoderForward.ByRow([.. upTo.Select(model => Valid(States(model)))], rows.Length),
                "pooler_output" => Vectors((states, pooled) => upTo[^1].Pool(states.AsSpan(0, width), pooled)),
                "embedding" => Vectors((states, embedding) => CpuEncoder.Embed(states, embedding)),
                _ => throw new ArgumentException($"Unknown result '{want}'. Known: last_hidden_state, hidden_states, pooler_output, embedding."),
            };
        return answer;

        // [row][tokens C]
        float[][] States(CpuEncoder model)
        {
            var states = new float[rows.Sum(row => row.Length) * width];
            model.Encode([.. rows.SelectMany(row => row)], Rows.Lengths(rows), types is null ? [] : [.. types.SelectMany(row => row)], states);
            var from = 0;
            return [.. rows.Select(row => states[(from * width)..((from += row.Length) * width)])];
        }

        JsonArray Valid(float[][] states) => [.. states.Select(row => (JsonNode)new JsonArray([.. row.Chunk(width).Where((_, position) => listed is null || listed.Contains(position)).Select(state => (JsonNode)Cases.Numbers(state))]))];

        JsonArray Vectors(Action<float[], float[]> of) => [.. last.Select(states =>
        {
            var vector = new float[width];
            of(states, vector);
            return (JsonNode)Cases.Numbers(vector);
        })];
    }
}
