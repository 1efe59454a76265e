using Chat.Models.Decoding;
using CsCheck;

namespace Chat.Tests.Decoding;

public sealed class TruncationTests
{
    private static readonly Gen<float[]> Rows = Gen.Int[-256, 256].Select(x => x / 32f).Array[2, 60];   // coarse: ties happen, and e^x keeps apart what x keeps apart

    private static readonly Gen<float[]> Wide = Gen.Int[-2000, 200].Select(x => x / 32f).Array[2, 200];  // a few tokens far above many

    [Fact]
    public void Top_k_and_top_p_keep_what_the_slow_form_keeps()
    {
        Gen.Select(Rows, Gen.Int[0, 8], Gen.OneOf(Gen.Const(1.0), Gen.Double[0.05, 0.99])).Sample((row, k, p) =>
        {
            var slow = row.ToArray();
            EvaChain.Filter(slow, k, p == 1 ? 0 : p);
            var expected = Enumerable.Range(0, row.Length).Where(i => slow[i] > -9999).ToArray();
            // On the edge of p the two sums may round apart: skip rows where the mass is within 1e-5 of p.
            if (p < 1 && OnTheEdge(row, k, p)) return;

            Assert.Equal(expected, Kept(row, new() { TopK = k, TopP = p }));
        });
    }

    [Fact]
    public void Min_p_keeps_what_is_probable_enough_beside_the_best()
    {
        Gen.Select(Rows, Gen.Double[0.01, 1]).Sample((row, minP) =>
        {
            var max = row.Max();
            var expected = Enumerable.Range(0, row.Length).Where(i => MathF.Exp(row[i] - max) >= minP).ToArray();
            if (row.Any(z => Math.Abs(MathF.Exp(z - max) - minP) < 1e-6)) return;

            Assert.Equal(expected, Kept(row, new() { MinP = minP }));
        });
    }

    [Fact]
    public void Top_a_keeps_what_reaches_a_share_of_the_best_probability_squared()
    {
        Gen.Select(Rows, Gen.Double[0.01, 1], Gen.OneOf(Gen.Const(0), Gen.Int[1, 8]), Gen.OneOf(Gen.Const(0.0), Gen.Double[0.001, 0.5])).Sample((row, a, k, minP) =>
        {
            var left = Kept(row, new() { TopK = k, MinP = minP });
            var total = left.Sum(id => Math.Exp(row[id]));
            double P(int id) => Math.Exp(row[id]) / total;
            var bound = a * Math.Pow(left.Max(P), 2);
            if (left.Any(id => Math.Abs(P(id) / bound - 1) < 1e-4)) return;

            Assert.Equal(left.Where(id => P(id) >= bound), Kept(row, new() { TopK = k, MinP = minP, TopA = a }));
        });
    }

    [Fact]
    public void Typical_keeps_the_tokens_nearest_to_the_entropy()
    {
        Gen.Select(Gen.OneOf(Rows, Wide), Gen.Double[0.05, 0.99], Gen.Int[1, 3]).Sample((row, p, minKeep) =>
        {
            var log = row.ToArray();
            Scores.LogSoftmax(log);
            var entropy = -log.Sum(x => Math.Exp(x) * x);
            var nearest = Enumerable.Range(0, row.Length).OrderBy(id => Math.Abs(-log[id] - entropy)).ThenBy(id => id).ToArray();
            // Rounding decides between tokens that are equally near, and on the edge of p.
            if (nearest.Zip(nearest.Skip(1)).Any(n => row[n.First] != row[n.Second] && Math.Abs(Math.Abs(-log[n.First] - entropy) - Math.Abs(-log[n.Second] - entropy)) < 1e-4)) return;
            var mass = 0.0;
            if (nearest.Any(id => Math.Abs((mass += Math.Exp(log[id])) - p) < 1e-5)) return;
            mass = 0;
            var expected = nearest.TakeWhile((id, rank) => (rank < minKeep || mass < p) && (mass += Math.Exp(log[id])) > 0).ToArray();

            Assert.Equal(expected.Order(), Kept(row, new TypicalOptions { TypicalP = p }, minKeep));
        });
    }

    [Fact]
    public void What_is_left_has_its_probability_among_what_is_left()
    {
        Gen.Select(Rows, Gen.Double[0.05, 1], Gen.Double[0.05, 1], Gen.Double[0, 1]).Sample((row, typicalP, p, a) =>
        {
            var options = new TypicalOptions { TypicalP = typicalP, TopP = p, TopA = a };
            var ids = Kept(row, options);
            var total = ids.Sum(id => Math.Exp(row[id]));
            using var left = new Truncation(row.ToArray(), options);

            var best = 0f;
            for (var rank = 0; rank < left.Count; rank++) best = Math.Max(best, left.Weight(rank));
            Assert.Equal(1f, best, 1e-6f);
            foreach (var id in ids) Assert.Equal(Math.Log(Math.Exp(row[id]) / total), left.KeptLogprob(id), tolerance: 2e-4);
        });
    }

    [Fact]
    public void Without_options_every_finite_token_is_left_with_its_softmax()
    {
        float[] row = [1, float.NegativeInfinity, 3, 2];
        var expected = row.ToArray();
        Scores.LogSoftmax(expected);
        using var left = new Truncation(row.ToArray(), new());

        Assert.Equal(3, left.Count);
        for (var rank = 0; rank < 3; rank++) Assert.Equal(Math.Exp(expected[left.Id(rank)]), left.Weight(rank) / left.Mass(), 6);
    }

    [Fact]
    public void Two_tokens_are_left_when_two_are_asked_for()
    {
        Rows.Sample(row => Assert.Equal(2, Kept(row, new() { TopP = 1e-9, MinP = 1, TopK = 1 }, minKeep: 2).Length), iter: 50);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void A_score_that_is_no_number_is_the_models_fault(float score)
    {
        Assert.Throws<ScoreException>(() => { using var left = new Truncation([1, score, 2], new()); });
    }

    private static int[] Kept(float[] row, DecodingOptions options, int minKeep = 1)
    {
        using var left = new Truncation(row.ToArray(), options, minKeep);
        var ids = new int[left.Count];
        for (var rank = 0; rank < ids.Length; rank++) ids[rank] = left.Id(rank);
        return [.. ids.Order()];
    }

    private static bool OnTheEdge(float[] row, int k, double p)
    {
        var kept = k == 0 ? row : row.OrderDescending().Take(k).ToArray();
        var total = kept.Sum(z => Math.Exp(z));
        var mass = 0.0;
        return kept.OrderDescending().Any(z => Math.Abs((mass += Math.Exp(z)) / total - p) < 1e-5);
    }
}
