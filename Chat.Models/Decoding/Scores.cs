namespace Chat.Models.Decoding;

/// <summary>Small arithmetic on one row of scores.</summary>
public static class Scores
{
    /// <summary>z ← z − log Σ e^z, in place. Works with −∞ entries.</summary>
    public static void LogSoftmax(Span<float> scores)
    {
        var max = float.NegativeInfinity;
        foreach (var s in scores) max = Math.Max(max, s);                                  // Math.Max passes NaN on
        if (!float.IsFinite(max)) throw new ScoreException($"The model's best score is {max}.");
        var sum = 0.0;
        foreach (var s in scores) sum += Math.Exp(s - max);
        var logTotal = (float)(max + Math.Log(sum));
        for (var i = 0; i < scores.Length; i++) scores[i] -= logTotal;
    }

    /// <summary>Index of the largest score; ties go to the lower index.</summary>
    public static int ArgMax(ReadOnlySpan<float> scores)
    {
        var best = 0;
        for (var i = 1; i < scores.Length; i++)
            if (scores[i] > scores[best]) best = i;
        return best;
    }

    /// <summary>Indices of the largest scores above −∞, best first, ties by index; as many as fit and exist.</summary>
    public static int Best(ReadOnlySpan<float> scores, Span<int> best)
    {
        var count = 0;
        for (var i = 0; i < scores.Length; i++)
        {
            if (float.IsNegativeInfinity(scores[i]) || (count == best.Length && scores[i] <= scores[best[^1]])) continue;
            var at = count < best.Length ? count++ : count - 1;
            while (at > 0 && scores[best[at - 1]] < scores[i]) { best[at] = best[at - 1]; at--; }
            best[at] = i;
        }
        return count;
    }
}
