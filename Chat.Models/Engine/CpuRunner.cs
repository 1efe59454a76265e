using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Kernels;

namespace Chat.Models.Engine;

/// <summary>
/// Runs a model on the kernels of this process: no libtorch, no allocation a token, and the same bits for a row whatever else is in the batch.
/// Rows that fork share pages until one of them writes; a prompt that begins as an earlier one did, or an encoder's whole context, is found again while its pages
/// last. Owns its weights and its memory, not the team; one thread makes all calls.
/// </summary>
public sealed unsafe class CpuRunner : IRunner
{
    private const int TokensAtOnce = 512;
    private readonly CpuModel model;
    private readonly PrefixCache cache;
    private readonly CpuRow[] all, sources, encoding;
    private readonly RowToken[] feed;
    private readonly int[] outputs, seen;
    private readonly CpuPins pins;
    private float[] packed = [];
    private int call;

    /// <summary>An encoder-decoder.</summary>
    /// <param name="checkpoint">Read here, and not needed afterwards.</param>
    /// <param name="rowCount">Hypotheses alive at once.</param>
    /// <param name="team">Who computes; by default the process's own team.</param>
    /// <param name="maxContext">Longest context, tokens; the configuration's when <c>null</c>.</param>
    /// <param name="maxReply">Longest reply, tokens; the configuration's when <c>null</c>.</param>
    /// <param name="cacheBytes">Memory for keys and values, which rows share: enough for one whole row is taken at least, and no more than all rows can use.</param>
    /// <exception cref="CheckpointException">What is wrong with the weights.</exception>
    public CpuRunner(EncoderDecoderConfig config, Checkpoint checkpoint, int rowCount, WeightFormat format = WeightFormat.Exact, Team? team = null, int? maxContext = null, int? maxReply = null, long cacheBytes = long.MaxValue)
        : this(CpuEncoderDecoder.Load(config, checkpoint, format, team ?? Team.Shared, AtLeastOne(rowCount), maxContext ?? config.MaxContext, maxReply ?? config.MaxReply, Math.Max(TokensAtOnce, rowCount), cacheBytes),
            maxContext ?? config.MaxContext, maxReply ?? config.MaxReply) { }

    /// <summary>A decoder-only model: its context stands before the reply in one row.</summary>
    /// <inheritdoc cref="CpuRunner(EncoderDecoderConfig, Checkpoint, int, WeightFormat, Team?, int?, int?, long)"/>
    /// <param name="pinBytes">Memory beside it, for what is pinned.</param>
    public CpuRunner(DecoderConfig config, Checkpoint checkpoint, int rowCount, int maxContext, int maxReply, WeightFormat format = WeightFormat.Exact, Team? team = null, long cacheBytes = long.MaxValue, long pinBytes = 0)
        : this(CpuDecoder.Load(config, checkpoint, format, team ?? Team.Shared, AtLeastOne(rowCount), maxContext + maxReply, Math.Max(TokensAtOnce, rowCount), cacheBytes, pinBytes), maxContext, maxReply) { }

    private CpuRunner(CpuModel model, int maxContext, int maxReply)
    {
        (this.model, MaxContext, MaxReply) = (model, maxContext, maxReply);
        CpuRow[] NewRows(int count) => [.. Enumerable.Range(0, count).Select(_ => model.NewRow())];
        (all, sources, encoding) = (NewRows(model.Rows), NewRows(model.Rows), new CpuRow[model.Rows]);
        cache = new(model.Pages);
        pins = new(model.Pages, cache);
        feed = new RowToken[model.Capacity];
        (outputs, seen) = (new int[model.MostScored], new int[model.Rows]);
    }

    public int VocabularySize => model.VocabularySize;
    public int Rows => model.Rows;
    public int MaxContext { get; }
    public int MaxReply { get; }
    public bool ReadsInParts => !model.HasEncoder;
    public double Usage => 1 - FreePages / (double)(model.Pages.Pages - model.Pages.PinPages);

