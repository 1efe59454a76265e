using Chat.Training.Evaluation.Metrics;

namespace Chat.Training.Evaluation.Judges;

/// <summary>How one model's replies fare against another's.</summary>
/// <param name="Share">Wins among what was decided, with the exact binomial interval (Clopper and Pearson 1934) at 95 %.</param>
/// <param name="PValue">Of the two-sided sign test that neither is better.</param>
public sealed record Preference(int Wins, int Ties, int Losses, Interval Share, double PValue);

/// <summary>
/// Asks a judge about each pair in both orders, since judges prefer places: a pair is won where the judge says so both times, or once and is undecided the other time; where it
/// contradicts itself the pair is a tie.
/// </summary>
public static class PairwisePreference
{
    public static async Task<Preference> OfFirstAsync(IJudge judge, IReadOnlyList<JudgedPair> pairs, IReplyLikelihood teacher, CancellationToken cancel)
    {
        var leads = new int[pairs.Count];
        for (var i = 0; i < pairs.Count; i++)
        {
            var swapped = pairs[i] with { First = pairs[i].Second, Second = pairs[i].First };
            leads[i] = Lead(await judge.CompareAsync(pairs[i], teacher, cancel)) - Lead(await judge.CompareAsync(swapped, teacher, cancel));
        }
        return Of(leads.Count(l => l > 0), leads.Count(l => l == 0), leads.Count(l => l < 0));
    }

    public static Preference Of(int wins, int ties, int losses)
    {
        var decided = wins + losses;
        var p = decided == 0 ? 1 : Math.Min(1, 2 * AtLeast(Math.Max(wins, losses), decided, 0.5));
        return new Preference(wins, ties, losses, Exact(wins, decided), p);
    }

    /// <summary>Clopper and Pearson's interval for a share: all shares that make neither so few nor so many hits too unlikely.</summary>
    public static Interval Exact(int hits, int trials)
    {
        if (trials == 0) return new Interval(0.5, 0, 1, 0);
        const double tail = 0.025;
        var low = hits == 0 ? 0 : Where(share => AtLeast(hits, trials, share) > tail);
        var high = hits == trials ? 1 : Where(share => AtLeast(hits + 1, trials, share) > 1 - tail);
        return new Interval((double)hits / trials, low, high, trials);
    }

    private static int Lead(Verdict verdict) => verdict switch { Verdict.First => 1, Verdict.Second => -1, _ => 0 };

    /// <summary>The share at which something that becomes true as it rises does so.</summary>
    private static double Where(Func<double, bool> isAbove)
    {
        var (low, high) = (0.0, 1.0);
        for (var i = 0; i < 60; i++)
        {
            var middle = (low + high) / 2;
            if (isAbove(middle)) high = middle;
            else low = middle;
        }
        return high;
    }

    /// <summary>Probability of at least so many hits.</summary>
    private static double AtLeast(int hits, int trials, double share)
    {
        var (sum, choose) = (0.0, 0.0);                                 // logarithm of the binomial coefficient
        for (var k = 0; k <= trials; k++)
        {
            if (k > 0) choose += Math.Log(trials - k + 1) - Math.Log(k);
            if (k >= hits) sum += Math.Exp(choose + Power(share, k) + Power(1 - share, trials - k));
        }
        return Math.Min(1, sum);

        static double Power(double x, int times) => times == 0 ? 0 : times * Math.Log(x);
    }
}
