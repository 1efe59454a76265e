using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Tests.Engine;

/// <summary>
/// A deterministic language model without a model: a row's scores are a function of its context and reply. It checks that its caller keeps the
/// rules of <see cref="IRunner"/>, and fails when told to.
/// </summary>
internal sealed class ToyRunner(int vocabulary, int rows) : IRunner
{
    private const int PageTokens = 4;
    private readonly List<int>?[] held = new List<int>?[rows];
    private readonly int[]?[] prompts = new int[]?[rows];              // of rows that read them
    private int? thread;                                               // who made it may have handed it over

    /// <summary>Raises the scores of these tokens, so that replies are text of them.</summary>
    public IReadOnlyList<int> Favourites { get; init; } = [];

    /// <summary>How far scores are off: a toy with some of it is like one without, as a student is like its teacher.</summary>
    public float Blur { get; init; }

    /// <summary>Score of the end token is raised by this for each token of the reply.</summary>
    public float Tiredness { get; init; } = 0.3f;

    public bool ReadsInParts { get; init; } = true;

    /// <summary>Tokens of prompts in one call, at most; one prompt that is read whole may be longer.</summary>
    public int MostRead { get; init; } = int.MaxValue;

    /// <summary>Memory, in pages of four tokens; rows with equal beginnings share theirs.</summary>
    public int Pages { get; init; } = int.MaxValue;

    /// <summary>Asked before each call with its name; throws to make it fail.</summary>
    public Action<string> Before { get; init; } = _ => { };

    public int Calls { get; private set; }
    public int Held => held.Count(h => h is not null);
    public IEnumerable<int> HeldRows => Enumerable.Range(0, rows).Where(row => held[row] is not null);
    public int PromptTokensRead { get; private set; }
    public int MostPagesUsed { get; private set; }
    public bool IsDisposed { get; private set; }

    public int VocabularySize => vocabulary;
    public int Rows => rows;
    public int MaxContext => 64;
    public int MaxReply => 48;

    public double Usage => Pages == int.MaxValue ? 0 : Used() / (double)Pages;

    public int Open(PrefillItem item)
    {
        Check("open");
        Assert.InRange(item.Context.Length, 1, MaxContext);
        Assert.InRange(item.Emitted.Length, 0, MaxReply - 1);
        held[item.Row] = [];
        prompts[item.Row] = [.. item.Context.Span, -1, .. item.Emitted.Span];
        return prompts[item.Row]!.Length;
    }

    public bool Fits(ReadOnlySpan<RowTokens> feeds)
    {
        var needed = 0;
        foreach (var (row, tokens) in feeds)
        {
            var have = held[row]!;
            needed += PagesFor(have.Count + tokens) - PagesFor(have.Count);
            if (have.Count % PageTokens != 0 && held.Any(other => other is not null && other != have && other.SequenceEqual(have))) needed++;
        }
        return Used() + needed <= Pages;
    }

    public ReadOnlySpan<float> Read(scoped ReadOnlySpan<RowTokens> parts)
    {
        Check("prefill");
        Assert.True(parts.Length == 1 || parts.ToArray().Sum(part => part.Tokens) <= MostRead);
        Assert.True(!ReadsInParts || parts[0].Tokens <= MostRead);
        var scores = new List<float>();
        foreach (var (row, tokens) in parts)
        {
            var (have, prompt) = (held[row]!, prompts[row]!);
            Assert.InRange(tokens, ReadsInParts ? 1 : prompt.Length, prompt.Length - have.Count);
            have.AddRange(prompt.AsSpan(have.Count, tokens));
            PromptTokensRead += tokens;
            if (have.Count < prompt.Length) continue;
            prompts[row] = null;
            scores.AddRange(Scores(have));
        }
        CheckMemory();
        return scores.ToArray();
    }

    public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens)
    {
        Check("decode");
        Assert.Equal(rows.Length, rows.ToArray().Distinct().Count());
        var scores = new List<float>();
        for (var i = 0; i < rows.Length; i++)
        {
            Assert.Null(prompts[rows[i]]);
            held[rows[i]]!.Add(tokens[i]);
            scores.AddRange(Scores(held[rows[i]]!));
        }
        CheckMemory();
        return scores.ToArray();
    }

    public ReadOnlySpan<float> Verify(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, ReadOnlySpan<int> tokens)
    {
        Check("verify");
        Assert.Equal(rows.Length, rows.ToArray().Distinct().Count());
        Assert.Equal(counts.ToArray().Sum(), tokens.Length);
        var scores = new List<float>();
        for (int i = 0, t = 0; i < rows.Length; i++)
        {
            Assert.Null(prompts[rows[i]]);
            for (var end = t + counts[i]; t < end; t++)
            {
                held[rows[i]]!.Add(tokens[t]);
                scores.AddRange(Scores(held[rows[i]]!));
            }
        }
        CheckMemory();
        return scores.ToArray();
    }

    public void Truncate(int row, int length)
    {
        Check("truncate");
        var (ids, start) = (held[row]!, held[row]!.IndexOf(-1) + 1);
        Assert.InRange(length, 0, ids.Count - start);
        ids.RemoveRange(start + length, ids.Count - start - length);
    }

    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        Check("fork");
        var before = held.ToArray();
        foreach (var (from, to) in copies)
        {
            Assert.Null(prompts[from]);
            (held[to], prompts[to]) = ([.. before[from]!], null);
        }
    }

    public void Free(int row)
    {
        Check("free");
        (held[row], prompts[row]) = (null, null);
    }

    /// <summary>What is pinned; each was read whole by a row that still had it.</summary>
    public Dictionary<string, int[]> Pins { get; } = [];

    public Pin Pin(string name, ReadOnlySpan<int> tokens)
    {
        Check("pin");
        int[] beginning = [.. tokens];
        Assert.Contains(HeldRows, row => prompts[row] is null && held[row]!.Take(beginning.Length).SequenceEqual(beginning));
        Pins.Add(name, beginning);
        return new(name, beginning.Length, 4 * beginning.Length);
    }

    public void Unpin(string name)
    {
        Check("unpin");
        Pins.Remove(name);
    }

    public void Dispose() => IsDisposed = true;

    private void Check(string call)
    {
        Assert.Equal(thread ??= Environment.CurrentManagedThreadId, Environment.CurrentManagedThreadId);
        Calls++;
        Before(call);
    }

    private static int PagesFor(int tokens) => (tokens + PageTokens - 1) / PageTokens;

    private int Used() => held.Where(row => row is not null)
        .SelectMany(row => Enumerable.Range(0, PagesFor(row!.Count)).Select(page => string.Join(',', row.Take(Math.Min(row.Count, (page + 1) * PageTokens))))).Distinct().Count();

    private void CheckMemory()
    {
        if (Pages < int.MaxValue) Assert.InRange(MostPagesUsed = Math.Max(MostPagesUsed, Used()), 0, Pages);
    }

    private float[] Scores(List<int> ids)
    {
        var hash = 0x9E3779B97F4A7C15;
        foreach (var id in ids) hash = (hash ^ (ulong)(id + 2)) * 0xD1342543DE82EF95 + 0x632BE59BD9B4E019;
        var draws = new RandomStream((long)hash, 0).At(0);
        var scores = new float[vocabulary];
        foreach (ref var s in scores.AsSpan()) s = 3 * (float)(draws.Next() + draws.Next() + draws.Next());
        foreach (ref var s in scores.AsSpan()) s += Blur * (float)(draws.Next() - 0.5);
        foreach (var id in Favourites) scores[id] += 6;
        scores[1] += Tiredness * (ids.Count - ids.IndexOf(-1));
        return scores;
    }
}
