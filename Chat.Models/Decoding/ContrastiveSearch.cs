using System.Numerics.Tensors;
using Chat.Domain.Plugins;

namespace Chat.Models.Decoding;

/// <summary>
/// Contrastive search (Su et al., arXiv:2202.06417, eq. 5): of the k most probable tokens v, the one with the greatest (1 − α)·p(v) − α·max cos(h_v, h_j) over the reply's
/// tokens j, where h is the model's state behind a token. All k are fed, each in a row of its own, and judged by what they lead to; so tokens are certain one step later.
/// Where we differ: strategies see scores, no states. Scores are z = W·h, so likeness of score rows is likeness of states in the metric WᵀW; a row's mean, which the softmax
/// ignores, is taken out first. Only the reply's tokens count, not the context's. The last token that fits is chosen by probability, since no row could hold it.
/// </summary>
[Plugin("contrastive", Paper = "arXiv:2202.06417", Summary = "The most probable token that does not lead where the reply already was: steady without chance.")]
public sealed class Contrastive : IDecodingStrategy
{
    public DecodingOptions Defaults { get; } = new ContrastiveOptions();

    /// <summary>What a token leads to is more than its own row.</summary>
    public bool IsPure => false;

    public int Width(DecodingOptions options) => ((ContrastiveOptions)options).Candidates;

    public ISearch Start(DecodingOptions options, DecodingContext context) => new Search((ContrastiveOptions)options, context);

    private sealed class Search : ISearch
    {
        private readonly ContrastiveOptions options;
        private readonly DecodingContext context;
        private readonly List<int> reply = [];
        private readonly List<float[]> states = [];                                        // of the reply's tokens, as unit vectors
        private readonly List<(ChosenToken Token, float Probability)> candidates = [];

        public Search(ContrastiveOptions options, DecodingContext context)
        {
            this.options = options;
            this.context = context;
            foreach (var id in context.Emitted.Span)
            {
                reply.Add(id);
                context.Rules.Append(id);
            }
        }

        public void Step(Span<float> scores, SearchStep step)
        {
            step.Clear();
            if (reply.Count >= options.MaxTokens) { step.IsDone = true; return; }

            var (row, width) = (0, scores.Length / Math.Max(1, candidates.Count));
            if (candidates.Count > 0)
            {
                (row, var state) = Judge(scores, width);
                if (!Choose(candidates[row].Token, step)) return;
                states.Add(state);
            }
            Look(scores.Slice(row * width, width));
            if (reply.Count == options.MaxTokens - 1) Choose(candidates[0].Token, step);
            else foreach (var (token, _) in candidates) step.Next.Add(new(row, token.Id));
        }

        /// <returns>The best candidate, and its state.</returns>
        private (int Row, float[] State) Judge(ReadOnlySpan<float> scores, int width)
        {
            var best = (Row: 0, Score: double.NegativeInfinity, State: Array.Empty<float>());
            for (var row = 0; row < candidates.Count; row++)
            {
                var state = ScoreState.Of(scores.Slice(row * width, width));
                var likeness = states.Count == 0 ? 0 : states.Max(s => TensorPrimitives.Dot<float>(s, state));
                var score = (1 - options.DegenerationPenalty) * candidates[row].Probability - options.DegenerationPenalty * likeness;
                if (score > best.Score) best = (row, score, state);
            }
            return (best.Row, best.State);
        }

        /// <summary>Makes the candidates that follow the reply, best first.</summary>
        private void Look(Span<float> row)
        {
            candidates.Clear();
            context.Rules.Apply(row, reply.ToArray());
            using var left = new Truncation(row, options);
            Span<int> best = stackalloc int[options.Candidates];
            foreach (var id in best[..left.Best(best)])
                candidates.Add((ChosenToken.From(row, left.LogTotal, id, context.TopLogprobs), MathF.Exp(left.KeptLogprob(id))));
        }

        /// <returns>Whether the reply goes on.</returns>
        private bool Choose(ChosenToken token, SearchStep step)
        {
            step.Ended = token.Id == context.Tokens.Separator;
            if (!step.Ended)
            {
                step.Certain.Add(token);
                reply.Add(token.Id);
                context.Rules.Append(token.Id);
            }
            step.IsDone = step.Ended || reply.Count == options.MaxTokens;
            return !step.IsDone;
        }
    }
}

/// <summary>
/// A row of scores as a unit vector whose products with others are cosines: the mean is taken out, and a row of more than <see cref="Length"/> scores is folded into as many
/// signed sums (Charikar et al. 2002), which keeps products up to a deviation of 1/√<see cref="Length"/>, so that a long reply of a large vocabulary stays small.
/// </summary>
internal static class ScoreState
{
    public const int Length = 1024;

    public static float[] Of(ReadOnlySpan<float> row)
    {
        // A score may be −∞ where a model never says a token: as far away as its lowest score.
        var (sum, least, count) = (0.0, float.PositiveInfinity, 0);
        foreach (var s in row)
        {
            if (float.IsNaN(s) || float.IsPositiveInfinity(s)) throw new ScoreException($"The model gave the score {s}.");
            if (float.IsNegativeInfinity(s)) continue;
            (sum, least, count) = (sum + s, Math.Min(least, s), count + 1);
        }
        if (count == 0) throw new ScoreException("The model gave no score.");
        var mean = (float)(sum / count);

        var state = new float[Math.Min(row.Length, Length)];
        for (var id = 0; id < row.Length; id++)
        {
            var s = Math.Max(row[id], least) - mean;
            if (row.Length <= Length) state[id] = s;
            else
            {
                var hash = (uint)id * 0x9E3779B1u;                                          // Knuth's multiplicative hash
                hash ^= hash >> 15;
                hash *= 0x85EBCA6Bu;
                state[hash >> 22] += (hash & 1) == 0 ? s : -s;
            }
        }
        var norm = TensorPrimitives.Norm<float>(state);
        if (norm > 0) TensorPrimitives.Divide(state, norm, state);
        return state;
    }
}
