using System.Text.RegularExpressions;
using Chat.Domain.Plugins;
using Chat.Training.Data.Extraction;
using Chat.Training.Methods;

namespace Chat.Training.Data.Instruct;

/// <summary>
/// UDIT's keyword mask: one word of a paragraph of 30 to 300 characters (an article has at least four) is hidden; the other option is its opposite, or, every second time, another word of the paragraph. Context is a neighbouring paragraph.
/// Differs: the other word is a noun of the same WordNet class instead of the nearest by HowNet; in Chinese any other content word, and there are no opposites.
/// </summary>
[Plugin("keyword-mask", Paper = "arXiv:2210.09175", Summary = "Multiple choice: which word is hidden")]
public sealed class KeywordMask : IPseudoRule
{
    public const string Gap = "_____";
    private const int LeastLetters = 4, LeastHan = 2;

    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        foreach (var article in articles.Where(article => article.Paragraphs.Count >= 4))
            for (var i = 0; i < article.Paragraphs.Count; i++)
            {
                var paragraph = article.Paragraphs[i];
                if (paragraph.Length < (article.IsChinese ? 15 : 30) || paragraph.Length > (article.IsChinese ? 150 : 300)) continue;
                var random = RandomStream.Of(seed, $"keyword-mask {article.Origin}", i);
                var words = Articles.Words(paragraph, article.Language);
                var candidates = Choices.Coin(ref random) && !article.IsChinese ? Opposites(words, lexicons) : Others(words, article, lexicons);
                if (candidates.Count == 0) continue;
                var (word, other) = candidates.One(ref random);
                var at = Find(paragraph, word, article.IsChinese);
                var options = new[] { word, other }.Shuffled(ref random);
                var neighbour = i == 0 || (i < article.Paragraphs.Count - 1 && Choices.Coin(ref random)) ? i + 1 : i - 1;
                yield return new PseudoSample("mcqa", "keyword-mask", article.Language, new Dictionary<string, string>
                {
                    ["context"] = article.Paragraphs[neighbour],
                    ["question"] = string.Concat(paragraph.AsSpan(0, at), Gap, paragraph.AsSpan(at + word.Length)),
                }, options, word, article.Origin);
            }
    }

    private static List<(string, string)> Opposites(IReadOnlyList<string> words, Lexicons lexicons) =>
        [.. words.Where(word => word.Length >= LeastLetters && char.IsLower(word[0])).SelectMany(word => (lexicons.WordNet?.Antonyms(word) ?? []).Where(other => !words.Contains(other)).Select(other => (word, other)))];

    // English: a noun that stands twice, against another noun of its class; twice, since what is said twice matters.
    private static List<(string, string)> Others(IReadOnlyList<string> words, Article article, Lexicons lexicons)
    {
        if (article.IsChinese)
        {
            var content = words.Where(word => word.Length >= LeastHan && word.All(TextCleaning.IsHan) && !lexicons.StopWords.Contains(word)).Distinct().ToArray();
            return [.. content.SelectMany(word => content.Where(other => other != word && other.Length == word.Length).Select(other => (word, other)))];
        }
        var nouns = words.Where(word => word.Length >= LeastLetters && char.IsLower(word[0]) && lexicons.WordNet?.IsOnlyNoun(word) == true).ToArray();
        return [.. nouns.GroupBy(noun => noun).Where(group => group.Count() > 1).SelectMany(group => nouns.Distinct().Where(other => other != group.Key && lexicons.WordNet!.AreAlike(group.Key, other)).Select(other => (group.Key, other)))];
    }

    private static int Find(string paragraph, string word, bool chinese) => chinese ? paragraph.IndexOf(word, StringComparison.Ordinal)
        : Regex.Match(paragraph, $@"(?<![\p{{L}}\p{{N}}]){Regex.Escape(word)}(?![\p{{L}}\p{{N}}])", RegexOptions.CultureInvariant).Index;
}

/// <summary>
/// UDIT's natural question: the last question of a paragraph; what stands before it is the context, what follows is the answer, the paragraph after next a hard wrong answer, and paragraphs of two other articles easy ones.
/// </summary>
[Plugin("natural-question", Paper = "arXiv:2210.09175", Summary = "Multiple choice: what follows a question of the text")]
public sealed partial class NaturalQuestion : IPseudoRule
{
    private const int EasyOptions = 2, LongOption = 150;

    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        for (var a = 0; a < articles.Count; a++)
        {
            var article = articles[a];
            var others = articles.Where(other => other.Language == article.Language && other.Origin != article.Origin).ToArray();
            if (others.Length < EasyOptions || article.Paragraphs.Any(paragraph => Number().IsMatch(paragraph))) continue;
            var shorter = article.IsChinese ? 2 : 1;                // a Chinese text says the same in half the characters or fewer
            for (var i = 0; i + 2 < article.Paragraphs.Count; i++)
            {
                var paragraph = article.Paragraphs[i];
                var end = paragraph.LastIndexOfAny(['?', '？']);
                if (end <= 0) continue;
                var start = paragraph.LastIndexOfAny(['.', '"', '?', '!', '。', '？', '！', '”'], end - 1) + 1;
                var before = (i == 0 ? "" : article.Paragraphs[i - 1] + (article.IsChinese ? "" : " ")) + paragraph[..start];
                var cut = before.LastIndexOfAny(['.', '!', '。', '！']);
                if (cut <= 0) continue;
                var (question, context) = (paragraph[start..(end + 1)].Trim(), before[..(cut + 1)].Trim());
                if (context.Length < 30 / shorter || context.Length > 1000 || question.Length < 10 / shorter) continue;

                var random = RandomStream.Of(seed, $"natural-question {article.Origin}", i);
                var answer = Option(paragraph[(end + 1)..] + (end + 1 < paragraph.Length && !article.IsChinese ? " " : "") + article.Paragraphs[i + 1], shorter);
                var options = new List<string> { answer, Option(article.Paragraphs[i + 2], shorter) };
                foreach (var other in others.Shuffled(ref random).Take(EasyOptions)) options.Add(Option(other.Paragraphs.One(ref random), shorter));
                if (options.Any(option => option.Length < 10 / shorter || option.Contains('?', StringComparison.Ordinal) || option.Contains('？', StringComparison.Ordinal)) || options.Distinct().Count() < options.Count) continue;
                yield return new PseudoSample("mcqa", "natural-question", article.Language, new Dictionary<string, string> { ["context"] = context, ["question"] = question }, options.Shuffled(ref random), answer, article.Origin);
            }
        }
    }

    // Cut at the first end of a sentence past 150 characters, marks in front stripped.
    private static string Option(string text, int shorter)
    {
        var option = "";
        foreach (var sentence in Articles.Sentences(text.TrimStart('"', '.', ',', '!', ' ', ';', ':', '-', '。', '，', '！', '”', '…')))
        {
            option += (option.Length > 0 && shorter == 1 ? " " : "") + sentence;
            if (option.Length >= LongOption / shorter) break;
        }
        return option;
    }

    [GeneratedRegex(@"\d{6}")]
    private static partial Regex Number();
}
