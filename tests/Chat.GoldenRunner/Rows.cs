using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using static TorchSharp.torch;

namespace Chat.GoldenRunner;

/// <summary>Ragged rows as one batch padded on the right, and batches as the rows' valid positions.</summary>
internal static class Rows
{
    /// <summary>[n longest + extra]</summary>
    public static Tensor Padded(int[][] rows, int pad, int extra)
    {
        var width = rows.Max(row => row.Length) + extra;
        return tensor(rows.SelectMany(row => row.Concat(Enumerable.Repeat(pad, width - row.Length))).ToArray(), [rows.Length, width], dtype: ScalarType.Int64);
    }

    public static int[] Lengths(int[][] rows) => [.. rows.Select(row => row.Length)];

    /// <summary>[B T X] → rows of positions of values, without the pads.</summary>
    /// <param name="positions">Only these, those beyond a row's length left out; <c>null</c> for all.</param>
    public static JsonArray Valid(Tensor all, int[] lengths, int[]? positions)
    {
        var (values, width, size) = (Floats(all).ToArray(), (int)all.shape[1], (int)all.shape[2]);
        return [.. lengths.Select((length, row) => (JsonNode)new JsonArray([.. (positions?.Where(position => position < length) ?? Enumerable.Range(0, length))
            .Select(position => (JsonNode)Cases.Numbers(values.AsSpan((row * width + position) * size, size).ToArray()))]))];
    }

    public static ReadOnlySpan<float> Floats(Tensor tensor) => MemoryMarshal.Cast<byte, float>(tensor.detach().contiguous().bytes);

    /// <summary>Greedy continuations: each row's next token from its last logits, then one token a step. No token stops a row.</summary>
    /// <param name="last">[n V] behind each row's last token.</param>
    /// <param name="step">Feeds one token a row, [n 1], and gives [n 1 V].</param>
    public static JsonArray Greedy(Tensor last, int count, Func<Tensor, Tensor> step)
    {
        var chosen = new List<Tensor> { last.argmax(-1, keepdim: true) };
        while (chosen.Count < count) chosen.Add(step(chosen[^1]).squeeze(1).argmax(-1, keepdim: true));
        var (ids, rows) = (MemoryMarshal.Cast<byte, long>(cat([.. chosen.Take(count)], 1).contiguous().bytes).ToArray(), (int)last.shape[0]);
        return [.. Enumerable.Range(0, rows).Select(row => (JsonNode)Cases.Numbers(ids.Skip(row * count).Take(count).Select(id => (int)id)))];
    }
}
