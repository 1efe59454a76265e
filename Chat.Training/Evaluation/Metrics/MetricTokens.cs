using System.Text;
using System.Text.RegularExpressions;

namespace Chat.Training.Evaluation.Metrics;

/// <summary>How metrics cut texts, whatever the models' vocabularies are: English into words, everything else into characters without blanks.</summary>
public static partial class MetricTokens
{
    /// <summary>As rouge_score with its stemmer: lower case, letters a–z and digits only, words over three characters stemmed. Characters in other languages.</summary>
    public static string[] Stemmed(string text, string language) => language == "en"
        ? [.. Word().Matches(text.ToLowerInvariant()).Select(m => m.Value.Length > 3 ? PorterStemmer.Stem(m.Value) : m.Value)]
        : Characters(text);

    /// <summary>Words and single marks with their case; characters in other languages.</summary>
    public static string[] Plain(string text, string language) => language == "en" ? [.. WordOrMark().Matches(text).Select(m => m.Value)] : Characters(text);

    /// <summary>Characters (code points) that are no white space.</summary>
    public static string[] Characters(string text) => [.. text.EnumerateRunes().Where(rune => !Rune.IsWhiteSpace(rune)).Select(rune => rune.ToString())];

    [GeneratedRegex("[a-z0-9]+")]
    private static partial Regex Word();

    [GeneratedRegex(@"[^\W_]+|[^\w\s]|_")]
    private static partial Regex WordOrMark();
}
