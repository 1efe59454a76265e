using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.Models.Architectures;

/// <summary>One pass of new tokens over a <see cref="DecoderCache"/>: besides the replies' part, the contexts and what is hidden of them.</summary>
public sealed class CacheStep : RowStep
{
    private readonly DecoderCache cache;
    private readonly int[] slots;
    private readonly int contextLength;

    internal CacheStep(DecoderCache cache, KeyValueRows replies, int[] rows, int[] counts, int width) : base(replies, rows, counts, width)
    {
        this.cache = cache;
        slots = cache.Slots(rows);
        contextLength = slots.Max(cache.ContextLength);
        var hidden = new float[rows.Length * contextLength];
        for (var i = 0; i < rows.Length; i++)
            hidden.AsSpan((i * contextLength + cache.ContextLength(slots[i]))..((i + 1) * contextLength)).Fill(RelativePositions.Hidden);
        ContextBias = tensor(hidden, [rows.Length, 1, 1, contextLength], dtype: replies.Type, device: replies.Device);
    }

    /// <summary>[n 1 1 S]: hides the contexts' pads.</summary>
    public Tensor ContextBias { get; }

    /// <summary>Keys and values of the contexts, [n H S D].</summary>
    public (Tensor Keys, Tensor Values) Context() => cache.Context(Layer, slots, contextLength);
}
