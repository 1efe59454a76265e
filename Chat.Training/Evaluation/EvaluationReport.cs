using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Training.Evaluation.Judges;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using ScottPlot;

namespace Chat.Training.Evaluation;

/// <summary>What one model scored.</summary>
/// <param name="Losses">On held-out dialogue, by corpus.</param>
/// <param name="Text">Figures of its replies, by set (a corpus, «all», an instruction set or its bucket) and name.</param>
/// <param name="Against">Beside its teacher, where one was given.</param>
/// <param name="Preferred">Against the first model, where a judge was given.</param>
/// <param name="Ahead">Its figures less the first model's over the same questions, drawn together.</param>
public sealed record ModelResult(
    string Model, long Parameters, HeldOutLosses Losses, IReadOnlyDictionary<string, IReadOnlyDictionary<string, Interval>> Text, AgainstTeacher? Against = null, Preference? Preferred = null,
    IReadOnlyDictionary<string, IReadOnlyDictionary<string, Interval>>? Ahead = null)
{
    /// <summary>Its figures of text, by set, and those beside its teacher where there was one, each with its interval.</summary>
    public JsonObject Figures()
    {
        var all = new JsonObject { ["text"] = Json(Text) };
        if (Against is not null) all["againstTeacher"] = Json(Against.Figures);
        return all;
    }

    internal static JsonObject Json(IReadOnlyDictionary<string, IReadOnlyDictionary<string, Interval>> sets) => new(sets.Select(set => KeyValuePair.Create(set.Key, (JsonNode?)Json(set.Value))));

    private static JsonObject Json(IReadOnlyDictionary<string, Interval> figures) => new(figures.Select(f => KeyValuePair.Create(f.Key, ReportJson.Of(f.Value))));
}

/// <summary>Several models beside each other: Markdown, JSON, and plots.</summary>
/// <param name="About">What was run: a sentence or more.</param>
public sealed record EvaluationReport(IReadOnlyList<ModelResult> Models, string About)
{
    public const string All = "all";

    private static readonly string[] Plotted = ["rouge-l", "bleu-4", "character-f1", "distinct-4", "self-repetition"];

    /// <summary>Writes <c>evaluation.md</c>, <c>evaluation.json</c>, <c>text.png</c>, and <c>exposure.png</c> where there was a teacher: all, or none and an earlier report stays.</summary>
    public void Write(string folder)
    {
        Directory.CreateDirectory(folder);
        string At(string name) => Path.Combine(folder, name);
        List<(string, Action<string>)> files = [(At("evaluation.md"), WholeFile.Text(Markdown())), (At("evaluation.json"), WholeFile.Text(Json().ToJsonString(RecipeFile.Json) + "\n")), (At("text.png"), PlotText)];
        var hasExposure = Models.Any(m => m.Against is not null);
        if (hasExposure) files.Add((At("exposure.png"), PlotExposure));
        WholeFile.WriteAll([.. files]);
        if (!hasExposure) File.Delete(At("exposure.png"));      // an earlier report's
    }

    private string Markdown()
    {
        var text = new StringBuilder($"# Evaluation\n\n{About}\n\n");
        text.Append(CultureInfo.InvariantCulture, $"Intervals: percentile bootstrap over replies, {Bootstrap.Draws} draws, 95 %. Text figures are percent, but lengths. Differences are drawn over the same replies: one that holds 0 says that nothing is known.\n\n## Held-out dialogue\n\n");
        var corpora = Models.SelectMany(m => m.Losses.Loss.Keys).Distinct().ToArray();
        Table(text, ["model", "parameters", .. corpora.SelectMany(c => new[] { $"{c}: loss", "perplexity", "context gain" })], Models.Select(m => (string[])
            [m.Model, m.Parameters.ToString("N0", CultureInfo.InvariantCulture), .. corpora.SelectMany(c => m.Losses.Loss.TryGetValue(c, out var loss) ? [Number(loss, 3), Number(Math.Exp(loss), 1), Number(m.Losses.ContextGain[c], 3)] : new[] { "–", "–", "–" })]));
        foreach (var set in Models.SelectMany(m => m.Text.Keys).Distinct())
        {
            var figures = Models.SelectMany(m => m.Text.GetValueOrDefault(set)?.Keys ?? []).Distinct().ToArray();
            text.Append(CultureInfo.InvariantCulture, $"\n## Replies: {set} ({Models.Max(m => m.Text.GetValueOrDefault(set)?.Values.FirstOrDefault()?.Units ?? 0)})\n\n");
            Table(text, ["figure", .. Models.Select(m => m.Model), .. Models.Where(m => m.Ahead is not null).Select(m => $"{m.Model} − {Models[0].Model}")], figures.Select(f => (string[])
                [f, .. Models.Select(m => Shown(f, m.Text.GetValueOrDefault(set)?.GetValueOrDefault(f))), .. Models.Where(m => m.Ahead is not null).Select(m => Shown(f, m.Ahead!.GetValueOrDefault(set)?.GetValueOrDefault(f)))]));
        }
        text.Append("\n![Text figures](text.png)\n");
        if (Models.Any(m => m.Against is not null))
        {
            text.Append("\n## Beside the teacher\n\nTexts are sampled from the whole distribution. Nats a token, but shares and percent.\n\n");
            Table(text, ["figure", .. Models.Select(m => m.Model)], Models.SelectMany(m => m.Against?.Figures.Keys ?? []).Distinct().Select(f => (string[])
                [f, .. Models.Select(m => m.Against?.Figures.GetValueOrDefault(f) is { } value ? ReportJson.Shown(value, f.Contains('%', StringComparison.Ordinal) ? 1 : 3) : "–")]));
            text.Append("\n![Exposure bias](exposure.png)\n");
        }
        if (Models.Any(m => m.Preferred is not null))
        {
            text.Append(CultureInfo.InvariantCulture, $"\n## Preferred to {Models[0].Model}\n\nEach pair judged in both orders; share of wins among the decided with the exact binomial interval, p of the sign test.\n\n");
            Table(text, ["model", "wins", "ties", "losses", "share", "p"], Models.Where(m => m.Preferred is not null).Select(m => (string[])
                [m.Model, $"{m.Preferred!.Wins}", $"{m.Preferred.Ties}", $"{m.Preferred.Losses}", ReportJson.Shown(m.Preferred.Share, 3), Number(m.Preferred.PValue, 4)]));
        }
        return text.ToString();
    }

