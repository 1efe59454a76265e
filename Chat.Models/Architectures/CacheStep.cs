using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.Models.Architectures;

/// <summary>One pass of new tokens over a <see cref="DecoderCache"/>: which rows, how many tokens each, and what each layer must see. Lives as long as the pass.</summary>
public sealed class CacheStep
{
    private readonly DecoderCache cache;
    private readonly int[] slots;
    private readonly int contextLength;
    private readonly Tensor places;                 // where the new keys go, [Σ counts]
    private readonly Tensor? real;                  // which of the n·T new tokens are no pads; null when all are real

    internal CacheStep(DecoderCache cache, int[] rows, int[] counts)
    {
        this.cache = cache;
        (Rows, Counts, Starts) = (rows, counts, [.. rows.Select(cache.Length)]);
        slots = cache.Slots(rows);
        contextLength = slots.Max(cache.ContextLength);
        ReplyLength = Starts.Zip(counts, (start, count) => start + count).Max();

        var (keys, _) = cache.Reply(0);
        var wide = counts.Max();
        List<long> to = [], from = [];
        for (var i = 0; i < rows.Length; i++)
            for (var t = 0; t < counts[i]; t++)
            {
                to.Add((long)rows[i] * cache.MaxReply + Starts[i] + t);
                from.Add((long)i * wide + t);
            }
        places = tensor(to.ToArray(), device: keys.device);
        real = to.Count == rows.Length * wide ? null : tensor(from.ToArray(), device: keys.device);

        var hidden = new float[rows.Length * contextLength];
        for (var i = 0; i < rows.Length; i++)
            hidden.AsSpan((i * contextLength + cache.ContextLength(slots[i]))..((i + 1) * contextLength)).Fill(RelativePositions.Hidden);
        ContextBias = tensor(hidden, [rows.Length, 1, 1, contextLength], dtype: keys.dtype, device: keys.device);
    }

    /// <summary>The rows fed, how many tokens each gets, and how many it had.</summary>
    public int[] Rows { get; }
    public int[] Counts { get; }
    public int[] Starts { get; }

    /// <summary>S of the replies: tokens of the longest row, the new ones counted.</summary>
    public int ReplyLength { get; }

    /// <summary>[n 1 1 S]: hides the contexts' pads.</summary>
    public Tensor ContextBias { get; }

    /// <summary>The layer that now computes; the stack counts.</summary>
    internal int Layer { get; set; }

    /// <summary>Keys and values of the contexts, [n H S D].</summary>
    public (Tensor Keys, Tensor Values) Context() => cache.Context(Layer, slots, contextLength);

    /// <summary>Writes the new tokens' keys and values, [n H T D], and gives those of the whole replies, [n H S D].</summary>
    public (Tensor Keys, Tensor Values) Append(Tensor keys, Tensor values)
    {
        var (allKeys, allValues) = cache.Reply(Layer);
        allKeys.index_copy_(0, places, Real(keys));
        allValues.index_copy_(0, places, Real(values));
        return (cache.Reply(allKeys, Rows, ReplyLength), cache.Reply(allValues, Rows, ReplyLength));
    }

    private Tensor Real(Tensor heads)
    {
        var flat = heads.MergeHeads().flatten(0, 1);        // [n·T I]
        return real is null ? flat : flat.index_select(0, real);
    }
}
