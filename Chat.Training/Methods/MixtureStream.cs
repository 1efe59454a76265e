using Chat.Training.Data;

namespace Chat.Training.Methods;

/// <summary>One corpus of a mixture, ready to be drawn from.</summary>
public sealed record MixtureSource(string Name, TokenizedCorpus Corpus, ISampler Sampler, IReadOnlyList<SamplePlace> Places, double Weight);

/// <summary>Where a stream stands: the pool in use, batches taken of it, and samples that each source had given before it.</summary>
public sealed record StreamCursor(long Pool, int BatchInPool, IReadOnlyList<long> Drawn);

/// <summary>
/// An endless stream of batches over a mixture. Sources are drawn by weight; each is walked in a fresh random order every epoch. A pool of
/// samples is sorted by length and cut into batches, then the batches are shuffled: little padding, no fixed order. Everything is a
/// function of the seed and the cursor, so a stream that is opened at a cursor goes on exactly as the one that was left there.
/// </summary>
public sealed class MixtureStream
{
    private const int PoolBatches = 64;

    /// <summary>Replies whose lengths share a bucket of this many tokens go together; within it contexts are sorted exactly.</summary>
    private const int ReplyBucket = 8;

    private readonly IReadOnlyList<MixtureSource> sources;
    private readonly SampleLimits limits;
    private readonly int batchTokens;
    private readonly ulong seed;
    private readonly bool pack;
    private readonly Dictionary<(int Source, long Epoch), int[]> orders = [];
    private readonly long[] drawn;
    private long pool;
    private int next;
    private long[] drawnBefore;
    private List<Batch> batches = [];

    /// <param name="batchTokens">Padded tokens of both sides a batch has at most.</param>
    /// <param name="pack">Rows hold several samples: <see cref="Pack"/>.</param>
    public MixtureStream(IReadOnlyList<MixtureSource> sources, SampleLimits limits, int batchTokens, ulong seed, StreamCursor? cursor = null, bool pack = false)
    {
        (this.sources, this.limits, this.batchTokens, this.seed, this.pack) = (sources, limits, batchTokens, seed, pack);
        foreach (var empty in sources.Where(s => s.Places.Count == 0)) throw new InvalidDataException($"Corpus '{empty.Name}' has no sample that fits {limits.MaxContext} + {limits.MaxReply} tokens.");
        drawn = cursor?.Drawn.ToArray() ?? new long[sources.Count];
        if (drawn.Length != sources.Count) throw new InvalidDataException($"The cursor knows {drawn.Length} corpora, the mixture has {sources.Count}.");
        drawnBefore = [.. drawn];
        pool = cursor?.Pool ?? 0;
        FillPool();
        next = cursor?.BatchInPool ?? 0;
    }

    /// <summary>The place of the next batch.</summary>
    public StreamCursor Cursor => new(pool, next, drawnBefore);

    public Batch Next()
    {
        if (next == batches.Count)
        {
            pool++;
            drawnBefore = [.. drawn];
            FillPool();
            next = 0;
        }
        return batches[next++];
    }

    private void FillPool()
    {
        var random = RandomStream.Of(seed, "pool", pool);
        var samples = new List<Sample>();
        for (var tokens = 0; tokens < PoolBatches * batchTokens;)
        {
            var sample = Draw(Choose(random.Unit()));
            samples.Add(sample);
            tokens += sample.Context.Length + sample.Labels.Length;
        }
        batches = pack ? Pack(samples, limits, batchTokens) : Cut(samples, batchTokens);
        random.Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(batches));
    }

    private int Choose(double unit)
    {
        var left = unit * sources.Sum(s => s.Weight);
        for (var i = 0; i < sources.Count; i++)
        {
            left -= sources[i].Weight;
            if (left < 0) return i;
        }
        return sources.Count - 1;
    }

    private Sample Draw(int source)
    {
        var (name, corpus, sampler, places, _) = sources[source];
        var number = drawn[source]++;
        var epoch = number / places.Count;
        if (!orders.TryGetValue((source, epoch), out var order))
        {
            order = [.. Enumerable.Range(0, places.Count)];
            RandomStream.Of(seed, $"order {name}", epoch).Shuffle(order.AsSpan());
            foreach (var old in orders.Keys.Where(k => k.Source == source).ToArray()) orders.Remove(old);
            orders[(source, epoch)] = order;
        }
        return sampler.Make(corpus, places[order[(int)(number % places.Count)]], limits, RandomStream.Of(seed, $"sample {name}", number));
    }

    /// <summary>
    /// Samples put behind each other until a row is as long as the longest sample may be: the longest first, each into the first row that has room for both its sides. A batch's padded size stays
    /// within the limit, and its rows are of like length.
    /// </summary>
    public static List<Batch> Pack(IEnumerable<Sample> samples, SampleLimits row, int batchTokens)
    {
        var rows = new List<(List<Sample> Samples, int Context, int Reply)>();
        var open = 0;                                                                       // rows before it have no room for anything
        foreach (var sample in samples.OrderByDescending(s => s.Context.Length + s.Labels.Length))
        {
            var at = open;
            while (at < rows.Count && (rows[at].Context + sample.Context.Length > row.MaxContext || rows[at].Reply + sample.Labels.Length > row.MaxReply)) at++;
            if (at == rows.Count) rows.Add(([], 0, 0));
            rows[at].Samples.Add(sample);
            rows[at] = (rows[at].Samples, rows[at].Context + sample.Context.Length, rows[at].Reply + sample.Labels.Length);
            while (open < rows.Count && (rows[open].Context == row.MaxContext || rows[open].Reply == row.MaxReply)) open++;
        }
        return [.. Cut(rows, r => (r.Context, r.Reply), batchTokens).Select(batch => Batch.Packed([.. batch.Select(r => r.Samples)]))];
    }

    /// <summary>Samples of like length, cut so that no batch's padded size passes the limit. Equal lengths keep their order.</summary>
    public static List<Batch> Cut(IEnumerable<Sample> samples, int batchTokens) => [.. Cut(samples, sample => sample, batchTokens).Select(batch => new Batch(batch))];

    /// <inheritdoc cref="Cut(IEnumerable{Sample}, int)"/>
    public static List<List<T>> Cut<T>(IEnumerable<T> items, Func<T, Sample> sampleOf, int batchTokens) => Cut(items, item => (sampleOf(item).Context.Length, sampleOf(item).Labels.Length), batchTokens);

    private static List<List<T>> Cut<T>(IEnumerable<T> items, Func<T, (int Context, int Reply)> lengthsOf, int batchTokens)
    {
        var batches = new List<List<T>>();
        var batch = new List<T>();
        var (context, reply) = (0, 0);
        foreach (var (item, lengths) in items.Select(item => (Item: item, Lengths: lengthsOf(item)))
            .OrderBy(s => s.Lengths.Reply / ReplyBucket).ThenBy(s => s.Lengths.Context).ThenBy(s => s.Lengths.Reply))
        {
            var (widerContext, longerReply) = (Math.Max(context, lengths.Context), Math.Max(reply, lengths.Reply));
            if (batch.Count > 0 && (batch.Count + 1) * (widerContext + longerReply) > batchTokens)
            {
                batches.Add(batch);
                batch = [];
                (widerContext, longerReply) = lengths;
            }
            batch.Add(item);
            (context, reply) = (widerContext, longerReply);
        }
        if (batch.Count > 0) batches.Add(batch);
        return batches;
    }
}