    private JsonObject Json() => new()
    {
        ["about"] = About,
        ["models"] = new JsonArray([.. Models.Select(Json)]),
    };

    private static JsonNode Json(ModelResult m)
    {
        var json = m.Figures();
        json["model"] = m.Model;
        json["parameters"] = m.Parameters;
        json["heldOutLoss"] = new JsonObject(m.Losses.Loss.Select(l => KeyValuePair.Create(l.Key, (JsonNode?)JsonValue.Create(Math.Round(l.Value, 5)))));
        if (m.Ahead is { } ahead) json["ahead"] = ModelResult.Json(ahead);
        if (m.Against is { } curve) json["exAccErr"] = new JsonArray([.. curve.ExcessError.Select(e => (JsonNode)JsonValue.Create(Math.Round(e, 3)))]);
        if (m.Preferred is { } p) json["preferred"] = new JsonObject { ["wins"] = p.Wins, ["ties"] = p.Ties, ["losses"] = p.Losses, ["share"] = ReportJson.Of(p.Share), ["p"] = Math.Round(p.PValue, 6) };
        return json;
    }

    private void PlotText(string path)
    {
        using var plot = new Plot();
        for (var m = 0; m < Models.Count; m++)
        {
            var shown = Plotted.Select((figure, x) => (X: x + 0.12 * (m - (Models.Count - 1) / 2.0), Value: Models[m].Text.GetValueOrDefault(All)?.GetValueOrDefault(figure)?.Times(100))).Where(f => f.Value is not null).ToArray();
            if (shown.Length == 0) continue;
            double[] xs = [.. shown.Select(s => s.X)], ys = [.. shown.Select(s => s.Value!.Value)];
            var points = plot.Add.ScatterPoints(xs, ys);
            points.LegendText = Models[m].Model;
            points.Color = plot.Add.Palette.GetColor(m);      // the bars count as plots too
            double[] middles = [.. shown.Select(s => (s.Value!.Low + s.Value.High) / 2)];
            plot.Add.ErrorBar(xs, middles, [.. shown.Select(s => (s.Value!.High - s.Value.Low) / 2)]).Color = points.Color;
        }
        plot.Axes.SetLimitsY(-2, 105);
        plot.Axes.Bottom.SetTicks([.. Plotted.Select((_, i) => (double)i)], Plotted);
        plot.Title("Replies to held-out dialogue");
        plot.YLabel("percent, with the 95 % interval");
        plot.ShowLegend(Alignment.UpperRight);
        plot.SavePng(path, 1000, 600);
    }

    private void PlotExposure(string path)
    {
        using var plot = new Plot();
        foreach (var model in Models.Where(m => m.Against is not null))
            plot.Add.Scatter(Enumerable.Range(1, model.Against!.ExcessError.Count).Select(l => (double)l).ToArray(), model.Against.ExcessError.ToArray()).LegendText = model.Model;
        plot.Title("Exposure bias: excess of the error piled up on own texts");
        plot.XLabel("tokens");
        plot.YLabel("ExAccErr, percent");
        plot.ShowLegend(Alignment.LowerRight);
        plot.SavePng(path, 1000, 600);
    }

    private static string Shown(string figure, Interval? value) => value is null ? "–" : ReportJson.Shown(figure == "length" ? value : value.Times(100), 1);

    private static string Number(double value, int digits) => value.ToString("F" + digits, CultureInfo.InvariantCulture);

    private static void Table(StringBuilder text, string[] head, IEnumerable<string[]> rows)
    {
        text.Append(CultureInfo.InvariantCulture, $"| {string.Join(" | ", head)} |\n|{string.Concat(head.Select(_ => "---|"))}\n");
        foreach (var row in rows) text.Append(CultureInfo.InvariantCulture, $"| {string.Join(" | ", row)} |\n");
    }
}
