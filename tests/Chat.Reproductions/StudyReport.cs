using System.Globalization;
using System.Text;
using ScottPlot;

namespace Chat.Reproductions;

/// <summary>Means over seeds with 95 % intervals (Student's t), which of the paper's orders hold, and a picture, as report.md and report.png.</summary>
internal static class StudyReport
{
    // Two-sided 97.5 % quantiles of Student's t with 1 to 9 degrees of freedom; 2 beyond.
    private static readonly double[] T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];

    private static readonly (string Name, Func<Outcome, double> Value, string Format)[] Columns =
    [
        ("reverse KL, reply", o => o.ReverseKl, "F2"), ("reverse KL, token", o => o.ReverseKl / o.Length, "F3"), ("forward KL, reply", o => o.ForwardKl, "F2"), ("teacher NLL", o => o.TeacherLoss, "F3"), ("Rouge-L", o => o.RougeL, "F3"),
        ("Dist-4", o => o.Distinct4, "F3"), ("length", o => o.Length, "F1"), ("acceptance", o => o.Acceptance, "F3"), ("ExAccErr 16, %", o => o.ExcessError, "F1"), ("s", o => o.Seconds, "F0"),
    ];

    /// <param name="order">Arms, as the table has them.</param>
    /// <param name="claims">What the papers say: of the two arms the first has the lower figure.</param>
    public static void Write(string folder, IEnumerable<string> order, IReadOnlyList<(string Figure, string Lower, string Higher)> claims, IReadOnlyList<Outcome> outcomes)
    {
        var arms = order.Where(name => outcomes.Any(o => o.Arm == name)).ToArray();
        var text = new StringBuilder();
        var seeds = outcomes.Select(o => o.Seed).Distinct().Count();
        text.AppendLine(CultureInfo.InvariantCulture, $"Means over {seeds} seeds with 95 % intervals (Student's t).").AppendLine();
        text.Append("| arm |").AppendJoin("", Columns.Select(c => $" {c.Name} |")).AppendLine();
        text.Append('|').Append(string.Concat(Enumerable.Repeat("---|", Columns.Length + 1))).AppendLine();
        foreach (var arm in arms)
            text.Append("| ").Append(arm).Append(" |").AppendJoin("", Columns.Select(c => $" {Show(Of(outcomes, arm, c.Value), c.Format)} |")).AppendLine();
        text.AppendLine().AppendLine("| figure | lower, says the paper | than | difference | seeds | |").AppendLine("|---|---|---|---|---|---|");
        foreach (var (figure, lower, higher) in claims.Where(c => arms.Contains(c.Lower) && arms.Contains(c.Higher)))
        {
            var value = Columns.Single(c => c.Name == figure);
            var pairs = outcomes.Where(o => o.Arm == lower).Join(outcomes.Where(o => o.Arm == higher), o => o.Seed, o => o.Seed, (a, b) => value.Value(b) - value.Value(a)).ToArray();
            var (mean, half) = Interval(pairs);
            var verdict = mean - half > 0 ? "holds" : mean + half < 0 ? "**the other way**" : "undecided";
            text.AppendLine(CultureInfo.InvariantCulture, $"| {figure} | {lower} | {higher} | {Show((mean, half), value.Format)} | {pairs.Count(d => d > 0)} of {pairs.Length} | {verdict} |");
        }
        File.WriteAllText(Path.Combine(folder, "report.md"), text.ToString());
        Draw(Path.Combine(folder, "report.png"), arms, outcomes);
    }

    private static double[] Of(IReadOnlyList<Outcome> outcomes, string arm, Func<Outcome, double> value) => [.. outcomes.Where(o => o.Arm == arm).Select(value)];

    private static string Show(double[] values, string format) => Show(Interval(values), format);

    private static string Show((double Mean, double Half) interval, string format) => $"{interval.Mean.ToString(format, CultureInfo.InvariantCulture)} ± {interval.Half.ToString(format, CultureInfo.InvariantCulture)}";

    private static (double Mean, double Half) Interval(double[] values)
    {
        var mean = values.Average();
        if (values.Length < 2) return (mean, 0);
        var deviation = Math.Sqrt(values.Sum(v => (v - mean) * (v - mean)) / (values.Length - 1));
        return (mean, (values.Length - 2 < T.Length ? T[values.Length - 2] : 2) * deviation / Math.Sqrt(values.Length));
    }

    /// <summary>Teacher's loss against acceptance, a point a seed, without the ablations and the teacher itself: writing well and guessing well are different aims.</summary>
    private static void Draw(string path, string[] arms, IReadOnlyList<Outcome> outcomes)
    {
        using var plot = new Plot();
        plot.Title("What each objective is good for (a point a seed)");
        plot.XLabel("teacher NLL of the student's replies, nats per token (lower: the teacher likes them)");
        plot.YLabel("acceptance as a draft");
        foreach (var arm in arms.Where(arm => !arm.Contains('−', StringComparison.Ordinal) && arm != PairStudy.Teacher))          // which accepts itself
            plot.Add.ScatterPoints(Of(outcomes, arm, o => o.TeacherLoss), Of(outcomes, arm, o => o.Acceptance)).LegendText = arm;
        plot.ShowLegend(Edge.Right);
        plot.SavePng(path, 1100, 700);
    }
}
