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

    private const string Tokens = "tokens a reply", Grams = "different 4-grams", Divergence = "divergence from the teacher";

    private readonly Dictionary<string, AlarmFigure> figures = new(state ?? new Dictionary<string, AlarmFigure>());

    public IReadOnlyDictionary<string, AlarmFigure> State => new Dictionary<string, AlarmFigure>(figures);

    /// <summary>Whether replies have collapsed, by the state of an alarm.</summary>
    public static bool Rings(IReadOnlyDictionary<string, AlarmFigure>? state) => state?.Values.Any(f => f.Rings) ?? false;

    /// <summary>How the divergence from the teacher went meanwhile; <c>null</c> where it was not heard long enough.</summary>
    public static string? DivergenceOf(IReadOnlyDictionary<string, AlarmFigure>? state) => state?.GetValueOrDefault(Divergence) is { Seen: >= Normal } figure ? Change(Divergence, figure.Normal, figure.Now) : null;

    /// <summary>Takes the figures of an update's replies.</summary>
    /// <param name="divergence">Of the student from its teacher on them, nats a token. It does not ring: its fall is what makes a collapse look like success.</param>
    /// <returns>What is wrong, and what helps; <c>null</c> where nothing new is.</returns>
    public string? Hear(double length, double distinct, double? divergence = null)
    {
        var tokens = Watch(Tokens, length, rings: true);
        var grams = Watch(Grams, distinct, rings: true);
        if (divergence is { } value) Watch(Divergence, value, rings: false);
        return (tokens, grams) is (null, null) ? null
            : $"Replies degenerate: {string.Join("; ", new[] { tokens, grams, DivergenceOf(figures) }.OfType<string>())}. A falling loss means nothing now. Go back to an earlier checkpoint with a lower learningRate, and keep lengthNormalise, singleStep and whiten on.";
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

    private string? Watch(string name, double value, bool rings)
    {
        var (seen, normal, now, rang) = figures.GetValueOrDefault(name) ?? new(0, 0, 0, false);
        if (seen < Normal)
        {
            normal = (normal * seen + value) / (seen + 1);
            figures[name] = new(seen + 1, normal, normal, false);
            return null;
        }
        now = Smoothing * now + (1 - Smoothing) * value;
        rings = rings && (now < normal / Ratio || now > normal * Ratio);
        figures[name] = new(seen, normal, now, rings);
        return rings && !rang ? Change(name, normal, now) : null;
    }

    private static string Change(string name, double from, double to) => FormattableString.Invariant($"{name} went from {from:G3} to {to:G3}");
}
