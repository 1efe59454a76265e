using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.Models.Architectures;

/// <summary>
/// Keys and values of token rows under way, layer by layer; every row has its own length. All memory is taken at construction, so a step leaves no tensor behind.
/// A plain class, never a module's field: a tensor field would land in checkpoints. Not thread-safe.
/// </summary>
public sealed class KeyValueRows : IDisposable
{
    // One pair a layer, [rows·MaxLength I]: row r's position p stands at r·MaxLength + p.
    private readonly (Tensor Keys, Tensor Values)[] layers;
    private readonly int[] lengths;
    private readonly long heads;

    /// <param name="heads">Heads of keys and values.</param>
    public KeyValueRows(int layers, int heads, int headWidth, int rows, int maxLength, Device? device = null, ScalarType? dtype = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxLength, 1);
        (Rows, MaxLength, this.heads) = (rows, maxLength, heads);
        Tensor Empty() => zeros([(long)rows * maxLength, (long)heads * headWidth], dtype, device).DetachFromDisposeScope();
        this.layers = [.. Enumerable.Range(0, layers).Select(_ => (Empty(), Empty()))];
        lengths = new int[rows];
    }

    public int Rows { get; }
    public int MaxLength { get; }

    /// <summary>Tokens the row holds.</summary>
    public int Length(int row) => lengths[row];

    /// <summary>Prepares feeding <c>counts[i]</c> tokens to row <c>rows[i]</c>; the same row may not stand twice.</summary>
    /// <param name="width">T of the batch that will be fed, pads counted.</param>
    /// <exception cref="InvalidOperationException">A row has no room for its tokens.</exception>
    public RowStep Next(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, int width)
    {
        CheckRoom(rows, counts);
        return new RowStep(this, rows.ToArray(), counts.ToArray(), width);
    }

    /// <summary>Counts the step's tokens as held, after every layer has appended them.</summary>
    public void Commit(RowStep step)
    {
        for (var i = 0; i < step.Rows.Length; i++) lengths[step.Rows[i]] += step.Counts[i];
    }

    /// <summary>Makes each <c>To</c> a copy of what its <c>From</c> was, as if all copies were made at once.</summary>
    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        using var scope = NewDisposeScope();
        var moves = copies.ToArray().Where(copy => copy.From != copy.To).ToArray();
        if (moves.Length == 0) return;
        int[] copied = [.. moves.Select(move => lengths[move.From])];
        for (var i = 0; i < moves.Length; i++) lengths[moves[i].To] = copied[i];
        var longest = copied.Max();
        if (longest == 0) return;
        var device = layers[0].Keys.device;
        Tensor source = tensor([.. moves.Select(move => (long)move.From)], device: device), target = tensor([.. moves.Select(move => (long)move.To)], device: device);
        foreach (var (keys, values) in layers)
        {
            Copy(keys);
            Copy(values);
        }

        void Copy(Tensor all)
        {
            var rows = all.view(Rows, MaxLength, -1).narrow(1, 0, longest);
            rows.index_copy_(0, target, rows.index_select(0, source));
        }
    }

    /// <summary>Forgets the row's tokens behind the first so many.</summary>
    public void Truncate(int row, int length) => lengths[row] = Math.Min(lengths[row], length);

    /// <summary>Empties a row.</summary>
    public void Clear(int row) => lengths[row] = 0;

    public void Dispose()
    {
        foreach (var (keys, values) in layers)
        {
            keys.Dispose();
            values.Dispose();
        }
    }

    internal Device Device => layers[0].Keys.device;
    internal ScalarType Type => layers[0].Keys.dtype;

    internal void CheckRoom(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts)
    {
        for (var i = 0; i < rows.Length; i++)
            if (lengths[rows[i]] + counts[i] > MaxLength)
                throw new InvalidOperationException($"Row {rows[i]} holds {lengths[rows[i]]} of at most {MaxLength} tokens: {counts[i]} more do not fit.");
    }

    internal (Tensor Keys, Tensor Values) Layer(int layer) => layers[layer];

    /// <summary>[n H S D] of the given rows' first S tokens.</summary>
    internal Tensor Read(Tensor all, int[] rows, int length) => Take(all.view(Rows, MaxLength, -1).narrow(1, 0, length), rows).SplitHeads(heads);

    /// <summary>The rows of a [R S I] tensor, without copying where they stand together or are all the same one (beams of one context).</summary>
    internal static Tensor Take(Tensor all, int[] rows)
    {
        if (rows.All(row => row == rows[0])) return all.narrow(0, rows[0], 1).expand(rows.Length, -1, -1);
        for (var i = 1; i < rows.Length; i++)
            if (rows[i] != rows[0] + i) return all.index_select(0, tensor(rows, dtype: ScalarType.Int64, device: all.device));
        return all.narrow(0, rows[0], rows.Length);
    }
}
