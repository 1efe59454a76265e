using System.Text.RegularExpressions;
using Chat.Models.Tokenizers;
using Chat.Training.Data.Extraction;

namespace Chat.Training.Data.Instruct;

/// <summary>An unlabelled text as UDIT's rules read it: cleaned paragraphs of one origin.</summary>
/// <param name="Origin">Where it comes from: a path or an id.</param>
public sealed record Article(string Origin, string Language, IReadOnlyList<string> Paragraphs)
{
    public bool IsChinese => Language == "zh";
}

/// <summary>Sentences, words and cleaning, the same for all rules. Pure.</summary>
public static partial class Articles
{
    private const int ParagraphLetters = 300, ParagraphHan = 100;

    /// <summary>
    /// Documents that follow each other and come from one file become an article; one with a link in it is left out whole, as UDIT does. Turns of a dialogue are paragraphs, running text is cut into paragraphs of whole sentences.
    /// </summary>
    public static IEnumerable<Article> Of(IEnumerable<Document> documents)
    {
        string? origin = null, language = null;
        var paragraphs = new List<string>();
        foreach (var document in documents)
        {
            var file = $"{document.Source}/{document.Scene.Split('#')[0]}";
            if (file != origin && paragraphs.Count > 0)
            {
                if (Clean(origin!, language!, paragraphs) is { } article) yield return article;
                paragraphs = [];
            }
            (origin, language) = (file, document.Language);
            if (document.Turns.Count == 1) paragraphs.AddRange(Cut(document.Turns[0], document.Language));
            else paragraphs.AddRange(document.Turns);
        }
        if (paragraphs.Count > 0 && Clean(origin!, language!, paragraphs) is { } last) yield return last;
    }

    /// <summary>Sentences with their end marks, joined again the text (but for blanks at the joints).</summary>
    public static IReadOnlyList<string> Sentences(string text) => [.. SentenceEnd().Split(text).Select(sentence => sentence.Trim()).Where(sentence => sentence.Length > 0)];

    /// <summary>Words in order, as they stand: runs of letters and digits; Chinese cut by jieba.</summary>
    public static IReadOnlyList<string> Words(string text, string language) => language == "zh"
        ? [.. JiebaWords.Cut(text).Where(word => word.Any(char.IsLetterOrDigit))]
        : [.. Word().Matches(text).Select(match => match.Value)];

    /// <summary>What overlap is counted in: lower-case words; for Chinese characters.</summary>
    public static IReadOnlyList<string> Units(string text, string language) => language == "zh"
        ? [.. text.Where(char.IsLetterOrDigit).Select(character => character.ToString())]
        : [.. Word().Matches(text.ToLowerInvariant()).Select(match => match.Value)];

    /// <summary>Joins texts as the language does.</summary>
    public static string Join(IEnumerable<string> sentences, string language) => string.Join(language == "zh" ? "" : " ", sentences);

    private static Article? Clean(string origin, string language, List<string> paragraphs) =>
        paragraphs.Any(paragraph => paragraph.Contains("http", StringComparison.Ordinal) || paragraph.Contains(".com", StringComparison.Ordinal)) ? null
            : new Article(origin, language, [.. paragraphs.Select(paragraph => Plain(paragraph, language)).Where(paragraph => paragraph.Length > 0)]);

    // Brackets go pair by pair, innermost first; the reference's greedy pattern also eats what stands between two pairs.
    private static string Plain(string paragraph, string language)
    {
        var plain = language == "zh" ? paragraph : paragraph.Replace('“', '"').Replace('”', '"').Replace('’', '\'').Replace('‘', '\'').Replace('—', '-').Replace('–', '-').Replace("``", "\"", StringComparison.Ordinal).Replace("''", "\"", StringComparison.Ordinal);
        for (string before = ""; before != plain;) (before, plain) = (plain, Bracket().Replace(plain, ""));
        return TextCleaning.Normalise(plain);
    }

    private static IEnumerable<string> Cut(string text, string language)
    {
        var most = language == "zh" ? ParagraphHan : ParagraphLetters;
        var paragraph = new List<string>();
        foreach (var sentence in Sentences(text))
        {
            if (paragraph.Count > 0 && paragraph.Sum(s => s.Length + 1) + sentence.Length > most)
            {
                yield return Join(paragraph, language);
                paragraph.Clear();
            }
            paragraph.Add(sentence);
        }
        if (paragraph.Count > 0) yield return Join(paragraph, language);
    }

    [GeneratedRegex(@"(?<=[.!?][""'”’)]*)\s+(?=[""'“‘(]?[A-Z0-9])|(?<=[。！？；…][”’」』）]*)(?![。！？；…”’」』）])")]
    private static partial Regex SentenceEnd();

    [GeneratedRegex(@"[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*")]
    private static partial Regex Word();

    [GeneratedRegex(@"\s*\([^()]*\)|（[^（）]*）")]
    private static partial Regex Bracket();
}
