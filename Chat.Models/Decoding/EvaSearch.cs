using System.Runtime.InteropServices;
using Chat.Models.Decoding.Rules;

namespace Chat.Models.Decoding;

/// <summary>
/// Beam search and «beam + sampling» of EVA2.0's published code, bug for bug (src/generation_utils.py): all B beams start with score 0, so
/// without sampling they stay equal and the result is greedy over processed log-probabilities; with sampling and T ≠ 1 the cumulative sum is divided
/// by T a second time, so that after t steps token j weighs T^−(t−j+1); antonym bans leak across beams. One thing differs: where the
/// reference fails for want of 2B outcomes with a probability, this goes on with what there is. With a masked start (only the first beam counts
/// in the first step) it is true beam search over the same chain. Not thread-safe.
/// </summary>
public sealed class EvaSearch : ISearch
{
    // e^−104 is 0 in single precision
    private const float NoProbability = 104;

    // Dividing by a small T at every step, sums leave single precision: T = 0.5 does it after 120 tokens.
    private const float LowestSum = -1e30f, LeastTemperature = 1e-3f;

    private readonly BeamOptions options;
    private readonly DecodingContext context;
    private readonly bool sample, maskedStart, isOwner;
    private readonly BeamCore core;
    private readonly HashSet<int> bannedForAll;
    private int delivered;

    /// <param name="bannedForAll">Antonym bans of a batch that shares them as the reference does; the caller fills it before each step. Alone, a search keeps its own.</param>
    public EvaSearch(BeamOptions options, DecodingContext context, bool maskedStart = false, HashSet<int>? bannedForAll = null)
    {
        this.options = options;
        this.context = context;
        this.maskedStart = maskedStart;
        this.bannedForAll = bannedForAll ?? [];
        isOwner = bannedForAll is null;
        sample = options.Temperature > 0 && (options.TopK > 0 || options.TopP < 1 || options.MinP > 0);
        var chain = new EvaChain(new()
        {
            Temperature = options.Temperature == 0 ? 1 : Math.Max(options.Temperature, LeastTemperature),
            RepetitionPenalty = options.RepetitionPenalty,
            NoRepeatNgram = options.NoRepeatNgram,
            MinTokens = options.MinTokens,
            Antonyms = options.Antonyms,
            LogProbabilities = true,
        }, context.Tokens, context.Dialogue, this.bannedForAll);
        // What the reference does not know stands around its chain and is off by default.
        IRowRule?[] rules =
        [
            chain,
            new OccurrencePenaltyRule().Start(options, context.Tokens, context.Dialogue),
            new LogitBiasRule().Start(options, context.Tokens, context.Dialogue),
            new BadWordsRule().Start(options, context.Tokens, context.Dialogue),
            new GuidedRule().Start(options, context.Tokens, context.Dialogue),
        ];
        delivered = context.Emitted.Length;
        var start = new RowRules([.. rules.OfType<IRowRule>()]);
        foreach (var id in context.Emitted.Span) start.Append(id);
        core = new(options.NumBeams, options.LengthPenalty, options.EarlyStopping, context.Tokens.Separator, options.MaxTokens,
            new([.. context.Emitted.ToArray().Select(id => new ChosenToken(id, 0, []))], 0, start));
    }

    public IReadOnlyList<Hypothesis> Live => core.Live;

    /// <summary>Complete hypotheses with their normalised scores, best first.</summary>
    public IReadOnlyList<(double Rank, Hypothesis Hypothesis)> Pool => core.Pool;
    public bool IsDone => core.IsDone;

    /// <summary>Adds what these hypotheses ban to the set of all.</summary>
    public void AddAntonyms(IEnumerable<Hypothesis> hypotheses)
    {
        foreach (var hypothesis in hypotheses) ((EvaChain)core.Live[0].Rules[0]).AddAntonyms(hypothesis.Ids);
    }

    public void Step(Span<float> scores, SearchStep step)
    {
        step.Clear();
        var length = core.Live[0].Length;
        if (length >= options.MaxTokens) { step.IsDone = true; return; }

        var width = scores.Length / core.Live.Count;
        if (isOwner)
        {
            bannedForAll.Clear();
            AddAntonyms(core.Live);
        }
        for (var beam = 0; beam < core.Live.Count; beam++) core.Live[beam].Rules.Apply(scores.Slice(beam * width, width), core.Live[beam].Ids);

        var records = new Dictionary<Candidate, ChosenToken>();
        var logTotals = new Dictionary<int, float>();
        var ranked = Rank(scores, width, context.Random.At(length));
        foreach (var c in ranked)
        {
            if (!logTotals.TryGetValue(c.Parent, out var logTotal)) logTotals[c.Parent] = logTotal = LogTotal(scores.Slice(c.Parent * width, width));
            records[c] = ChosenToken.From(scores.Slice(c.Parent * width, width), logTotal, c.Token, context.TopLogprobs);
        }
        if (ranked.Count == 0 || ranked[0].Score < LowestSum) core.Close();
        else core.Advance(CollectionsMarshal.AsSpan(ranked), c => records[c], step.Next);

        core.Deliver(step, ref delivered);
    }

    private List<Candidate> Rank(ReadOnlySpan<float> scores, int width, RandomStream.Draws draws)
    {
        // In the first step the one live hypothesis stands for B equal beams.
        var copies = !maskedStart && core.Live.Count == 1 && core.Live[0].Length == context.Emitted.Length ? options.NumBeams : 1;
        var rows = new List<float[]>();
        var max = float.NegativeInfinity;
        foreach (var hypothesis in core.Live)
        {
            var row = scores.Slice(rows.Count * width, width).ToArray();
            Accumulate(row, hypothesis.Score, options, sample);
            max = Math.Max(max, row[Scores.ArgMax(row)]);
            rows.Add(row);
        }
        var count = 2 * options.NumBeams;
        var all = new List<Candidate>();
        Span<int> best = stackalloc int[count];
        for (var copy = 0; copy < copies; copy++)
            for (var beam = 0; beam < rows.Count; beam++)
            {
                if (!sample)
                {
                    foreach (var id in best[..Scores.Best(rows[beam], best)]) all.Add(new(rows[beam][id], beam, id));
                    continue;
                }
                for (var id = 0; id < width; id++)
                    if (rows[beam][id] > max - NoProbability) all.Add(new(rows[beam][id], beam, id));
            }

        return (sample ? Sampling.WithoutReplacement(all, count, draws) : all).OrderByDescending(c => c.Score).Take(count).ToList();
    }

    /// <summary>Turns a row of chain scores into what candidates are ranked by.</summary>
    public static void Accumulate(Span<float> row, float sum, DecodingOptions options, bool sample)
    {
        foreach (ref var s in row) s += sum;
        if (!sample) return;
        if (options.Temperature != 1)
            foreach (ref var s in row) s /= Math.Max((float)options.Temperature, LeastTemperature);
        EvaChain.Filter(row, options.TopK, options.TopP < 1 ? options.TopP : 0);
        var least = row[Scores.ArgMax(row)] + (float)Math.Log(options.MinP);               // −∞ where min-p is off
        foreach (ref var s in row)
            if (s < least) s = EvaChain.Removed(s);
    }

    private static float LogTotal(ReadOnlySpan<float> row)
    {
        var sum = 0.0;
        foreach (var s in row) sum += Math.Exp(s);
        return (float)Math.Log(sum);
    }
}
