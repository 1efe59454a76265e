using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Recipes;
using ScottPlot;

namespace Chat.Training.Evaluation.Cuge;

/// <summary>Runs of several models on one hierarchy, against a baseline that stands still: as Markdown, JSON, and a radar plot of the capabilities.</summary>
/// <param name="Baseline">Whose scores are 100.</param>
/// <param name="BaselineScores">In percent.</param>
/// <param name="About">What must be known of each dataset, by name.</param>
public sealed record CugeReport(
    CugeHierarchy Hierarchy, IReadOnlyList<CugeRun> Runs, string Baseline, IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> BaselineScores, IReadOnlyDictionary<string, string> About, ulong Seed)
{
    private static readonly IndexMode[] Modes = Enum.GetValues<IndexMode>();

    /// <summary>Points between two circles of the plot.</summary>
    private const int Ring = 25;

    /// <summary>Writes <c>cuge.md</c>, <c>cuge.json</c> and, where a model has every capability, <c>cuge.png</c>: all, or none and an earlier report stays.</summary>
    /// <returns>Why there is no index (a baseline of 0 is none); <c>null</c> where nothing stood against it. Scores are written in any case.</returns>
    public string? Write(string folder)
    {
        Directory.CreateDirectory(folder);
        var refusal = Refusal();
        var results = Runs.ToDictionary(run => run.Model, run => refusal is not null ? [] : Modes.Select(mode => (Result: CugeIndex.Compute(Hierarchy, run.Scores(), BaselineScores, mode), Index: run.Index(Hierarchy, BaselineScores, mode, Seed))).ToArray());
        var intervals = Runs.ToDictionary(run => run.Model, run => run.Intervals(Seed));
        string At(string name) => Path.Combine(folder, name);
        List<(string, Action<string>)> files = [(At("cuge.md"), WholeFile.Text(Markdown(results, intervals, refusal))), (At("cuge.json"), WholeFile.Text(Json(results, intervals).ToJsonString(RecipeFile.Json) + "\n"))];
        var whole = results.Where(r => IsWhole(r.Value)).Select(r => (r.Key, r.Value[0].Result)).ToArray();
        if (whole.Length > 0) files.Add((At("cuge.png"), part => Radar(whole, part)));
        WholeFile.WriteAll([.. files]);
        if (whole.Length == 0) File.Delete(At("cuge.png"));      // an earlier report's
        return refusal;
    }

    private string? Refusal()
    {
        try
        {
            foreach (var run in Runs) CugeIndex.Compute(Hierarchy, run.Scores(), BaselineScores, IndexMode.NormalizedMean);
            return null;
        }
        catch (InvalidDataException error)
        {
            return error.Message;
        }
    }

    private static bool IsWhole((CugeResult Result, Interval? Index)[] results) => results.Length > 0 && results[0].Index is not null;

    private string Markdown(Dictionary<string, (CugeResult Result, Interval? Index)[]> results, Dictionary<string, IReadOnlyDictionary<string, IReadOnlyDictionary<string, Interval>>> intervals, string? refusal)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# {Hierarchy.Version}\n\nThe baseline is {Baseline} and scores 100. Intervals: percentile bootstrap over items, {Bootstrap.Draws} draws, 95 %, seed {Seed}; the baseline stands still. Indices of different modes must not be compared.\n\n");
        if (refusal is not null) text.Append(CultureInfo.InvariantCulture, $"There is no index: {refusal}\n");
        else Indices(text, results);
        text.Append(CultureInfo.InvariantCulture, $"\n| dataset, metric (percent) | items | baseline |{string.Concat(Runs.Select(r => $" {r.Model} |"))} what it is |\n|---|---|---|{string.Concat(Runs.Select(_ => "---|"))}---|\n");
        foreach (var dataset in Hierarchy.Datasets)
            foreach (var metric in dataset.Metrics)
            {
                var items = Runs.Select(r => r.Datasets.GetValueOrDefault(dataset.Name)?.Items).FirstOrDefault(i => i is not null);
                var baseline = BaselineScores.GetValueOrDefault(dataset.Name) is { } scores && scores.TryGetValue(metric, out var score) ? score : (double?)null;
                text.Append(CultureInfo.InvariantCulture, $"| {dataset.Name}, {metric} | {items?.ToString(CultureInfo.InvariantCulture) ?? "missing"} | {Shown(baseline)} |{string.Concat(Runs.Select(r => $" {Shown(Of(intervals[r.Model], dataset.Name, metric))} |"))} {About.GetValueOrDefault(dataset.Name)} |\n");
            }
        return text.ToString();
    }

    private void Indices(StringBuilder text, Dictionary<string, (CugeResult Result, Interval? Index)[]> results)
    {
        text.Append(CultureInfo.InvariantCulture, $"| model |{string.Concat(Modes.Select(m => $" {m} |"))} lead over {Runs[0].Model} ({IndexMode.NormalizedMean}, same items) |\n|---|{string.Concat(Modes.Select(_ => "---|"))}---|\n");
        foreach (var run in Runs)
            text.Append(CultureInfo.InvariantCulture, $"| {run.Model} |{string.Concat(results[run.Model].Select(r => $" {Shown(r.Index)} |"))} {Shown(run.Lead(Runs[0], Hierarchy, BaselineScores, IndexMode.NormalizedMean, Seed))} |\n");

        text.Append(CultureInfo.InvariantCulture, $"\n{(Runs.Any(r => IsWhole(results[r.Model])) ? "![Capabilities](cuge.png)\n\n" : "")}| capability ({IndexMode.NormalizedMean}) |{string.Concat(Runs.Select(r => $" {r.Model} |"))}\n|---|{string.Concat(Runs.Select(_ => "---|"))}\n");
        for (var c = 0; c < Hierarchy.Capabilities.Count; c++)
            text.Append(CultureInfo.InvariantCulture, $"| {Hierarchy.Capabilities[c].Name} |{string.Concat(Runs.Select(r => $" {Shown(results[r.Model][0].Result.Capabilities[c].Score)} |"))}\n");

    }

    private JsonObject Json(Dictionary<string, (CugeResult Result, Interval? Index)[]> results, Dictionary<string, IReadOnlyDictionary<string, IReadOnlyDictionary<string, Interval>>> intervals) => new()
    {
        ["hierarchy"] = Hierarchy.Version,
        ["baseline"] = Baseline,
        ["seed"] = Seed,
        ["baselineScores"] = Table(BaselineScores, scores => Table(scores, score => JsonValue.Create(Math.Round(score, 4)))),
        ["models"] = new JsonObject(Runs.Select(run => KeyValuePair.Create(run.Model, (JsonNode?)new JsonObject
        {
            ["index"] = new JsonObject(results[run.Model].Select(r => KeyValuePair.Create(r.Result.Mode.ToString(), ReportJson.Of(r.Index)))),
            ["capabilities"] = new JsonObject(results[run.Model].Select(r => KeyValuePair.Create(r.Result.Mode.ToString(),
                (JsonNode?)new JsonObject(r.Result.Capabilities.Select(c => KeyValuePair.Create(c.Name, c.Score is { } score ? (JsonNode?)JsonValue.Create(Math.Round(score, 4)) : null)))))),
            ["scores"] = Table(intervals[run.Model], figures => Table(figures, ReportJson.Of)),
        }))),
    };

    /// <summary>Models that have every capability: there is no figure of part of a benchmark.</summary>
    private void Radar((string Model, CugeResult Result)[] shown, string path)
    {
        using var plot = new Plot();
        var radar = plot.Add.Radar(shown.Select(r => r.Result.Capabilities.Select(c => c.Score!.Value).ToArray()).ToArray());
        var rings = (int)Math.Ceiling(shown.Max(r => r.Result.Capabilities.Max(c => c.Score!.Value)) / Ring);
        radar.PolarAxis.SetCircles(rings * Ring, rings);
        for (var i = 0; i < rings; i++) radar.PolarAxis.Circles[i].LabelText = $"{(i + 1) * Ring}";
        radar.PolarAxis.SetSpokes([.. Hierarchy.Capabilities.Select(c => c.Name.Replace(" and ", "\nand ", StringComparison.Ordinal))], rings * Ring);
        for (var i = 0; i < shown.Length; i++) radar.Series[i].LegendText = shown[i].Model;
        plot.Title($"{Hierarchy.Version}: capabilities, {Baseline} = 100");
        plot.ShowLegend(Alignment.LowerRight);
        plot.SavePng(path, 1000, 800);
    }

    private static Interval? Of(IReadOnlyDictionary<string, IReadOnlyDictionary<string, Interval>> intervals, string dataset, string metric) =>
        intervals.GetValueOrDefault(dataset) is { } figures ? figures.GetValueOrDefault(metric) : null;

    private static string Shown(double? score) => score?.ToString("F1", CultureInfo.InvariantCulture) ?? "–";

    private static string Shown(Interval? interval) => interval is null ? "–" : ReportJson.Shown(interval, 1);

    private static JsonObject Table<T>(IReadOnlyDictionary<string, T> values, Func<T, JsonNode?> node) => new(values.Select(v => KeyValuePair.Create(v.Key, node(v.Value))));
}
