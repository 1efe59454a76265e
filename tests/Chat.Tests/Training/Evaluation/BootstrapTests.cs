using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;

namespace Chat.Tests.Training.Evaluation;

public class BootstrapTests
{
    private static Measure Mean(double[] values) => new("mean", Statistics.Mean([.. values.Select(v => (double?)v)]));

    [Fact]
    public void The_same_seed_gives_the_same_interval_and_another_seed_another()
    {
        var measure = Mean([1, 2, 3, 4, 5, 6, 7]);

        Assert.Equal(Bootstrap.Percentile(measure, 7, 1), Bootstrap.Percentile(measure, 7, 1));
        Assert.NotEqual(Bootstrap.Percentile(measure, 7, 1), Bootstrap.Percentile(measure, 7, 2));
    }

    [Fact]
    public void Of_equal_values_nothing_is_uncertain() => Assert.Equal(new Interval(3, 3, 3, 5), Bootstrap.Percentile(Mean([3, 3, 3, 3, 3]), 5, 1));

    [Fact]
    public void The_width_is_the_normal_one()
    {
        var random = new RandomStream(5);
        double[] values = [.. Enumerable.Range(0, 400).Select(_ => random.Unit())];

        var interval = Bootstrap.Percentile(Mean(values), 400, 1, draws: 4000);

        var expected = 2 * 1.96 * Math.Sqrt(values.Select(v => Math.Pow(v - values.Average(), 2)).Average() / 400);
        Assert.InRange(interval.High - interval.Low, 0.95 * expected, 1.05 * expected);
        Assert.InRange(interval.Value, interval.Low, interval.High);
    }

    [Fact]
    public void Bounds_are_the_quantiles_between_neighbours()
    {
        var interval = Bootstrap.Between(50, [.. Enumerable.Range(0, 101).Select(i => (double)i)], 101);

        Assert.Equal((2.5, 97.5), (Math.Round(interval.Low, 9), Math.Round(interval.High, 9)));
    }

    [Fact]
    public void A_count_of_different_things_lies_in_its_interval_because_it_is_centred()
    {
        Response[] responses = [.. Enumerable.Range(0, 40).Select(i => new Response($"the word{i}", [], "en", []))];
        var measure = new Distinct().Prepare(responses)[0];

        var centred = Bootstrap.Percentile(measure, 40, 1);
        var plain = Bootstrap.Percentile(measure with { Centred = false }, 40, 1);

        Assert.InRange(centred.Value, centred.Low, centred.High);
        Assert.True(plain.High < plain.Value);
        Assert.Equal(1, Bootstrap.Percentile(new Distinct().Prepare([.. responses.Select((_, i) => new Response($"word{i}", [], "en", []))])[0], 40, 1).High);
    }

    [Fact]
    public void A_model_differs_from_itself_by_nothing()
    {
        var measure = Mean([.. Enumerable.Range(0, 30).Select(i => Math.Sin(i))]);

        Assert.Equal(new Interval(0, 0, 0, 30), Bootstrap.Difference(measure, measure, 30, 1));
    }
}
