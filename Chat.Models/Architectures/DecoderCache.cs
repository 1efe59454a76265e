using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.Models.Architectures;

/// <summary>
/// Keys and values of replies under way, one row each, and of the contexts they answer. Every row has its own length. Rows that fork share
/// their context. All memory is taken at construction, so a step leaves no tensor behind. A plain class, never a module's field: a tensor field
/// would land in checkpoints. Not thread-safe.
/// </summary>
public sealed class DecoderCache : IDisposable
{
    // One pair a layer. Replies: [rows·MaxReply I], row r's position p stands at r·MaxReply + p. Contexts: [rows MaxContext I], addressed by slot.
    private readonly (Tensor Keys, Tensor Values)[] replies, contexts;
    private readonly int[] replyLengths, contextLengths, slots, users;
    private readonly long heads;

    public DecoderCache(EncoderDecoderConfig config, int rows, int maxContext, int maxReply, Device? device = null, ScalarType? dtype = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxContext, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxReply, 1);
        (Rows, MaxContext, MaxReply, heads) = (rows, maxContext, maxReply, config.Heads);
        var inner = config.Heads * config.HeadWidth;
        Tensor Empty(params long[] shape) => zeros(shape, dtype, device).DetachFromDisposeScope();
        replies = [.. Enumerable.Range(0, config.DecoderLayers).Select(_ => (Empty((long)rows * maxReply, inner), Empty((long)rows * maxReply, inner)))];
        contexts = [.. Enumerable.Range(0, config.DecoderLayers).Select(_ => (Empty(rows, maxContext, inner), Empty(rows, maxContext, inner)))];
        replyLengths = new int[rows];
        contextLengths = new int[rows];
        slots = new int[rows];
        users = new int[rows];
        slots.AsSpan().Fill(-1);
    }

    public int Rows { get; }
    public int MaxContext { get; }
    public int MaxReply { get; }

    /// <summary>Tokens fed to the row's reply so far.</summary>
    public int Length(int row) => replyLengths[row];

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
        var index = tensor(taken, device: contexts[0].Keys.device);
        foreach (var ((keys, values), (newKeys, newValues)) in contexts.Zip(memory))
        {
            keys.narrow(1, 0, newKeys.shape[2]).index_copy_(0, index, newKeys.MergeHeads());
            values.narrow(1, 0, newValues.shape[2]).index_copy_(0, index, newValues.MergeHeads());
        }
    }

    /// <summary>Prepares feeding <c>counts[i]</c> tokens to row <c>rows[i]</c>; the same row may not stand twice.</summary>
    /// <exception cref="InvalidOperationException">A row has no context, or no room for its tokens.</exception>
    public CacheStep Next(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts)
    {
        for (var i = 0; i < rows.Length; i++)
        {
            if (!IsUsed(rows[i])) throw new InvalidOperationException($"Row {rows[i]} holds no context.");
            if (replyLengths[rows[i]] + counts[i] > MaxReply)
                throw new InvalidOperationException($"Row {rows[i]} holds {replyLengths[rows[i]]} of at most {MaxReply} tokens: {counts[i]} more do not fit.");
        }
        return new CacheStep(this, rows.ToArray(), counts.ToArray());
    }

    /// <summary>Counts the step's tokens as held, after every layer has appended them.</summary>
    public void Commit(CacheStep step)
    {
        for (var i = 0; i < step.Rows.Length; i++) replyLengths[step.Rows[i]] += step.Counts[i];
    }

    /// <summary>Makes each <c>To</c> a copy of what its <c>From</c> was, as if all copies were made at once.</summary>
    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        using var scope = NewDisposeScope();
        var moves = copies.ToArray().Where(copy => copy.From != copy.To).ToArray();
        foreach (var (from, _) in moves)
            if (!IsUsed(from)) throw new InvalidOperationException($"Row {from} holds no context to copy.");
        if (moves.Length == 0) return;

        var state = moves.Select(move => (Slot: slots[move.From], Length: replyLengths[move.From])).ToArray();
        foreach (var (slot, _) in state) users[slot]++;                 // before any is released
        for (var i = 0; i < moves.Length; i++)
        {
            Free(moves[i].To);
            (slots[moves[i].To], replyLengths[moves[i].To]) = state[i];
        }

        var longest = state.Max(s => s.Length);
        if (longest == 0) return;
        var device = replies[0].Keys.device;
        Tensor source = tensor([.. moves.Select(move => (long)move.From)], device: device), target = tensor([.. moves.Select(move => (long)move.To)], device: device);
        foreach (var (keys, values) in replies)
        {
            Copy(keys);
            Copy(values);
        }

        void Copy(Tensor all)
        {
            var rows = all.view(Rows, MaxReply, -1).narrow(1, 0, longest);
            rows.index_copy_(0, target, rows.index_select(0, source));
        }
    }

    /// <summary>Gives a row back. Freeing a free row does nothing.</summary>
    public void Free(int row)
    {
        if (slots[row] >= 0) users[slots[row]]--;
        (slots[row], replyLengths[row]) = (-1, 0);
    }

    public void Dispose()
    {
        foreach (var (keys, values) in replies.Concat(contexts))
        {
            keys.Dispose();
            values.Dispose();
        }
    }

    internal (Tensor Keys, Tensor Values) Reply(int layer) => replies[layer];

    internal int[] Slots(ReadOnlySpan<int> rows) => [.. rows.ToArray().Select(row => slots[row])];

    internal int ContextLength(int slot) => contextLengths[slot];

    /// <summary>[n H S D] views or copies of the given slots' first S context tokens.</summary>
    internal (Tensor Keys, Tensor Values) Context(int layer, int[] slots, int length) =>
        (Take(contexts[layer].Keys.narrow(1, 0, length), slots).SplitHeads(heads), Take(contexts[layer].Values.narrow(1, 0, length), slots).SplitHeads(heads));

    /// <summary>[n H S D] of the given rows' first S reply tokens.</summary>
    internal Tensor Reply(Tensor all, int[] rows, int length) => Take(all.view(Rows, MaxReply, -1).narrow(1, 0, length), rows).SplitHeads(heads);

    /// <summary>The rows of a [R S I] tensor, without copying where they stand together or are all the same one (beams of one context).</summary>
    private static Tensor Take(Tensor all, int[] rows)
    {
        if (rows.All(row => row == rows[0])) return all.narrow(0, rows[0], 1).expand(rows.Length, -1, -1);
        for (var i = 1; i < rows.Length; i++)
            if (rows[i] != rows[0] + i) return all.index_select(0, tensor(rows, dtype: ScalarType.Int64, device: all.device));
        return all.narrow(0, rows[0], rows.Length);
    }
}
