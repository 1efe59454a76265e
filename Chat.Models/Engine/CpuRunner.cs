using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Kernels;

namespace Chat.Models.Engine;

/// <summary>
/// Runs a model on the kernels of this process: no libtorch, no allocation a token, and the same bits for a row whatever else is in the batch.
/// Rows that fork share pages until one of them writes. Owns its weights and its memory, not the team; one thread makes all calls.
/// </summary>
public sealed unsafe class CpuRunner : IRunner
{
    private const int TokensAtOnce = 512;
    private readonly CpuModel model;
    private readonly CpuRow[] all, sources;
    private readonly RowToken[] feed;
    private readonly int[] outputs, seen;
    private float[] packed = [];
    private int call;

    /// <summary>An encoder-decoder.</summary>
    /// <param name="checkpoint">Read here, and not needed afterwards.</param>
    /// <param name="rowCount">Hypotheses alive at once.</param>
    /// <param name="team">Who computes; by default the process's own team.</param>
    /// <param name="maxContext">Longest context, tokens; the configuration's when <c>null</c>.</param>
    /// <param name="maxReply">Longest reply, tokens; the configuration's when <c>null</c>.</param>
    /// <exception cref="CheckpointException">What is wrong with the weights.</exception>
    public CpuRunner(EncoderDecoderConfig config, Checkpoint checkpoint, int rowCount, WeightFormat format = WeightFormat.Exact, Team? team = null, int? maxContext = null, int? maxReply = null)
        : this(CpuEncoderDecoder.Load(config, checkpoint, format, team ?? Team.Shared, AtLeastOne(rowCount), maxContext ?? config.MaxContext, maxReply ?? config.MaxReply, Math.Max(TokensAtOnce, rowCount)),
            maxContext ?? config.MaxContext, maxReply ?? config.MaxReply) { }

    /// <summary>A decoder-only model: its context stands before the reply in one row.</summary>
    /// <inheritdoc cref="CpuRunner(EncoderDecoderConfig, Checkpoint, int, WeightFormat, Team?, int?, int?)"/>
    public CpuRunner(DecoderConfig config, Checkpoint checkpoint, int rowCount, int maxContext, int maxReply, WeightFormat format = WeightFormat.Exact, Team? team = null)
        : this(CpuDecoder.Load(config, checkpoint, format, team ?? Team.Shared, AtLeastOne(rowCount), maxContext + maxReply, Math.Max(TokensAtOnce, rowCount)), maxContext, maxReply) { }

    private CpuRunner(CpuModel model, int maxContext, int maxReply)
    {
        (this.model, MaxContext, MaxReply) = (model, maxContext, maxReply);
        CpuRow[] NewRows() => [.. Enumerable.Range(0, model.Rows).Select(_ => model.NewRow())];
        (all, sources) = (NewRows(), NewRows());
        feed = new RowToken[model.Capacity];
        (outputs, seen) = (new int[model.Rows], new int[model.Rows]);
    }

    public int VocabularySize => model.VocabularySize;
    public int Rows => all.Length;
    public int MaxContext { get; }
    public int MaxReply { get; }

    /// <summary>Pages of keys and values that no row uses.</summary>
    internal int FreePages => model.Pages.FreePages;

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">An empty or too long context, too many emitted tokens, an id outside the vocabulary, a row twice.</exception>
    public ReadOnlySpan<float> Prefill(ReadOnlySpan<PrefillItem> items)
    {
        if (items.IsEmpty) return [];
        call++;
        foreach (var (row, context, emitted) in items)
        {
            if (context.Length < 1 || context.Length > MaxContext) throw new ArgumentException($"Row {row}'s context has {context.Length} tokens: 1 to {MaxContext} can be read.");
            if (emitted.Length >= MaxReply) throw new ArgumentException($"Row {row} has {emitted.Length} emitted tokens of at most {MaxReply}: none can follow.");
            CheckNew(row);
            CheckIds(context.Span);
            CheckIds(emitted.Span);
        }
        foreach (var item in items) Free(item.Row);
        for (int first = 0, next; first < items.Length; first = next)
        {
            var tokens = 0;
            for (next = first; next < items.Length && (next == first || tokens + items[next].Context.Length <= model.Capacity); next++) tokens += items[next].Context.Length;
            model.Read(items[first..next], all);
        }
        return Feed(items);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">As many tokens as rows are due, each inside the vocabulary; a row stands once.</exception>
    /// <exception cref="InvalidOperationException">A row is free, or full.</exception>
    public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens)
    {
        if (rows.Length != tokens.Length) throw new ArgumentException($"{rows.Length} rows are given {tokens.Length} tokens.");
        if (rows.IsEmpty) return [];
        call++;
        foreach (var row in rows)
        {
            CheckNew(row);
            var reply = all[row].Reply;
            if (reply.Tokens == 0) throw new InvalidOperationException($"Row {row} holds no context.");
            if (reply.Tokens == reply.MaxTokens) throw new InvalidOperationException($"Row {row} holds {reply.Tokens} of at most {reply.MaxTokens} tokens: 1 more does not fit.");
        }
        CheckIds(tokens);
        for (var i = 0; i < tokens.Length; i++)
        {
            var row = all[rows[i]];
            row.Reply.Append(1);
            feed[i] = new(row, tokens[i], row.Reply.Tokens - 1);
            outputs[i] = i;
        }
        return Scores(model.Step(feed.AsSpan(0, tokens.Length), outputs.AsSpan(0, tokens.Length)), tokens.Length);
    }

