using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.Models.Architectures;

/// <summary>
/// What cached decoding of an encoder-decoder keeps: keys and values of replies under way, one row each, and of the contexts they answer. Rows that fork share
/// their context. All memory is taken at construction. Not thread-safe.
/// </summary>
public sealed class DecoderCache : IDisposable
{
    private readonly KeyValueRows replies;
    private readonly (Tensor Keys, Tensor Values)[] contexts;           // one pair a layer, [rows MaxContext I], addressed by slot
    private readonly int[] contextLengths, slots, users;
    private readonly long heads;

    public DecoderCache(EncoderDecoderConfig config, int rows, int maxContext, int maxReply, Device? device = null, ScalarType? dtype = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxContext, 1);
        replies = new KeyValueRows(config.DecoderLayers, config.Heads, config.HeadWidth, rows, maxReply, device, dtype);
        (MaxContext, heads) = (maxContext, config.Heads);
        Tensor Empty() => zeros([rows, maxContext, (long)config.Heads * config.HeadWidth], dtype, device).DetachFromDisposeScope();
        contexts = [.. Enumerable.Range(0, config.DecoderLayers).Select(_ => (Empty(), Empty()))];
        contextLengths = new int[rows];
        slots = new int[rows];
        users = new int[rows];
        slots.AsSpan().Fill(-1);
    }

    public int Rows => replies.Rows;
    public int MaxContext { get; }
    public int MaxReply => replies.MaxLength;

    /// <summary>Tokens fed to the row's reply so far.</summary>
    public int Length(int row) => replies.Length(row);

    /// <summary>Whether the row holds a context.</summary>
    public bool IsUsed(int row) => slots[row] >= 0;

    /// <summary>Gives rows new contexts and empty replies.</summary>
    /// <param name="memory">Layer by layer the contexts' keys and values, [B H S D], as <see cref="DecoderStack.Memorise"/> gives them.</param>
    /// <param name="lengths">Real tokens of each context.</param>
    public void Begin(ReadOnlySpan<int> rows, ReadOnlySpan<int> lengths, IEnumerable<(Tensor Keys, Tensor Values)> memory)
    {
        using var scope = NewDisposeScope();
        var taken = new long[rows.Length];
        for (var i = 0; i < rows.Length; i++)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(lengths[i], MaxContext);
            Free(rows[i]);
            var slot = Array.IndexOf(users, 0);
            (slots[rows[i]], users[slot], contextLengths[slot], taken[i]) = (slot, 1, lengths[i], slot);
        }
        var index = tensor(taken, device: replies.Device);
        foreach (var ((keys, values), (newKeys, newValues)) in contexts.Zip(memory))
        {
            keys.narrow(1, 0, newKeys.shape[2]).index_copy_(0, index, newKeys.MergeHeads());
            values.narrow(1, 0, newValues.shape[2]).index_copy_(0, index, newValues.MergeHeads());
        }
    }

    /// <summary>Prepares feeding <c>counts[i]</c> tokens to row <c>rows[i]</c>; the same row may not stand twice.</summary>
    /// <param name="width">T of the batch that will be fed, pads counted.</param>
    /// <exception cref="InvalidOperationException">A row has no context, or no room for its tokens.</exception>
    public CacheStep Next(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, int width)
    {
        foreach (var row in rows)
            if (!IsUsed(row)) throw new InvalidOperationException($"Row {row} holds no context.");
        replies.CheckRoom(rows, counts);
        return new CacheStep(this, replies, rows.ToArray(), counts.ToArray(), width);
    }

    /// <inheritdoc cref="KeyValueRows.Commit"/>
    public void Commit(CacheStep step) => replies.Commit(step);

    /// <inheritdoc cref="KeyValueRows.Fork"/>
    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        var moves = copies.ToArray().Where(copy => copy.From != copy.To).ToArray();
        foreach (var (from, _) in moves)
            if (!IsUsed(from)) throw new InvalidOperationException($"Row {from} holds no context to copy.");
        int[] taken = [.. moves.Select(move => slots[move.From])];
        foreach (var slot in taken) users[slot]++;                      // before any is released
        for (var i = 0; i < moves.Length; i++)
        {
            Release(moves[i].To);
            slots[moves[i].To] = taken[i];
        }
        replies.Fork(moves);
    }

    /// <inheritdoc cref="KeyValueRows.Truncate"/>
    public void Truncate(int row, int length) => replies.Truncate(row, length);

    /// <summary>Gives a row back. Freeing a free row does nothing.</summary>
    public void Free(int row)
    {
        Release(row);
        replies.Clear(row);
    }

    public void Dispose()
    {
        replies.Dispose();
        foreach (var (keys, values) in contexts)
        {
            keys.Dispose();
            values.Dispose();
        }
    }

    internal int[] Slots(ReadOnlySpan<int> rows) => [.. rows.ToArray().Select(row => slots[row])];

    internal int ContextLength(int slot) => contextLengths[slot];

    /// <summary>[n H S D] views or copies of the given slots' first S context tokens.</summary>
    internal (Tensor Keys, Tensor Values) Context(int layer, int[] slots, int length) =>
        (KeyValueRows.Take(contexts[layer].Keys.narrow(1, 0, length), slots).SplitHeads(heads), KeyValueRows.Take(contexts[layer].Values.narrow(1, 0, length), slots).SplitHeads(heads));

    private void Release(int row)
    {
        if (slots[row] >= 0) users[slots[row]]--;
        slots[row] = -1;
    }
}
