using Chat.Models.Decoding;
using CsCheck;

namespace Chat.Tests.Decoding;

public sealed class ContrastiveSearchTests
{
    private static readonly DecodingCatalog Catalog = StrategyConformanceTests.Catalog;

    [Fact]
    public void Without_penalty_or_with_one_candidate_it_is_greedy()
    {
        Gen.Int[0, 10_000].Sample(seed =>
        {
            var model = new ToyModel(seed, 9);
            var greedy = model.Run(new Greedy(), new DecodingOptions { MaxTokens = 12 }, Catalog).Ids;

            Assert.Equal(greedy, model.Run(new Contrastive(), new ContrastiveOptions { MaxTokens = 12, DegenerationPenalty = 0 }, Catalog).Ids);
            Assert.Equal(greedy, model.Run(new Contrastive(), new ContrastiveOptions { MaxTokens = 12, Candidates = 1 }, Catalog).Ids);
        }, iter: 100);
    }

    [Fact]
    public void Replies_are_the_slow_forms()
    {
        var different = 0;
        Gen.Select(Gen.Int[0, 10_000], Gen.Int[1, 6], Gen.Double[0, 1], Gen.Double[0.3, 2]).Sample((seed, k, alpha, temperature) =>
        {
            var model = new ToyModel(seed, 9);
            var options = new ContrastiveOptions { MaxTokens = 10, MinTokens = seed % 4, Candidates = k, DegenerationPenalty = alpha, Temperature = temperature };
            var slow = Slow(model, options);

            Assert.Equal(slow, model.Run(new Contrastive(), options, Catalog).Ids);
            if (!slow.SequenceEqual(model.Run(new Greedy(), new DecodingOptions { MaxTokens = 10, MinTokens = seed % 4 }, Catalog).Ids)) Interlocked.Increment(ref different);
        }, iter: 300);
        Assert.InRange(different, 30, 300);
    }

    [Fact]
    public void Folded_states_keep_the_cosines_of_long_rows()
    {
        Gen.Select(Gen.Int[0, 10_000], Gen.Double[-1, 1]).Sample((seed, mix) =>
        {
            var (a, noise) = (new ToyModel(seed, 20_000).Logits([]), new ToyModel(seed + 1, 20_000).Logits([]));
            float[] b = [.. a.Zip(noise, (x, y) => (float)(mix * x + Math.Sqrt(1 - mix * mix) * y) + 3)];

            Assert.Equal(ScoreState.Length, ScoreState.Of(a).Length);
            Assert.Equal(Cosine(a, b), ScoreState.Of(a).Zip(ScoreState.Of(b), (x, y) => x * y).Sum(), tolerance: 5 / Math.Sqrt(ScoreState.Length));
        }, iter: 30);
    }

    /// <summary>As the paper writes it, every cosine anew.</summary>
    private static int[] Slow(ToyModel model, ContrastiveOptions options)
    {
        var ids = new List<int>();
        while (ids.Count < options.MaxTokens)
        {
            var row = model.Logits([.. ids]);
            row[0] = float.NegativeInfinity;
            if (ids.Count < options.MinTokens) row[ToyModel.Separator] = float.NegativeInfinity;
            foreach (ref var s in row.AsSpan()) s /= (float)options.Temperature;
            Scores.LogSoftmax(row);
            var best = Enumerable.Range(0, row.Length).Where(id => !float.IsNegativeInfinity(row[id])).OrderByDescending(id => row[id]).Take(options.Candidates).ToArray();
            var last = ids.Count == options.MaxTokens - 1;
            var id = last ? best[0] : best.MaxBy(v => (1 - options.DegenerationPenalty) * Math.Exp(row[v]) - options.DegenerationPenalty * Likeness(v));
            if (id == ToyModel.Separator) break;
            ids.Add(id);
        }
        return [.. ids];

        double Likeness(int v) => ids.Count == 0 ? 0 : Enumerable.Range(1, ids.Count).Max(end => Cosine(model.Logits([.. ids.Take(end)]), model.Logits([.. ids, v])));
    }

    private static double Cosine(float[] a, float[] b)
    {
        var (meanA, meanB) = (a.Average(), b.Average());
        var product = a.Zip(b, (x, y) => (double)(x - meanA) * (y - meanB)).Sum();
        return product / Math.Sqrt(a.Sum(x => (double)(x - meanA) * (x - meanA)) * b.Sum(y => (double)(y - meanB) * (y - meanB)));
    }
}