    /// <inheritdoc/>
    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        foreach (var (from, to) in copies)
        {
            CheckRow(from);
            CheckRow(to);
            if (from != to && all[from].Reply.Tokens == 0) throw new InvalidOperationException($"Row {from} holds no context to copy.");
        }
        if (copies.Length > Rows) throw new ArgumentException($"{copies.Length} copies are asked for, there are {Rows} rows.");
        for (var i = 0; i < copies.Length; i++) Share(all[copies[i].From], sources[i]);
        for (var i = 0; i < copies.Length; i++)
        {
            Share(sources[i], all[copies[i].To]);
            Clear(sources[i]);
        }
    }

    /// <inheritdoc/>
    public void Free(int row)
    {
        CheckRow(row);
        Clear(all[row]);
    }

    public void Dispose() => model.Dispose();

    /// <summary>Feeds what stands before the replies, and the emitted tokens, of all items, as many together as the model takes.</summary>
    private ReadOnlySpan<float> Feed(ReadOnlySpan<PrefillItem> items)
    {
        Reserve(items.Length);
        int count = 0, ends = 0, done = 0;
        foreach (var (number, context, emitted) in items)
        {
            var row = all[number];
            var opening = model.Opening(context.Span);
            var length = opening.Length + emitted.Length;
            row.Reply.Append(length);
            for (var t = 0; t < length; t++)
            {
                feed[count] = new(row, t < opening.Length ? opening[t] : emitted.Span[t - opening.Length], t);
                if (t == length - 1) outputs[ends++] = count;
                if (++count == feed.Length) Step();
            }
        }
        if (count > 0) Step();
        return packed.AsSpan(0, items.Length * VocabularySize);

        void Step()
        {
            Pack(model.Step(feed.AsSpan(0, count), outputs.AsSpan(0, ends)), ends, done);
            (done, count, ends) = (done + ends, 0, 0);
        }
    }

    /// <summary>[count V] without the padding behind each row's last score.</summary>
    private ReadOnlySpan<float> Scores(float* scores, int count)
    {
        if (model.VocabularyStride == VocabularySize) return new(scores, count * VocabularySize);
        Reserve(count);
        Pack(scores, count, 0);
        return packed.AsSpan(0, count * VocabularySize);
    }

    private void Reserve(int count)
    {
        if (packed.Length < count * VocabularySize) packed = new float[count * VocabularySize];
    }

    private void Pack(float* scores, int count, int at)
    {
        for (var i = 0; i < count; i++)
            new ReadOnlySpan<float>(scores + (long)i * model.VocabularyStride, VocabularySize).CopyTo(packed.AsSpan((at + i) * VocabularySize));
    }

    private static void Share(CpuRow from, CpuRow to)
    {
        to.Context.Become(from.Context);
        to.Reply.Become(from.Reply);
    }

    private static void Clear(CpuRow row)
    {
        row.Context.Clear();
        row.Reply.Clear();
    }

    private static int AtLeastOne(int rowCount)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rowCount, 1);
        return rowCount;
    }

    private void CheckIds(ReadOnlySpan<int> ids)
    {
        foreach (var id in ids)
            if ((uint)id >= (uint)VocabularySize) throw new ArgumentException($"Token {id} is outside the vocabulary of {VocabularySize}.");
    }

    private void CheckNew(int row)
    {
        CheckRow(row);
        if (seen[row] == call) throw new ArgumentException($"Row {row} stands twice in one call.");
        seen[row] = call;
    }

    private void CheckRow(int row)
    {
        if ((uint)row >= (uint)Rows) throw new ArgumentOutOfRangeException(nameof(row), row, $"Rows are 0 to {Rows - 1}.");
    }
}
