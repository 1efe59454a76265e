using System.Runtime.InteropServices;
using Chat.Models.Architectures;
using static TorchSharp.torch;

namespace Chat.Models.Engine;

/// <summary>
/// Runs an encoder-decoder or a decoder-only model on any device TorchSharp has. Rows of one call are computed as one padded batch, each at its own position.
/// Memory for all rows is taken at construction; a call leaves no tensor behind. Owns neither thread nor model: one thread makes all calls.
/// </summary>
public sealed class TorchRunner : IRunner
{
    private readonly TorchModel model;
    private readonly (PrefillItem Item, int Read)[] prompts;           // of rows that read; the default of others
    private readonly bool[] isHeld;
    private float[] scores = [];

    /// <param name="rows">Hypotheses alive at once.</param>
    /// <param name="maxContext">Longest context, tokens; the configuration's when <c>null</c>.</param>
    /// <param name="maxReply">Longest reply, tokens; the configuration's when <c>null</c>.</param>
    public TorchRunner(EncoderDecoder model, int rows, int? maxContext = null, int? maxReply = null) : this(new TorchEncoderDecoder(model, rows, maxContext, maxReply)) { }

    /// <inheritdoc cref="TorchRunner(EncoderDecoder, int, int?, int?)"/>
    /// <exception cref="ArgumentException">More tokens than the model has positions.</exception>
    public TorchRunner(Decoder model, int rows, int? maxContext = null, int? maxReply = null) : this(new TorchDecoder(model, rows, maxContext, maxReply)) { }

    private TorchRunner(TorchModel model) => (this.model, prompts, isHeld) = (model, new (PrefillItem, int)[model.Rows], new bool[model.Rows]);

    public int VocabularySize => model.VocabularySize;
    public int Rows => model.Rows;
    public int MaxContext => model.MaxContext;
    public int MaxReply => model.MaxReply;
    public bool ReadsInParts => model.ReadsInParts;
    public double Usage => isHeld.Count(held => held) / (double)isHeld.Length;

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">An empty or too long context, too many emitted tokens, an id outside the vocabulary.</exception>
    public int Open(PrefillItem item)
    {
        var (row, context, emitted) = item;
        RunnerCalls.CheckPrompt(this, item);
        Free(row);
        isHeld[row] = true;
        prompts[row] = (item, 0);
        return context.Length + emitted.Length;
    }

