using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using static TorchSharp.torch;

namespace Chat.GoldenRunner;

/// <summary>Hidden states, pooler and sentence embeddings of BERT-shaped encoders.</summary>
internal static class EncoderForward
{
    public static JsonNode Run(Arguments arguments, EncoderConfig config, JsonNode input)
    {
        using var checkpoint = Checkpoint.OpenFolder(arguments.Model);
        using var model = EncoderWeights.Load(config, checkpoint);
        return Cases.Run(input, one =>
        {
            using var gradients = no_grad();
            using var scope = NewDisposeScope();
            var rows = one["ids"].Rows();
            var (lengths, extra, listed) = (Rows.Lengths(rows), (int?)one["pad_extra"] ?? 0, one["hidden_rows"]?.Ints());
            var mask = Rows.Padded([.. rows.Select(row => row.Select(_ => 1).ToArray())], 0, extra);
            var states = model.States(Rows.Padded(rows, config.Pad, extra), mask, one["token_type_ids"] is { } types ? Rows.Padded(types.Rows(), 0, extra) : null);
            var answer = new JsonObject();
            foreach (var want in one["want"]!.AsArray().Select(node => (string)node!))
                answer[want] = want switch
                {
                    "last_hidden_state" => Rows.Valid(states[^1], lengths, listed),
                    "hidden_states" => ByRow([.. states.Select(state => Rows.Valid(state, lengths, listed))], rows.Length),
                    "pooler_output" => Vectors(model.Pool(states[^1])),
                    "embedding" => Vectors(Encoder.Embed(states[^1], mask)),
                    _ => throw new ArgumentException($"Unknown result '{want}'. Known: last_hidden_state, hidden_states, pooler_output, embedding."),
                };
            return answer;
        });
    }

    /// <summary>[layer][row] → [row][layer]</summary>
    public static JsonArray ByRow(JsonArray[] layers, int rows) =>
        [.. Enumerable.Range(0, rows).Select(row => (JsonNode)new JsonArray([.. layers.Select(layer => layer[row]!.DeepClone())]))];

    /// <summary>[n C] as a list of lists.</summary>
    private static JsonArray Vectors(Tensor vectors) =>
        [.. Rows.Floats(vectors).ToArray().Chunk((int)vectors.shape[1]).Select(row => (JsonNode)Cases.Numbers(row))];
}
