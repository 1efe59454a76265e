namespace Chat.Training.Evaluation.Metrics;

/// <summary>One sampled text's value at each of its tokens, the end token included and nothing behind it.</summary>
/// <param name="Weight">How much it counts: 1 for a sample, its probability where all texts are enumerated.</param>
public sealed record Trajectory(double Weight, IReadOnlyList<double> Values);

/// <summary>
/// What distributions over next tokens are worth, from arrays: exact, in double precision, in nats. Rows are natural logarithms of probabilities (−∞ for 0).
/// p is the teacher (or the target that a draft writes for), q the student.
/// </summary>
public static class ModelMetrics
{
    /// <summary>exp of the mean over tokens of their negative log-likelihoods.</summary>
    public static double Perplexity(IReadOnlyCollection<double> tokenLosses) => Math.Exp(tokenLosses.Average());

    /// <summary>KL(from‖to) of one state: forward with the teacher first, reverse with the student first. Infinite where <paramref name="to"/> excludes what <paramref name="from"/> says.</summary>
    public static double Kl(ReadOnlySpan<double> from, ReadOnlySpan<double> to)
    {
        var sum = 0.0;
        for (var v = 0; v < from.Length; v++)
            if (!double.IsNegativeInfinity(from[v])) sum += Math.Exp(from[v]) * (from[v] - to[v]);
        return Math.Max(0, sum);                                       // rounding alone goes below 0
    }

    /// <summary>Σ min(p, q): how often a draft's token is accepted at a state (arXiv:2211.17192), which is 1 − the distance in total variation. To be averaged over states that the target wrote.</summary>
    public static double Acceptance(ReadOnlySpan<double> p, ReadOnlySpan<double> q)
    {
        var sum = 0.0;
        for (var v = 0; v < p.Length; v++) sum += Math.Exp(Math.Min(p[v], q[v]));
        return sum;
    }

    /// <summary>
    /// ExAccErr (Arora et al. 2022, as MiniLLM's figure 6 has it): by how many percent the error that a student piles up on its own texts exceeds the one on the teacher's,
    /// 100 · (R(l) − l·ε(l)) / (l·ε(l)), where R and l·ε add up the means of KL(p‖q) at each place. Corrected against the published code: the first token counts, and a mean
    /// is over the texts that are still going on, not over those that have ended as well.
    /// </summary>
    /// <param name="own">KL(p‖q) along texts of the student.</param>
    /// <param name="teachers">KL(p‖q) along texts of the teacher.</param>
    /// <returns>For l = 1, 2 … as far as both have texts that long; 0 where both errors are 0.</returns>
    public static double[] ExcessError(IReadOnlyList<Trajectory> own, IReadOnlyList<Trajectory> teachers)
    {
        var length = Math.Min(own.Max(t => t.Values.Count), teachers.Max(t => t.Values.Count));
        var (excess, mine, theirs) = (new double[length], 0.0, 0.0);
        for (var l = 0; l < length; l++)
        {
            mine += MeanAt(own, l);
            theirs += MeanAt(teachers, l);
            excess[l] = mine == theirs ? 0 : 100 * (mine - theirs) / theirs;
        }
        return excess;
    }

    private static double MeanAt(IReadOnlyList<Trajectory> texts, int place)
    {
        var (sum, weight) = (0.0, 0.0);
        foreach (var text in texts)
        {
            if (text.Values.Count <= place) continue;
            sum += text.Weight * text.Values[place];
            weight += text.Weight;
        }
        return sum / weight;
    }

    /// <summary>
    /// Expected calibration error (Guo et al. 2017): predictions go into equally wide bins (low, high] by their confidence; the mean over predictions of how far a bin's share of right ones is from its
    /// mean confidence.
    /// </summary>
    /// <param name="predictions">Confidence in [0, 1], and whether it was right.</param>
    public static double CalibrationError(IReadOnlyCollection<(double Confidence, bool Right)> predictions, int bins = 10) => predictions.Count == 0 ? 0
        : predictions.GroupBy(p => Math.Clamp((int)Math.Ceiling(p.Confidence * bins) - 1, 0, bins - 1))
            .Sum(bin => Math.Abs(bin.Sum(p => (p.Right ? 1 : 0) - p.Confidence))) / predictions.Count;
}