    /// <summary>Always: memory for all rows is there.</summary>
    public bool Fits(ReadOnlySpan<RowTokens> feeds) => true;

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">A row twice, or more tokens than are due.</exception>
    public ReadOnlySpan<float> Read(scoped ReadOnlySpan<RowTokens> parts)
    {
        if (parts.IsEmpty) return [];
        int[] rows = new int[parts.Length], from = new int[parts.Length], counts = new int[parts.Length];
        var items = new PrefillItem[parts.Length];
        for (var i = 0; i < parts.Length; i++) (rows[i], counts[i]) = parts[i];
        CheckRows(rows);
        for (var i = 0; i < parts.Length; i++)
        {
            (items[i], from[i]) = prompts[rows[i]];
            var due = items[i].Context.Length + items[i].Emitted.Length - from[i];
            if (counts[i] < (ReadsInParts ? 1 : due) || counts[i] > due || due == 0) throw new ArgumentException($"Row {rows[i]} has {due} tokens to read, {(ReadsInParts ? "not" : "all at once and not")} {counts[i]}.");
        }
        using var gradients = no_grad();
        using var scope = NewDisposeScope();
        var logits = model.Read(items, rows, from, counts);
        for (var i = 0; i < parts.Length; i++)
            prompts[rows[i]] = from[i] + counts[i] == items[i].Context.Length + items[i].Emitted.Length ? default : (items[i], from[i] + counts[i]);
        return logits is null ? [] : Scores(logits);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">As many tokens as rows are due, each inside the vocabulary; a row stands once.</exception>
    /// <exception cref="InvalidOperationException">A row is free, or full.</exception>
    public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens)
    {
        if (rows.Length != tokens.Length) throw new ArgumentException($"{rows.Length} rows are given {tokens.Length} tokens.");
        if (rows.IsEmpty) return [];
        CheckRead(rows);
        RunnerCalls.CheckIds(this, tokens);
        using var gradients = no_grad();
        using var scope = NewDisposeScope();
        var ones = new int[rows.Length];
        ones.AsSpan().Fill(1);
        return Scores(model.Feed(rows, tensor(tokens.ToArray(), [rows.Length, 1], dtype: ScalarType.Int64, device: model.Device), ones).squeeze(1));
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">Not as many counts as rows, or tokens as counted; a count below one, a row twice, an id outside the vocabulary.</exception>
    /// <exception cref="InvalidOperationException">A row is free, or has no room for its tokens.</exception>
    public ReadOnlySpan<float> Verify(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, ReadOnlySpan<int> tokens)
    {
        RunnerCalls.CheckCounts(rows, counts, tokens);
        if (rows.IsEmpty) return [];
        CheckRead(rows);
        RunnerCalls.CheckIds(this, tokens);
        var longest = 0;
        foreach (var count in counts) longest = Math.Max(longest, count);
        var ids = new int[rows.Length * longest];
        var real = new long[tokens.Length];                                                                     // where each token stands among the padded ones
        for (int i = 0, done = 0; i < rows.Length; done += counts[i++])
            for (var t = 0; t < counts[i]; t++) (ids[i * longest + t], real[done + t]) = (tokens[done + t], i * longest + t);
        using var gradients = no_grad();
        using var scope = NewDisposeScope();
        var logits = model.Feed(rows, tensor(ids, [rows.Length, longest], dtype: ScalarType.Int64, device: model.Device), counts);      // [n T V]
        return Scores(logits.flatten(0, 1).index_select(0, tensor(real, device: model.Device)));
    }

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">The row is free.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The reply does not have so many tokens.</exception>
    public void Truncate(int row, int length)
    {
        RunnerCalls.CheckRow(this, row);
        model.Truncate(row, length);
    }

    /// <inheritdoc/>
    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        foreach (var (from, to) in copies)
        {
            RunnerCalls.CheckRow(this, from);
            RunnerCalls.CheckRow(this, to);
        }
        using var gradients = no_grad();
        model.Fork(copies);
        var (before, held) = (prompts.ToArray(), isHeld.ToArray());
        foreach (var (from, to) in copies) (prompts[to], isHeld[to]) = (before[from], held[from]);
    }

    /// <inheritdoc/>
    public void Free(int row)
    {
        RunnerCalls.CheckRow(this, row);
        model.Free(row);
        (prompts[row], isHeld[row]) = (default, false);
    }

    /// <summary>Frees the rows' memory; the model stays its owner's.</summary>
    public void Dispose() => model.Dispose();

    /// <summary>[n V] → the caller's span, in memory that the next call reuses.</summary>
    private ReadOnlySpan<float> Scores(Tensor logits)
    {
        var ready = logits.to_type(ScalarType.Float32).cpu().contiguous();
        var source = MemoryMarshal.Cast<byte, float>(ready.bytes);
        if (scores.Length < source.Length) scores = new float[source.Length];
        source.CopyTo(scores);
        return scores.AsSpan(0, source.Length);
    }

    private void CheckRows(ReadOnlySpan<int> rows)
    {
        var seen = new HashSet<int>();
        foreach (var row in rows)
        {
            RunnerCalls.CheckRow(this, row);
            if (!seen.Add(row)) throw new ArgumentException($"Row {row} stands twice in one call.");
        }
    }

    private void CheckRead(ReadOnlySpan<int> rows)
    {
        CheckRows(rows);
        foreach (var row in rows)
            if (!prompts[row].Item.Context.IsEmpty) throw new InvalidOperationException($"Row {row} has not read its prompt.");
    }
}
