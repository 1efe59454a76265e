using System.Globalization;
using Chat.Training.Objectives;
using Chat.Training.Recipes;

namespace Chat.Training.Methods;

/// <summary>What replies are worth: Rouge-L against the held-out ones, different 4-grams over all of them, mean length in words (of Chinese in characters).</summary>
public sealed record ReplyFigures(double RougeL, double Distinct4, double Length);

/// <summary>
/// How a stage's replies went from validation to validation, and whether it is to end: where Rouge-L no longer rises, or where replies collapse. Neither a held-out loss nor a divergence says the
/// latter: reverse KL of whole replies falls while they shrink to a few words (MiniLLM's ablations, arXiv:2306.08543 table 4).
/// </summary>
/// <param name="Best">At the best Rouge-L.</param>
/// <param name="BestStep">Update of all stages at which that was.</param>
/// <param name="Last">At the last validation.</param>
/// <param name="Since">Validations since the best.</param>
/// <param name="Collapse">What collapsed at the last validation, or <c>null</c>.</param>
public sealed record ReplyQuality(ReplyFigures Best, long BestStep, ReplyFigures Last, int Since, string? Collapse)
{
    private const double Ratio = 2;

    /// <summary>
    /// Takes a validation's figures. Replies have collapsed where the alarm rings about those that the student is taught on, and held-out ones tell the same: no better Rouge-L, and half the 4-grams
    /// or the length of the best, or twice its length. A student that unlearns rambling rings the alarm too, but its Rouge-L rises.
    /// </summary>
    /// <param name="before">Until now; <c>null</c> at the first validation.</param>
    /// <param name="alarm">What is watched of the replies that are learnt from; <c>null</c> where there are none.</param>
    public static ReplyQuality After(ReplyQuality? before, ReplyFigures now, long step, double minDelta, IReadOnlyDictionary<string, AlarmFigure>? alarm)
    {
        if (before is null || now.RougeL > before.Best.RougeL + minDelta) return new(now, step, now, 0, null);
        var best = before.Best;
        string?[] found =
        [
            now.Length < best.Length / Ratio || now.Length > best.Length * Ratio ? Change("words a reply", best.Length, now.Length) : null,
            now.Distinct4 < best.Distinct4 / Ratio ? Change("Dist-4", best.Distinct4, now.Distinct4) : null,
        ];
        var collapsed = DegenerationAlarm.Rings(alarm) && found.Any(f => f is not null);
        return before with { Last = now, Since = before.Since + 1, Collapse = !collapsed ? null : string.Join("; ", found.Append(DegenerationAlarm.DivergenceOf(alarm)).OfType<string>()) };
    }

    /// <summary>Why a stage should end here, and what to use instead; <c>null</c>: it goes on.</summary>
    public string? Ending(QualityStopRecipe recipe)
    {
        var reason = Collapse is not null ? $"Held-out replies collapsed: {Collapse}"
            : recipe.Patience > 0 && Since >= recipe.Patience ? string.Create(CultureInfo.InvariantCulture, $"Rouge-L of held-out replies has not risen by more than {recipe.MinDelta} for {Since} validations")
            : null;
        return reason is null ? null : string.Create(CultureInfo.InvariantCulture, $"{reason}. Best was Rouge-L {Best.RougeL:F4} at step {BestStep}, kept in {RunFolder.BestName(BestStep)}; the stage ends with those weights.");
    }

    private static string Change(string name, double from, double to) => string.Create(CultureInfo.InvariantCulture, $"{name} went from {from:G3} to {to:G3}");
}
