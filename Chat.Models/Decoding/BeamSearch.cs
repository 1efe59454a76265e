using System.Collections.Frozen;
using System.Runtime.InteropServices;

namespace Chat.Models.Decoding;

/// <summary>
/// Beam search and beam sampling in clean form: rules on raw scores, one temperature, the cuts of <see cref="Truncation"/>, log-softmax, sum. It starts from one
/// hypothesis, which is what masking beams 1 … B−1 in the first step means. «Sampling» draws 2B of all beams' outcomes without replacement,
/// by probability, instead of taking the 2B best. What all live and finished hypotheses share is certain and delivered at once.
/// </summary>
internal sealed class BeamSearch : ISearch
{
    private readonly BeamOptions options;
    private readonly DecodingContext context;
    private readonly bool sample;
    private readonly BeamCore core;
    private readonly List<Candidate> candidates = [];
    private readonly float[] logTotals;
    private int delivered;

    public BeamSearch(BeamOptions options, DecodingContext context, bool sample)
    {
        this.options = options;
        this.context = context;
        this.sample = sample && options.Temperature > 0;
        logTotals = new float[options.NumBeams];
        foreach (var id in context.Emitted.Span) context.Rules.Append(id);
        delivered = context.Emitted.Length;
        core = new(options.NumBeams, options.LengthPenalty, options.EarlyStopping, context.Tokens.Separator, options.MaxTokens,
            new([.. context.Emitted.ToArray().Select(id => new ChosenToken(id, 0, []))], 0, context.Rules));
    }

    /// <summary>Live hypotheses, and complete ones with their normalised scores, best first.</summary>
    public BeamCore Core => core;

    public void Step(Span<float> scores, SearchStep step)
    {
        step.Clear();
        if (core.Live[0].Length >= options.MaxTokens) { step.IsDone = true; return; }

        Advance(scores, step.Next, FrozenDictionary<int, float>.Empty);
        core.Deliver(step, ref delivered);
    }

    /// <summary>One step without delivery.</summary>
    /// <param name="handicaps">What tokens lose in rank, not in score; none is negative.</param>
    public void Advance(Span<float> scores, List<Continuation> next, IReadOnlyDictionary<int, float> handicaps)
    {
        var width = scores.Length / core.Live.Count;
        Collect(scores, width, handicaps.Count);
        var ranked = sample ? Sampling.WithoutReplacement(candidates, 2 * options.NumBeams, context.Random.At(core.Live[0].Length)) : candidates;
        ranked.Sort((a, b) => Rank(a) is var x && Rank(b) is var y && x != y ? y.CompareTo(x) : (a.Parent, a.Token).CompareTo((b.Parent, b.Token)));

        // A span cannot be captured: the records of all candidates are made before the core picks.
        var records = new Dictionary<Candidate, ChosenToken>();
        var count = Math.Min(ranked.Count, 2 * options.NumBeams);
        for (var i = 0; i < count; i++)
            records[ranked[i]] = ChosenToken.From(scores.Slice(ranked[i].Parent * width, width), logTotals[ranked[i].Parent], ranked[i].Token, context.TopLogprobs);
        core.Advance(CollectionsMarshal.AsSpan(ranked)[..count], c => records[c], next);

        float Rank(Candidate c) => c.Score - handicaps.GetValueOrDefault(c.Token);
    }

    private void Collect(Span<float> scores, int width, int handicapped)
    {
        candidates.Clear();
        // So many are looked at that 2B are left when every handicapped token falls out.
        Span<int> best = stackalloc int[2 * options.NumBeams + handicapped];
        for (var beam = 0; beam < core.Live.Count; beam++)
        {
            var row = scores.Slice(beam * width, width);
            core.Live[beam].Rules.Apply(row, core.Live[beam].Ids);
            // Two tokens a beam at least: fewer than 2B outcomes of B beams could leave beams without a successor.
            using var left = new Truncation(row, options, minKeep: sample ? 2 : 1);
            logTotals[beam] = left.LogTotal;
            if (sample)
                for (var rank = 0; rank < left.Count; rank++) Add(beam, left.Id(rank), left.KeptLogprob(left.Id(rank)));
            else
                foreach (var id in best[..left.Best(best)]) Add(beam, id, left.KeptLogprob(id));
        }
    }

    private void Add(int beam, int id, float logprob) => candidates.Add(new(core.Live[beam].Score + logprob, beam, id));
}
