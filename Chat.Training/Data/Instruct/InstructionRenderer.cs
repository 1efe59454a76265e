using System.Text.RegularExpressions;
using Chat.Training.Methods;

namespace Chat.Training.Data.Instruct;

/// <summary>One wording of a task.</summary>
/// <param name="Cluster">Whose samples it words.</param>
/// <param name="Name">Unique within cluster and language; it stands in the sample's scene.</param>
/// <param name="Input">With <c>{field}</c>s and <c>{options}</c>, which lists the options one a line.</param>
/// <param name="Labels">Another word for an option or answer, where the wording wants one.</param>
public sealed record InstructionTemplate(string Cluster, string Language, string Name, string Input, IReadOnlyDictionary<string, string>? Labels = null);

/// <summary>What became of one template's samples: <c>Rendered</c> and the dropped add up to all that were tried.</summary>
public sealed record TemplateCount(string Cluster, string Rule, string Language, string Template, int Tried, int Rendered, int TooLong, int Empty, int NoOption);

/// <summary>
/// Puts samples into every wording of their task: two turns, the instruction and its answer. Dropped are inputs of more than 5,000 characters or <paramref name="mostInput"/> tokens, answers of none or more than
/// <paramref name="mostAnswer"/>, and answers that are none of the options (UDIT's limits: 512 and 256). Not thread-safe: it counts.
/// </summary>
/// <param name="count">Tokens of a text.</param>
public sealed partial class InstructionRenderer(IReadOnlyList<InstructionTemplate> templates, Func<string, int> count, int mostInput = 512, int mostAnswer = 256)
{
    private const int MostCharacters = 5000;
    private readonly Dictionary<(string, string, string, string), TemplateCount> counts = [];

    public IReadOnlyCollection<TemplateCount> Counts => counts.Values;

    /// <summary>Documents with the scene <c>cluster/rule/template/origin</c>: a recipe holds tasks out by its beginning.</summary>
    public IEnumerable<Document> Render(PseudoSample sample, string source)
    {
        foreach (var template in templates.Where(template => template.Cluster == sample.Cluster && template.Language == sample.Language))
        {
            var key = (sample.Cluster, sample.Rule, sample.Language, template.Name);
            var before = counts.GetValueOrDefault(key) ?? new TemplateCount(sample.Cluster, sample.Rule, sample.Language, template.Name, 0, 0, 0, 0, 0);
            before = before with { Tried = before.Tried + 1 };
            string Word(string option) => template.Labels?.GetValueOrDefault(option, option) ?? option;

            var answer = Word(sample.Answer).Trim();
            var input = Field().Replace(template.Input, match => match.Groups[1].Value == "options"
                ? string.Join('\n', (sample.Options ?? throw new InvalidDataException($"Template '{template.Name}' lists options, {sample.Rule} has none.")).Select(option => $"- {Word(option)}"))
                : sample.Fields.TryGetValue(match.Groups[1].Value, out var value) ? value : throw new InvalidDataException($"Template '{template.Name}' wants '{match.Groups[1].Value}', {sample.Rule} has {string.Join(", ", sample.Fields.Keys)}."));
            counts[key] = answer.Length == 0 ? before with { Empty = before.Empty + 1 }
                : sample.Options is { } options && !options.Contains(sample.Answer) ? before with { NoOption = before.NoOption + 1 }
                : input.Length > MostCharacters || count(input) > mostInput || count(answer) > mostAnswer ? before with { TooLong = before.TooLong + 1 }
                : before with { Rendered = before.Rendered + 1 };
            if (counts[key].Rendered > before.Rendered) yield return new Document(source, sample.Language, $"{sample.Cluster}/{sample.Rule}/{template.Name}/{sample.Origin}", [input, answer]);
        }
    }

    [GeneratedRegex(@"\{(\w+)\}")]
    private static partial Regex Field();
}

/// <summary>
/// UDIT's mixing: of each dataset an epoch takes min(3000 × templates, what there is), walking shuffled passes over it, so that large sets are walked through and none repeats an item before all were seen.
/// </summary>
public static class InstructionMixer
{
    public const int MostPerTemplate = 3000;

    /// <summary>Indices of the items that epoch <paramref name="epoch"/> takes of <paramref name="available"/>.</summary>
    public static IEnumerable<int> Epoch(int available, int templates, int epoch, string dataset, ulong seed, int perTemplate = MostPerTemplate)
    {
        var taken = (int)Math.Min((long)perTemplate * templates, available);
        var order = Array.Empty<int>();
        for (long at = (long)epoch * taken, pass = -1; at < (epoch + 1L) * taken; at++)
        {
            if (at / available != pass)
            {
                pass = at / available;
                order = [.. Enumerable.Range(0, available)];
                RandomStream.Of(seed, $"instructions {dataset}", pass).Shuffle<int>(order);
            }
            yield return order[at % available];
        }
    }
}
