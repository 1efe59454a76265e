namespace Chat.Models.Decoding;

/// <summary>One way a reply may go: its ids, their sum of scores, and what the rules remember of it.</summary>
public sealed class Hypothesis(IReadOnlyList<ChosenToken> trace, float score, RowRules rules)
{
    private readonly int[] ids = [.. trace.Select(t => t.Id)];

    public ReadOnlySpan<int> Ids => ids;
    public int Length => ids.Length;
    public IReadOnlyList<ChosenToken> Trace => trace;

    /// <summary>Sum of processed scores; of a finished hypothesis, the separator's included.</summary>
    public float Score => score;
    public RowRules Rules => rules;

    /// <summary>Ended by the separator.</summary>
    public bool Ended { get; init; }
}

/// <summary>Hypothesis <paramref name="Parent"/> followed by <paramref name="Token"/>, with the sum of scores it would then have.</summary>
public readonly record struct Candidate(float Score, int Parent, int Token);

/// <summary>
/// The bookkeeping of beam search: live hypotheses, the pool of finished ones, and the stop rule of EVA2.0 (arXiv:2203.09313, and
/// generation_utils.py: a finished hypothesis counts only if it ranks among the first B candidates; done when the pool is full and its worst
/// is no worse than this step's best candidate divided by the current length^ℓ). Where candidates come from is the caller's business.
/// Lengths are counted without the separator; length 0 counts as 1, where the reference divides by zero.
/// </summary>
public sealed class BeamCore(int beams, double lengthPenalty, bool earlyStopping, int separator, int maxTokens, Hypothesis start)
{
    private readonly List<(double Rank, Hypothesis Hypothesis)> pool = [];                 // best first, at most B

    public IReadOnlyList<Hypothesis> Live { get; private set; } = [start];

    /// <summary>Complete hypotheses with their normalised scores, best first.</summary>
    public IReadOnlyList<(double Rank, Hypothesis Hypothesis)> Pool => pool;
    public bool IsDone { get; private set; }

    /// <param name="ranked">At most 2B candidates, best first; a caller may rank by more than their scores.</param>
    /// <param name="chosen">Gives the record of a candidate's token.</param>
    /// <param name="next">Receives the hypotheses that go on.</param>
    public void Advance(ReadOnlySpan<Candidate> ranked, Func<Candidate, ChosenToken> chosen, List<Continuation> next)
    {
        if (ranked.IsEmpty) throw new ScoreException("No candidate is left for any beam.");
        var length = Live[0].Length;
        var live = new List<Hypothesis>(beams);
        var used = new HashSet<int>();
        for (var rank = 0; rank < ranked.Length && live.Count < beams; rank++)
        {
            var parent = Live[ranked[rank].Parent];
            if (ranked[rank].Token == separator)
            {
                if (rank < beams) Add(new(parent.Trace, ranked[rank].Score, RowRules.None) { Ended = true });
                continue;
            }
            var rules = used.Add(ranked[rank].Parent) ? parent.Rules : parent.Rules.Fork();
            live.Add(new([.. parent.Trace, chosen(ranked[rank])], ranked[rank].Score, rules));
            next.Add(new(ranked[rank].Parent, ranked[rank].Token));
        }
        foreach (var hypothesis in live) hypothesis.Rules.Append(hypothesis.Ids[^1]);        // only now: forks copy the parent's state

        if (live.Count > 0) Live = live;                                                   // all candidates ended: the last ones stay to be looked at
        var best = ranked[0].Score;
        foreach (var candidate in ranked) best = Math.Max(best, candidate.Score);
        IsDone = pool.Count >= beams && (earlyStopping || pool[^1].Rank >= Normalised(best, length));
        if (!IsDone && (live.Count == 0 || live[0].Length >= maxTokens)) Close(live);
        if (IsDone) next.Clear();
    }

    /// <summary>Ends the search: the live hypotheses compete with the finished ones.</summary>
    public void Close() => Close(Live);

    /// <summary>Hands out what has become certain: what all hypotheses share that may still win; at the end the best one's rest.</summary>
    /// <param name="delivered">Tokens handed out so far.</param>
    public void Deliver(SearchStep step, ref int delivered)
    {
        step.IsDone = IsDone;
        step.Ended = IsDone && pool[0].Hypothesis.Ended;
        step.Certain.AddRange(IsDone ? pool[0].Hypothesis.Trace.Skip(delivered) : Shared([.. Live, .. pool.Select(p => p.Hypothesis)], delivered));
        delivered += step.Certain.Count;
    }

    /// <summary>Tokens from <paramref name="delivered"/> on that all of these hypotheses share.</summary>
    public static IEnumerable<ChosenToken> Shared(IReadOnlyList<Hypothesis> hypotheses, int delivered)
    {
        var first = hypotheses[0];
        for (var at = delivered; at < first.Length && hypotheses.All(h => h.Length > at && h.Ids[at] == first.Ids[at]); at++)
            yield return first.Trace[at];
    }

    private void Close(IEnumerable<Hypothesis> live)
    {
        foreach (var hypothesis in live) Add(hypothesis);
        IsDone = true;
    }

    private void Add(Hypothesis hypothesis)
    {
        var rank = Normalised(hypothesis.Score, hypothesis.Length);
        if (pool.Count >= beams && rank <= pool[^1].Rank) return;
        var at = pool.FindIndex(p => p.Rank < rank);
        pool.Insert(at < 0 ? pool.Count : at, (rank, hypothesis));
        if (pool.Count > beams) pool.RemoveAt(pool.Count - 1);
    }

    private double Normalised(double score, int length) => score / Math.Pow(Math.Max(1, length), lengthPenalty);
}
