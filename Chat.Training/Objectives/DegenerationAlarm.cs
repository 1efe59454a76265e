namespace Chat.Training.Objectives;

/// <summary>A figure that is watched: updates that said what is normal, that, its running mean, and whether it rings now.</summary>
public sealed record AlarmFigure(int Seen, double Normal, double Now, bool Rings);

/// <summary>
/// Watches what a student writes while it is taught on its own words. A divergence of whole replies can fall while replies collapse (MiniLLM's ablations, arXiv:2306.08543 table 4): a loss alone
/// is no success. The first updates say what is normal; the alarm rings once for each collapse.
/// </summary>
/// <param name="state">Where another stood.</param>
public sealed class DegenerationAlarm(IReadOnlyDictionary<string, AlarmFigure>? state = null)
{
    // An update's replies are of like length, so that of one says little: it takes some thirty.
    private const int Normal = 30;
    private const double Smoothing = 0.97, Ratio = 2;

    private readonly Dictionary<string, AlarmFigure> figures = new(state ?? new Dictionary<string, AlarmFigure>());

    public IReadOnlyDictionary<string, AlarmFigure> State => new Dictionary<string, AlarmFigure>(figures);

    /// <summary>Takes the figures of an update's replies.</summary>
    /// <returns>What is wrong, and what helps; <c>null</c> where nothing new is.</returns>
    public string? Hear(double length, double distinct)
    {
        var tokens = Watch("tokens a reply", length);
        var grams = Watch("different 4-grams", distinct);
        return (tokens, grams) is (null, null) ? null
            : $"Replies degenerate: {string.Join("; ", new[] { tokens, grams }.OfType<string>())}. A falling loss means nothing now. Go back to an earlier checkpoint with a lower learningRate, and keep lengthNormalise, singleStep and whiten on.";
    }

    /// <summary>Different 4-grams over all of them, of ids; 1 where no reply has four.</summary>
    public static double Distinct(IEnumerable<int[]> replies)
    {
        var (seen, all) = (new HashSet<(int, int, int, int)>(), 0);
        foreach (var ids in replies)
            for (var i = 0; i + 4 <= ids.Length; i++)
            {
                seen.Add((ids[i], ids[i + 1], ids[i + 2], ids[i + 3]));
                all++;
            }
        return all == 0 ? 1 : (double)seen.Count / all;
    }

    private string? Watch(string name, double value)
    {
        var (seen, normal, now, rang) = figures.GetValueOrDefault(name) ?? new(0, 0, 0, false);
        if (seen < Normal)
        {
            normal = (normal * seen + value) / (seen + 1);
            figures[name] = new(seen + 1, normal, normal, false);
            return null;
        }
        now = Smoothing * now + (1 - Smoothing) * value;
        var rings = now < normal / Ratio || now > normal * Ratio;
        figures[name] = new(seen, normal, now, rings);
        return rings && !rang ? FormattableString.Invariant($"{name} went from {normal:G3} to {now:G3}") : null;
    }
}
