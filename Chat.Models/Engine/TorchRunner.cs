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
    private float[] scores = [];

    /// <param name="rows">Hypotheses alive at once.</param>
    /// <param name="maxContext">Longest context, tokens; the configuration's when <c>null</c>.</param>
    /// <param name="maxReply">Longest reply, tokens; the configuration's when <c>null</c>.</param>
    public TorchRunner(EncoderDecoder model, int rows, int? maxContext = null, int? maxReply = null) => this.model = new TorchEncoderDecoder(model, rows, maxContext, maxReply);

    /// <inheritdoc cref="TorchRunner(EncoderDecoder, int, int?, int?)"/>
    /// <exception cref="ArgumentException">More tokens than the model has learned positions.</exception>
    public TorchRunner(Decoder model, int rows, int? maxContext = null, int? maxReply = null) => this.model = new TorchDecoder(model, rows, maxContext, maxReply);

    public int VocabularySize => model.VocabularySize;
    public int Rows => model.Rows;
    public int MaxContext => model.MaxContext;
    public int MaxReply => model.MaxReply;

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">An empty or too long context, too many emitted tokens, an id outside the vocabulary, a row twice.</exception>
    public ReadOnlySpan<float> Prefill(ReadOnlySpan<PrefillItem> items)
    {
        if (items.IsEmpty) return [];
        var rows = new int[items.Length];
        for (var i = 0; i < items.Length; i++)
        {
            var (row, context, emitted) = items[i];
            if (context.Length < 1 || context.Length > MaxContext) throw new ArgumentException($"Row {row}'s context has {context.Length} tokens: 1 to {MaxContext} can be read.");
            if (emitted.Length >= MaxReply) throw new ArgumentException($"Row {row} has {emitted.Length} emitted tokens of at most {MaxReply}: none can follow.");
            CheckIds(context.Span);
            CheckIds(emitted.Span);
            rows[i] = row;
        }
        CheckRows(rows);
        using var gradients = no_grad();
        using var scope = NewDisposeScope();
        return Scores(model.Prefill(items, rows));
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">As many tokens as rows are due, each inside the vocabulary; a row stands once.</exception>
    /// <exception cref="InvalidOperationException">A row is free, or full.</exception>
    public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens)
    {
        if (rows.Length != tokens.Length) throw new ArgumentException($"{rows.Length} rows are given {tokens.Length} tokens.");
        if (rows.IsEmpty) return [];
        CheckRows(rows);
        CheckIds(tokens);
        using var gradients = no_grad();
        using var scope = NewDisposeScope();
        return Scores(model.Decode(rows, tensor(tokens.ToArray(), [rows.Length, 1], dtype: ScalarType.Int64, device: model.Device)));
    }

    /// <inheritdoc/>
    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        foreach (var (from, to) in copies)
        {
            CheckRow(from);
            CheckRow(to);
        }
        using var gradients = no_grad();
        model.Fork(copies);
    }

    /// <inheritdoc/>
    public void Free(int row)
    {
        CheckRow(row);
        model.Free(row);
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

    private void CheckIds(ReadOnlySpan<int> ids)
    {
        foreach (var id in ids)
            if ((uint)id >= (uint)VocabularySize) throw new ArgumentException($"Token {id} is outside the vocabulary of {VocabularySize}.");
    }

    private void CheckRows(ReadOnlySpan<int> rows)
    {
        var seen = new HashSet<int>();
        foreach (var row in rows)
        {
            CheckRow(row);
            if (!seen.Add(row)) throw new ArgumentException($"Row {row} stands twice in one call.");
        }
    }

    private void CheckRow(int row)
    {
        if ((uint)row >= (uint)Rows) throw new ArgumentOutOfRangeException(nameof(row), row, $"Rows are 0 to {Rows - 1}.");
    }
}
