using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Chat.Models.Modules;

/// <summary>T5's relative positions: a learnt bias a head for each bucket of distances (Raffel et al., arXiv 1910.10683, section 2.1).</summary>
public static class RelativePositions
{
    /// <summary>Beyond this distance all keys share a bucket, where a configuration says nothing else.</summary>
    public const int MaxDistance = 128;

    /// <summary>Added to the score of what must not be seen. Finite, so that half precision holds it, and low enough for a weight of exactly 0.</summary>
    public const float Hidden = -10_000f;

    /// <summary>
    /// The bucket of a distance <paramref name="offset"/> = key − query. Near distances have a bucket each, far ones share them in
    /// logarithmic steps. Bidirectional tables keep half their buckets for keys after the query; one-directional ones have none for them (0).
    /// </summary>
    public static int Bucket(int offset, int buckets, bool bidirectional, int maxDistance = MaxDistance)
    {
        var size = bidirectional ? buckets / 2 : buckets;
        var side = bidirectional && offset > 0 ? size : 0;
        var distance = bidirectional ? Math.Abs(offset) : Math.Max(-offset, 0);
        var exact = size / 2;
        if (distance < exact) return side + distance;
        var far = (int)(Math.Log((double)distance / exact) / Math.Log((double)maxDistance / exact) * (size - exact));
        return side + Math.Min(size - 1, exact + far);
    }

    /// <summary>
    /// The bias of queries at positions <c>starts[b] … starts[b] + T − 1</c> towards keys at positions 0 … S − 1. One-directional: keys after
    /// their query get <see cref="Hidden"/>.
    /// </summary>
    /// <param name="table">[buckets H]</param>
    /// <returns>[starts.Length H T S]</returns>
    public static Tensor Bias(Embedding table, bool bidirectional, ReadOnlySpan<int> starts, int targets, int sources, int maxDistance = MaxDistance)
    {
        using var scope = NewDisposeScope();
        var weight = table.weight!;
        var buckets = (int)weight.shape[0];
        var ids = new int[starts.Length * targets * sources];
        var hidden = bidirectional ? [] : new float[ids.Length];
        var at = 0;
        foreach (var start in starts)
            for (var query = start; query < start + targets; query++)
                for (var key = 0; key < sources; key++, at++)
                {
                    ids[at] = Bucket(key - query, buckets, bidirectional, maxDistance);
                    if (!bidirectional && key > query) hidden[at] = Hidden;
                }

        ReadOnlySpan<long> shape = [starts.Length, targets, sources];
        var bias = table.call(tensor(ids, shape, device: weight.device)).permute(0, 3, 1, 2);                 // [B H T S]
        if (!bidirectional) bias = bias.Plus(tensor(hidden, shape, dtype: weight.dtype, device: weight.device).unsqueeze(1));
        return bias.contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>The bias that hides the pads of a memory.</summary>
    /// <param name="mask">[B S], 1 where a real token stands.</param>
    /// <returns>[B 1 1 S]</returns>
    public static Tensor Padding(Tensor mask, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        return mask.to_type(ScalarType.Float32).Times(-1).Plus(1).Times(Hidden).to_type(dtype).unsqueeze(1).unsqueeze(1).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The bias that keeps texts apart that share a row: a query sees the keys of its own text only. Distances are differences, so positions begin anew with each text by themselves.
    /// </summary>
    /// <param name="queries">[B T] the number of each token's text; pads have 0.</param>
    /// <param name="keys">[B S]</param>
    /// <returns>[B 1 T S]</returns>
    public static Tensor Segments(Tensor queries, Tensor keys, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        return queries.unsqueeze(2).not_equal(keys.unsqueeze(1)).to_type(ScalarType.Float32).Times(Hidden).to_type(dtype).unsqueeze(1).MoveToOuterDisposeScope();
    }
}
