using System.Globalization;
using System.Text;
using System.Text.Json.Serialization;
using Chat.Training.Methods;

namespace Chat.Training.Data.Quality;

/// <summary>What one rule did. Emptied utterances are dropped; rewritten ones may still be dropped by another rule.</summary>
public sealed record RuleCount(string Rule)
{
    private const int MostExamples = 8;

    public int Rewritten { get; set; }
    public int Dropped { get; set; }
    public long CharactersRemoved { get; set; }

    /// <summary>A random sample of what it found and left.</summary>
    public List<RuleExample> Examples { get; } = [];

    [JsonIgnore]
    private int seen;

    /// <summary>Reservoir sampling: every find has the same chance to be shown.</summary>
    internal void Show(string before, string? after, ref RandomStream random)
    {
        seen++;
        if (Examples.Count < MostExamples) Examples.Add(new(before, after));
        else if (random.Below(seen) is var place && place < MostExamples) Examples[place] = new(before, after);
    }
}

public sealed record RuleExample(string Before, string? After);

/// <summary>The account of one cleaning. Utterances: <c>In</c> = <c>Kept</c> + Σ <c>Dropped</c> over all rules, always.</summary>
public sealed record QualityReport(
    string Corpus, int SessionsIn, int SessionsKept, int In, int Kept, long CharactersIn, long CharactersKept, double? Threshold, IReadOnlyList<double> ScoreDeciles, IReadOnlyList<RuleCount> Rules)
{
    public string ToMarkdown()
    {
        var culture = CultureInfo.InvariantCulture;
        var text = new StringBuilder();
        text.Append(culture, $"# Quality control of {Corpus}\n\n{SessionsIn:N0} sessions in, {SessionsKept:N0} kept (cuts make several of one). {In:N0} utterances in = {Kept:N0} kept + {Rules.Sum(r => r.Dropped):N0} dropped. ");
        text.Append(culture, $"{CharactersIn:N0} characters in, {(CharactersIn == 0 ? 0 : (double)CharactersKept / CharactersIn):P1} kept.\n\n| rule | rewritten | dropped | characters removed |\n|---|---|---|---|\n");
        foreach (var rule in Rules) text.Append(culture, $"| {rule.Rule} | {rule.Rewritten:N0} | {rule.Dropped:N0} | {rule.CharactersRemoved:N0} |\n");
        if (ScoreDeciles.Count > 0)
            text.Append(culture, $"\nScore: deciles {string.Join(", ", ScoreDeciles.Select(d => d.ToString("F2", culture)))}; dropped below {Threshold:F2}.\n");
        foreach (var rule in Rules.Where(r => r.Examples.Count > 0))
        {
            text.Append(culture, $"\n## {rule.Rule}\n\n| before | after |\n|---|---|\n");
            foreach (var example in rule.Examples) text.Append(culture, $"| {Cell(example.Before)} | {(example.After is null ? "*dropped*" : Cell(example.After))} |\n");
        }
        return text.ToString();
    }

    private static string Cell(string text)
    {
        var line = text.ReplaceLineEndings(" ").Replace("|", "\\|", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal);
        return line.Length <= 160 ? line : line[..160] + " …";
    }
}
