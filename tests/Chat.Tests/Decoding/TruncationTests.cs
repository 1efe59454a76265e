using Chat.Models.Decoding;
using CsCheck;

namespace Chat.Tests.Decoding;

public sealed class TruncationTests
{
    private static readonly Gen<float[]> Rows = Gen.Int[-256, 256].Select(x => x / 32f).Array[2, 60];   // coarse: ties happen, and e^x keeps apart what x keeps apart

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
