using Chat.Domain.Plugins;

namespace Chat.Models.Decoding;

/// <summary>
/// Diverse beam search (Vijayakumar et al., arXiv:1610.02424, algorithm 1) with Hamming diversity: the beams form groups that choose one after the other in each step,
/// and a token's rank falls by λ for each hypothesis of an earlier group that chose it in this step. Where we differ from published code: the handicap moves ranks alone,
/// so a hypothesis keeps the model's own sum (the paper's Θ), and groups are compared by it; a group that is done no longer pushes others away.
/// Several choices of one request answer with the best replies of different groups, the best group first.
/// </summary>
[Plugin("diverse-beam", Paper = "arXiv:1610.02424", Summary = "Beam search in groups that avoid each other's words; each choice of a request is another group's reply.")]
public sealed class DiverseBeam : BeamStrategy
{
    public override DecodingOptions Defaults { get; } = new DiverseBeamOptions();

    public override ISearch Start(DecodingOptions options, DecodingContext context) => new Search((DiverseBeamOptions)options, context);

    private sealed class Search : ISearch
    {
        private readonly DiverseBeamOptions options;
        private readonly BeamSearch[] groups;
        private readonly int[] rows;                                                       // live rows of each group
        private readonly int choice, emitted;
        private bool hasBegun;
        private int delivered;

        public Search(DiverseBeamOptions options, DecodingContext context)
        {
            this.options = options;
            choice = context.Choice;
            delivered = emitted = context.Emitted.Length;
            var count = Math.Min(options.NumGroups, options.NumBeams);
            groups = [.. Enumerable.Range(0, count).Select(g => new BeamSearch(
                options with { NumBeams = options.NumBeams / count + (g < options.NumBeams % count ? 1 : 0) }, context with { Rules = context.Rules.Fork() }, sample: false))];
            rows = new int[count];
        }

        public void Step(Span<float> scores, SearchStep step)
        {
            step.Clear();
            if (emitted >= options.MaxTokens) { step.IsDone = true; return; }

            var width = hasBegun ? scores.Length / rows.Sum() : scores.Length;
            var chosen = new Dictionary<int, float>();
            var next = new List<Continuation>();
            var first = 0;
            for (var g = 0; g < groups.Length; g++)
            {
                if (groups[g].Core.IsDone) continue;
                next.Clear();
                var before = groups[g].Core.Live;
                // The first row belongs to every group, and a group writes into its rows.
                groups[g].Advance(hasBegun ? scores.Slice(first * width, rows[g] * width) : scores.ToArray(), next, chosen);
                foreach (var (parent, token) in next) step.Next.Add(new(first + parent, token));
                // A group's last step has no next, but it has chosen.
                if (groups[g].Core.Live is var live && live != before)
                    foreach (var hypothesis in live) chosen[hypothesis.Ids[^1]] = chosen.GetValueOrDefault(hypothesis.Ids[^1]) + (float)options.DiversityStrength;
                if (hasBegun) first += rows[g];
                rows[g] = next.Count;
            }
            hasBegun = true;
            Deliver(step);
        }

        private void Deliver(SearchStep step)
        {
            step.IsDone = groups.All(g => g.Core.IsDone);
            if (!step.IsDone)
            {
                step.Certain.AddRange(BeamCore.Shared([.. groups.SelectMany(g => g.Core.Pool.Select(p => p.Hypothesis).Concat(g.Core.IsDone ? [] : g.Core.Live))], delivered));
                delivered += step.Certain.Count;
                return;
            }
            var answer = groups.OrderByDescending(g => g.Core.Pool[0].Rank).ElementAt(choice % groups.Length).Core.Pool[0].Hypothesis;
            step.Ended = answer.Ended;
            step.Certain.AddRange(answer.Trace.Skip(delivered));
        }
    }
}
