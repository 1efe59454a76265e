using System.Runtime.InteropServices;

namespace Chat.Models.Decoding;

/// <summary>Drawing several outcomes by probability.</summary>
internal static class Sampling
{
    /// <summary>
    /// Draws <paramref name="count"/> candidates without replacement with probability ∝ e^score: one after another, each from what is left.
    /// Fewer only if fewer have a probability that a float can hold.
    /// </summary>
    public static List<Candidate> WithoutReplacement(List<Candidate> candidates, int count, RandomStream.Draws draws)
    {
        var span = CollectionsMarshal.AsSpan(candidates);
        var max = float.NegativeInfinity;
        foreach (var c in span) max = Math.Max(max, c.Score);
        var weights = new double[span.Length];
        for (var i = 0; i < weights.Length; i++) weights[i] = MathF.Exp(span[i].Score - max);

        var drawn = new List<Candidate>(count);
        while (drawn.Count < count)
        {
            var mass = 0.0;                                                                // summed anew: subtracting would leave rounding dust
            foreach (var w in weights) mass += w;
            if (mass == 0) break;
            var at = Draw(weights, draws.Next() * mass);
            drawn.Add(span[at]);
            weights[at] = 0;
        }
        return drawn;
    }

    private static int Draw(double[] weights, double u)
    {
        var last = -1;
        for (var i = 0; i < weights.Length; i++)
        {
            if (weights[i] == 0) continue;
            last = i;
            if ((u -= weights[i]) < 0) break;
        }
        return last;
    }
}
