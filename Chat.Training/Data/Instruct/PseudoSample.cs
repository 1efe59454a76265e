using Chat.Domain.Plugins;
using Chat.Training.Data.Extraction;
using Chat.Training.Methods;

namespace Chat.Training.Data.Instruct;

/// <summary>
/// An (input, answer) pair that a rule read off unlabelled text, in the fields of a task's templates. Nobody has labelled it.
/// </summary>
/// <param name="Cluster">UDIT's task cluster, lower-case: <c>mcqa</c>, <c>exqa</c>, <c>cbqa</c>, <c>tc</c>, <c>sent</c>, <c>s2t</c>, <c>sum</c>, <c>para</c>.</param>
/// <param name="Rule">The rule that made it.</param>
/// <param name="Fields">What templates may show, by name.</param>
/// <param name="Options">What the answer is one of, in the order they are shown; <c>null</c> where the answer is free.</param>
/// <param name="Origin">Where the text stood; its samples stay on one side of a split.</param>
public sealed record PseudoSample(string Cluster, string Rule, string Language, IReadOnlyDictionary<string, string> Fields, IReadOnlyList<string>? Options, string Answer, string Origin);

/// <summary>What rules look words up in. Every part may be absent; rules that need one then make nothing.</summary>
/// <param name="WordNet">English opposites and parts of speech.</param>
/// <param name="Valence">Word to feeling, VADER's lexicon: −4 … 4.</param>
/// <param name="Topics">Segment of a path to topic.</param>
/// <param name="StopWords">Words that carry no content, both languages.</param>
public sealed record Lexicons(WordNet? WordNet, IReadOnlyDictionary<string, double> Valence, IReadOnlyDictionary<string, string> Topics, IReadOnlySet<string> StopWords)
{
    public static Lexicons None { get; } = new(null, new Dictionary<string, double>(), new Dictionary<string, string>(), new HashSet<string>());
}

/// <summary>
/// A rule of UDIT (arXiv 2210.09175, thu-coai/UDIT tools/pseudo_data): text in, samples out. Pure: the same articles and seed give the same samples in the same order.
/// </summary>
[PluginKind("pseudo-rule")]
public interface IPseudoRule
{
    IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed);
}

/// <summary>Random choices of rules, drawn from streams that are named by what is decided.</summary>
internal static class Choices
{
    public static T One<T>(this IReadOnlyList<T> items, ref RandomStream random) => items[random.Below(items.Count)];

    public static bool Coin(ref RandomStream random) => random.Below(2) == 0;

    public static T[] Shuffled<T>(this IEnumerable<T> items, ref RandomStream random)
    {
        var shuffled = items.ToArray();
        random.Shuffle<T>(shuffled);
        return shuffled;
    }
}