    /// <summary>Pages of keys and values that rows may take.</summary>
    internal int FreePages => model.Pages.FreePages;

    internal KeyValuePages Pages => model.Pages;

    /// <summary>All pasts that use pages, one behind the other.</summary>
    internal IEnumerable<PageList> Pasts => all.Concat(sources).SelectMany(row => new[] { row.Context, row.Reply });

    /// <summary>The pages of each pin.</summary>
    internal IEnumerable<int[]> Pins => pins.Pages;

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">An empty or too long context, too many emitted tokens, an id outside the vocabulary.</exception>
    public int Open(PrefillItem item)
    {
        var (number, context, emitted) = item;
        RunnerCalls.CheckPrompt(this, item);
        Free(number);
        var row = all[number];
        var opening = model.Opening(context.Span);
        opening.CopyTo(row.Ids);
        emitted.Span.CopyTo(row.Ids.AsSpan(opening.Length));
        (row.Known, row.Opening) = (opening.Length + emitted.Length, opening.Length);
        if (model.HasEncoder)
        {
            row.Unread = context;
            row.Due = FindContext(row) ? Math.Max(1, emitted.Length) : context.Length + emitted.Length;
        }
        else
        {
            FindPages(row);
            row.Due = row.Known - row.Reply.Tokens;
        }
        return row.Due;
    }

