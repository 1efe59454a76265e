namespace Chat.Training.Data.Quality;

/// <summary>The three parts of a session's score before they are normalised.</summary>
public readonly record struct ScoreParts(double Overlap, double Fluency, double Entertainment);

/// <summary>
/// The score of EVA2.0's data quality control in our definition (the paper's weights were never published):
/// S = α·z(overlap) + β·z(fluency) − γ·z(entertainment), z over the calibration sample; what lies below τ, a quantile of S, is dropped.
/// </summary>
public sealed class SessionScore
{
    private readonly QualityRecipe recipe;
    private readonly (double Mean, double Deviation)[] scale;

    /// <param name="calibration">Parts of the sample that z is taken over; their order does not matter.</param>
    public SessionScore(QualityRecipe recipe, IReadOnlyList<ScoreParts> calibration)
    {
        this.recipe = recipe;
        scale = [Scale(calibration, p => p.Overlap), Scale(calibration, p => p.Fluency), Scale(calibration, p => p.Entertainment)];
        var scores = calibration.Select(Of).Order().ToArray();
        Threshold = scores.Length == 0 || recipe.DropShare <= 0 ? double.NegativeInfinity : scores[Math.Min(scores.Length - 1, (int)(recipe.DropShare * scores.Length))];
    }

    /// <summary>τ.</summary>
    public double Threshold { get; }

    public double Of(ScoreParts parts) =>
        recipe.Relevance * Z(parts.Overlap, 0) + recipe.Fluency * Z(parts.Fluency, 1) - recipe.EntertainmentWeight * Z(parts.Entertainment, 2);

    /// <summary>The mean over a session's replies of their overlap with what was said before, and over its utterances of the rest.</summary>
    public static ScoreParts Measure(IReadOnlyList<string> turns, CharacterModel model, QualityRecipe recipe)
    {
        var words = turns.Select(t => UtteranceRules.Words(t).ToArray()).ToArray();
        var overlap = Enumerable.Range(1, turns.Count - 1).Average(i => Overlap(words, i, recipe.DistancePower));
        var hits = recipe.Entertainment is { } list ? turns.Sum(t => list.Count(w => t.Contains(w, StringComparison.OrdinalIgnoreCase))) : 0;
        return new ScoreParts(overlap, turns.Average(model.MeanLog2), (double)hits / Math.Max(1, words.Sum(w => w.Length)));
    }

    /// <summary>Σ d^κ over pairs of equal words, one in the reply, the other d turns before; by length of the reply.</summary>
    public static double Overlap(IReadOnlyList<string[]> words, int reply, double power)
    {
        var sum = 0.0;
        for (var turn = 0; turn < reply; turn++)
        {
            var before = words[turn].CountBy(w => w).ToDictionary(StringComparer.Ordinal);
            sum += Math.Pow(reply - turn, power) * words[reply].Sum(w => before.GetValueOrDefault(w));
        }
        return sum / Math.Max(1, words[reply].Length);
    }

    private double Z(double value, int part) => scale[part].Deviation == 0 ? 0 : (value - scale[part].Mean) / scale[part].Deviation;

    /// <summary>Sorted before they are summed, so that the result is the same for every order of the sample.</summary>
    private static (double, double) Scale(IReadOnlyList<ScoreParts> parts, Func<ScoreParts, double> part)
    {
        if (parts.Count == 0) return (0, 0);
        var values = parts.Select(part).Order().ToArray();
        var mean = values.Average();
        return (mean, Math.Sqrt(values.Average(v => (v - mean) * (v - mean))));
    }
}
