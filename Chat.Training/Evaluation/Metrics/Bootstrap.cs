using Chat.Training.Methods;

namespace Chat.Training.Evaluation.Metrics;

/// <summary>A figure, the bounds between which it lies in 95 of 100 draws, and over how many units.</summary>
public sealed record Interval(double Value, double Low, double High, int Units)
{
    public Interval Times(double factor) => new(Value * factor, Low * factor, High * factor, Units);
}

/// <summary>
/// Percentile bootstrap (Efron 1979): units (responses, questions, never tokens) are drawn anew with repetition, and the interval holds the middle 95 % of
/// what the figure then is. A seed gives the same interval on every machine, and figures of two models under one seed see the same draws.
/// </summary>
public static class Bootstrap
{
    public const int Draws = 1000;
    private const double Tail = 0.025;

    public static Interval Percentile(Measure measure, int units, ulong seed, int draws = Draws)
    {
        var value = measure.Value(All(units));
        if (units == 0) return new Interval(value, value, value, 0);
        var values = Drawn(units, seed, draws, measure.Value);
        if (!measure.Centred) return Between(value, values, units);
        var mean = values.Average();
        return Between(value, [.. values.Select(v => Math.Clamp(v - mean + value, 0, 1))], units);
    }

    /// <summary>The interval of second − first over the same units, drawn together: what is common to both drops out.</summary>
    public static Interval Difference(Measure first, Measure second, int units, ulong seed, int draws = Draws) =>
        Percentile(new Measure(second.Name, drawn => second.Value(drawn) - first.Value(drawn)), units, seed, draws);

    /// <summary>A figure over responses of which so many stand one after the other for each unit: first all units' first ones, then all second ones.</summary>
    public static Measure Repeated(Measure measure, int units, int times) => times == 1 ? measure : measure with
    {
        Value = drawn =>
        {
            var all = new int[drawn.Length * times];
            for (var i = 0; i < all.Length; i++) all[i] = drawn[i % drawn.Length] + i / drawn.Length * units;
            return measure.Value(all);
        },
    };

    /// <summary>Interval of a figure from its draws, whatever they were made of.</summary>
    public static Interval Between(double value, double[] draws, int units)
    {
        var sorted = draws.Order().ToArray();
        return new Interval(value, Quantile(sorted, Tail), Quantile(sorted, 1 - Tail), units);
    }

    /// <summary>One drawing of units with repetition.</summary>
    public static int[] Draw(int units, ulong seed, int number, string purpose = "bootstrap")
    {
        var random = RandomStream.Of(seed, purpose, number);
        var drawn = new int[units];
        for (var i = 0; i < units; i++) drawn[i] = random.Below(units);
        return drawn;
    }

    public static int[] All(int units) => [.. Enumerable.Range(0, units)];

    private static double[] Drawn(int units, ulong seed, int draws, Statistic statistic)
    {
        var values = new double[draws];
        for (var draw = 0; draw < draws; draw++) values[draw] = statistic(Draw(units, seed, draw));
        return values;
    }

    /// <summary>Between the two nearest of the sorted values, in proportion.</summary>
    private static double Quantile(double[] sorted, double share)
    {
        var place = share * (sorted.Length - 1);
        var below = (int)Math.Floor(place);
        return below + 1 == sorted.Length ? sorted[below] : sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]);
    }
}
