using static TorchSharp.torch;

namespace Chat.Models.Engine;

/// <summary>What <see cref="TorchRunner"/> needs of an architecture: rows under way, in its own cache. Calls come without gradients, inside a dispose scope, and checked.</summary>
internal abstract class TorchModel : IDisposable
{
    public abstract int VocabularySize { get; }
    public abstract int Rows { get; }
    public abstract int MaxContext { get; }
    public abstract int MaxReply { get; }
    public abstract bool ReadsInParts { get; }
    public abstract Device Device { get; }

    /// <summary>Reads tokens of prompts into rows, from the given ones on; all where not <see cref="ReadsInParts"/>. [ended V]: scores of the next token of prompts that end here, or <c>null</c> when none does.</summary>
    public abstract Tensor? Read(ReadOnlySpan<PrefillItem> items, int[] rows, int[] from, int[] counts);

    /// <summary>Feeds <c>counts[i]</c> tokens of [n T] to row <c>rows[i]</c>. [n T V]; what stands at pads holds no meaning.</summary>
    /// <exception cref="InvalidOperationException">A row is free, or full.</exception>
    public abstract Tensor Feed(ReadOnlySpan<int> rows, Tensor ids, ReadOnlySpan<int> counts);

    /// <summary>Keeps the first tokens of a row's reply.</summary>
    /// <exception cref="InvalidOperationException">The row is free.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The reply does not have so many tokens.</exception>
    public abstract void Truncate(int row, int length);

    public abstract void Fork(ReadOnlySpan<(int From, int To)> copies);
    public abstract void Free(int row);
    public abstract void Dispose();

    protected delegate void Fill(PrefillItem item, Span<int> target);

    /// <summary>Ragged rows as one batch, padded on the right. [n longest]</summary>
    protected Tensor Batch(ReadOnlySpan<PrefillItem> items, int[] lengths, int pad, Fill fill)
    {
        var longest = lengths.Max();
        var ids = new int[items.Length * longest];
        ids.AsSpan().Fill(pad);
        for (var i = 0; i < items.Length; i++) fill(items[i], ids.AsSpan(i * longest, lengths[i]));
        return tensor(ids, [items.Length, longest], dtype: ScalarType.Int64, device: Device);
    }

    protected static void CheckLength(int row, int length, int tokens)
    {
        if (length < 0 || length > tokens) throw new ArgumentOutOfRangeException(nameof(length), length, $"Row {row}'s reply has {tokens} tokens.");
    }
}
