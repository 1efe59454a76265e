using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Tests.Engine;

/// <summary>
/// A deterministic language model without a model: a row's scores are a function of its context and reply. It checks that its caller keeps the
/// rules of <see cref="IRunner"/>, and fails when told to.
/// </summary>
internal sealed class ToyRunner(int vocabulary, int rows) : IRunner
{
    private readonly List<int>?[] held = new List<int>?[rows];
    private readonly int thread = Environment.CurrentManagedThreadId;

    /// <summary>Raises the scores of these tokens, so that replies are text of them.</summary>
    public IReadOnlyList<int> Favourites { get; init; } = [];

    /// <summary>Score of the end token is raised by this for each token of the reply.</summary>
    public float Tiredness { get; init; } = 0.3f;

    /// <summary>Asked before each call with its name; throws to make it fail.</summary>
    public Action<string> Before { get; init; } = _ => { };

    public int Calls { get; private set; }
    public int Held => held.Count(h => h is not null);
    public bool IsDisposed { get; private set; }

    public int VocabularySize => vocabulary;
    public int Rows => rows;
    public int MaxContext => 64;
    public int MaxReply => 48;

    public ReadOnlySpan<float> Prefill(ReadOnlySpan<PrefillItem> items)
    {
        Check("prefill");
        var scores = new List<float>();
        foreach (var item in items)
        {
            Assert.Null(held[item.Row]);
            Assert.InRange(item.Context.Length, 1, MaxContext);
            held[item.Row] = [.. item.Context.Span, -1, .. item.Emitted.Span];
            scores.AddRange(Scores(held[item.Row]!));
        }
        return scores.ToArray();
    }

    public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens)
    {
        Check("decode");
        Assert.Equal(rows.Length, rows.ToArray().Distinct().Count());
        var scores = new List<float>();
        for (var i = 0; i < rows.Length; i++)
        {
            held[rows[i]]!.Add(tokens[i]);
            scores.AddRange(Scores(held[rows[i]]!));
        }
        return scores.ToArray();
    }

    public void Fork(ReadOnlySpan<(int From, int To)> copies)
    {
        Check("fork");
        var before = held.ToArray();
        foreach (var (from, to) in copies) held[to] = [.. before[from]!];
    }

    public void Free(int row)
    {
        Check("free");
        held[row] = null;
    }

    public void Dispose() => IsDisposed = true;

    private void Check(string call)
    {
        Assert.Equal(thread, Environment.CurrentManagedThreadId);
        Calls++;
        Before(call);
    }

    private float[] Scores(List<int> ids)
    {
        var hash = 0x9E3779B97F4A7C15;
        foreach (var id in ids) hash = (hash ^ (ulong)(id + 2)) * 0xD1342543DE82EF95 + 0x632BE59BD9B4E019;
        var draws = new RandomStream((long)hash, 0).At(0);
        var scores = new float[vocabulary];
        foreach (ref var s in scores.AsSpan()) s = 3 * (float)(draws.Next() + draws.Next() + draws.Next());
        foreach (var id in Favourites) scores[id] += 6;
        scores[1] += Tiredness * (ids.Count - ids.IndexOf(-1));
        return scores;
    }
}