    /// <inheritdoc/>
    public bool Fits(ReadOnlySpan<RowTokens> feeds)
    {
        long needed = 0;
        foreach (var (number, tokens) in feeds)
        {
            RunnerCalls.CheckRow(this, number);
            var row = all[number];
            needed += PageList.PagesFor(row.Unread.Length) + row.Reply.Needed(model.HasEncoder && row.Due > 0 ? row.Known : tokens);
        }
        return needed == 0 || needed <= FreePages;
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">A row twice, or more tokens than are due.</exception>
    public ReadOnlySpan<float> Read(scoped ReadOnlySpan<RowTokens> parts)
    {
        call++;
        foreach (var (number, tokens) in parts)
        {
            CheckNew(number);
            var due = all[number].Due;
            if (tokens < (ReadsInParts ? 1 : due) || tokens > due || due == 0) throw new ArgumentException($"Row {number} has {due} tokens to read, {(ReadsInParts ? "not" : "all at once and not")} {tokens}.");
        }
        if (model.HasEncoder) Encode(parts);
        return Feed(parts);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">As many tokens as rows are due, each inside the vocabulary; a row stands once.</exception>
    /// <exception cref="InvalidOperationException">A row is free, still reads its prompt, or is full.</exception>
    public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens)
    {
        if (rows.Length != tokens.Length) throw new ArgumentException($"{rows.Length} rows are given {tokens.Length} tokens.");
        if (rows.IsEmpty) return [];
        call++;
        foreach (var row in rows) CheckRoom(row, 1);
        RunnerCalls.CheckIds(this, tokens);
        for (var i = 0; i < tokens.Length; i++) outputs[i] = Append(all[rows[i]], tokens[i], i);
        var scores = Scores(model.Step(feed.AsSpan(0, tokens.Length), outputs.AsSpan(0, tokens.Length)), tokens.Length);
        foreach (var row in rows) KeepPages(all[row]);
        return scores;
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">Not as many counts as rows, or tokens as counted; a count below one, a row twice, an id outside the vocabulary.</exception>
    /// <exception cref="InvalidOperationException">A row is free, still reads its prompt, or has no room for its tokens.</exception>
    public ReadOnlySpan<float> Verify(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, ReadOnlySpan<int> tokens)
    {
        RunnerCalls.CheckCounts(rows, counts, tokens);
        if (rows.IsEmpty) return [];
        call++;
        for (var i = 0; i < rows.Length; i++) CheckRoom(rows[i], counts[i]);
        RunnerCalls.CheckIds(this, tokens);
        foreach (var row in rows) KeepPages(all[row]);
        Reserve(tokens.Length);
        int count = 0, done = 0;
        for (var i = 0; i < rows.Length; i++)
            for (var t = 0; t < counts[i]; t++)
            {
                outputs[count] = Append(all[rows[i]], tokens[done + count], count);
                if (++count == outputs.Length) Step();
            }
        if (count > 0) Step();
        return packed.AsSpan(0, tokens.Length * VocabularySize);                // pages are kept when what fills them is no draft any more

        void Step()
        {
            Pack(model.Step(feed.AsSpan(0, count), outputs.AsSpan(0, count)), count, done);
            (done, count) = (done + count, 0);
        }
    }

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">The row is free, or still reads its prompt.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The reply does not have so many tokens.</exception>
    public void Truncate(int row, int length)
    {
        RunnerCalls.CheckRow(this, row);
        var held = all[row];
        CheckHeld(row);
        if (length < 0 || held.Opening + length > held.Known) throw new ArgumentOutOfRangeException(nameof(length), length, $"Row {row}'s reply has {held.Known - held.Opening} tokens.");
        held.Known = held.Opening + length;
        held.Reply.Truncate(held.Known);
        if (held.KnownPages * KeyValuePages.PageTokens <= held.Known) return;
        (held.KnownPages, held.LastEntry) = (0, PrefixCache.Root);
        KeepPages(held);                                                        // finds the entries of the pages that are left
    }

    /// <inheritdoc/>
    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        foreach (var (from, to) in copies)
        {
            RunnerCalls.CheckRow(this, from);
            RunnerCalls.CheckRow(this, to);
            if (from != to && all[from].Known == 0) throw new InvalidOperationException($"Row {from} holds no context to copy.");
        }
        if (copies.Length > Rows) throw new ArgumentException($"{copies.Length} copies are asked for, there are {Rows} rows.");
        for (var i = 0; i < copies.Length; i++) sources[i].Become(all[copies[i].From]);
        for (var i = 0; i < copies.Length; i++)
        {
            all[copies[i].To].Become(sources[i]);
            sources[i].Clear();
        }
    }

    /// <inheritdoc/>
    public void Free(int row)
    {
        RunnerCalls.CheckRow(this, row);
        all[row].Clear();
    }

    /// <inheritdoc/>
    public Pin Pin(string name, ReadOnlySpan<int> tokens) => model.HasEncoder
        ? throw new PinException($"'{name}' cannot be pinned: this model's encoder reads each context as a whole, so a beginning is not the same in two of them.")
        : pins.Add(name, tokens);

    /// <inheritdoc/>
    public void Unpin(string name) => pins.Remove(name);

    public void Dispose()
    {
        pins.Clear();
        model.Dispose();
    }

    /// <summary>Lets the encoder read what is new among the rows' contexts, each once, as many together as the model takes.</summary>
    private void Encode(ReadOnlySpan<RowTokens> parts)
    {
        while (true)
        {
            int count = 0, tokens = 0;
            foreach (var (number, _) in parts)
            {
                var row = all[number];
                if (row.Unread.IsEmpty || FindContext(row) || tokens + row.Unread.Length > model.Capacity || IsAmong(encoding.AsSpan(0, count), row)) continue;
                encoding[count++] = row;
                tokens += row.Unread.Length;
            }
            if (count == 0) return;
            model.Encode(encoding.AsSpan(0, count));
            foreach (var row in encoding.AsSpan(0, count))
            {
                cache.Add(PrefixCache.Root, row.Unread.Span, row.Context.Pages);
                row.Unread = default;
            }
        }

        static bool IsAmong(ReadOnlySpan<CpuRow> rows, CpuRow one)
        {
            foreach (var row in rows)
                if (row.Unread.Span.SequenceEqual(one.Unread.Span)) return true;
            return false;
        }
    }

    private bool FindContext(CpuRow row)
    {
        if (cache.Find(PrefixCache.Root, row.Unread.Span) is not { } entry) return false;
        row.Context.Adopt(entry.Pages, row.Unread.Length);
        row.Unread = default;
        return true;
    }

    /// <summary>Shares the pages of the longest beginning that some row has read. One token stays at least, because only a fed one gives scores.</summary>
    private void FindPages(CpuRow row)
    {
        while (row.Reply.Tokens + KeyValuePages.PageTokens < row.Known && cache.Find(row.LastEntry, PageIds(row)) is { } entry)
        {
            row.Reply.Adopt(entry.Pages, KeyValuePages.PageTokens);
            (row.KnownPages, row.LastEntry) = (row.KnownPages + 1, entry.Id);
        }
    }

    /// <summary>Makes pages that are full by now findable. One that another row has filled the same way meanwhile is given up for that row's.</summary>
    private void KeepPages(CpuRow row)
    {
        if (model.HasEncoder) return;                                       // what its decoder reads depends on the context as well
        while ((row.KnownPages + 1) * KeyValuePages.PageTokens <= row.Reply.Tokens)
        {
            var entry = cache.Find(row.LastEntry, PageIds(row));
            if (entry is null) entry = cache.Add(row.LastEntry, PageIds(row), row.Reply.Pages.Slice(row.KnownPages, 1));
            else if (entry.Pages[0] != row.Reply.Pages[row.KnownPages]) row.Reply.Replace(row.KnownPages, entry.Pages[0]);
            (row.KnownPages, row.LastEntry) = (row.KnownPages + 1, entry.Id);
        }
    }

    private static ReadOnlySpan<int> PageIds(CpuRow row) => row.Ids.AsSpan(row.KnownPages * KeyValuePages.PageTokens, KeyValuePages.PageTokens);

    /// <summary>Feeds the texts' next tokens, as many together as the model takes.</summary>
    private ReadOnlySpan<float> Feed(scoped ReadOnlySpan<RowTokens> parts)
    {
        Reserve(parts.Length);
        int count = 0, ends = 0, done = 0;
        foreach (var (number, tokens) in parts)
        {
            var row = all[number];
            var from = row.Reply.Tokens;
            var to = ReadsInParts ? from + tokens : row.Known;
            row.Reply.Append(to - from);
            row.Due -= tokens;
            for (var t = from; t < to; t++)
            {
                feed[count] = new(row, row.Ids[t], t);
                if (t == row.Known - 1) outputs[ends++] = count;
                if (++count == feed.Length) Step();
            }
        }
        if (count > 0) Step();
        foreach (var (number, _) in parts) KeepPages(all[number]);
        return packed.AsSpan(0, done * VocabularySize);

        void Step()
        {
            Pack(model.Step(feed.AsSpan(0, count), outputs.AsSpan(0, ends)), ends, done);
            (done, count, ends) = (done + ends, 0, 0);
        }
    }

    /// <summary>Puts a row's next token at a place of the pass.</summary>
    /// <returns>The place.</returns>
    private int Append(CpuRow row, int token, int place)
    {
        row.Reply.Append(1);
        row.Ids[row.Known++] = token;
        feed[place] = new(row, token, row.Reply.Tokens - 1);
        return place;
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

    private static int AtLeastOne(int rowCount)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rowCount, 1);
        return rowCount;
    }

    private void CheckHeld(int row)
    {
        if (all[row].Known == 0) throw new InvalidOperationException($"Row {row} holds no context.");
        if (all[row].Due > 0) throw new InvalidOperationException($"Row {row} has {all[row].Due} tokens of its prompt to read.");
    }

    private void CheckRoom(int row, int tokens)
    {
        CheckNew(row);
        CheckHeld(row);
        var reply = all[row].Reply;
        if (reply.Tokens + tokens > reply.MaxTokens) throw new InvalidOperationException($"Row {row} holds {reply.Tokens} of at most {reply.MaxTokens} tokens: {tokens} more do not fit.");
    }

    private void CheckNew(int row)
    {
        RunnerCalls.CheckRow(this, row);
        if (seen[row] == call) throw new ArgumentException($"Row {row} stands twice in one call.");
        seen[row] = call;
    }
}
