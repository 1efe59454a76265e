using Chat.Domain.Plugins;

namespace Chat.Training.Data.Instruct;

/// <summary>
/// UDIT's topics by address: a segment of the path that the text lay under names its topic, by a table; up to three segments are looked at from the deepest. Options are the topics that the given articles have.
/// </summary>
[Plugin("topic-by-path", Paper = "arXiv:2210.09175", Summary = "Topic of a text, from the path it lay under")]
public sealed class TopicByPath : IPseudoRule
{
    private const int Depth = 3, MostWords = 450;

    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        foreach (var language in articles.GroupBy(article => article.Language))
        {
            var labelled = language.Select(article => (Article: article, Topic: Topic(article.Origin, lexicons))).Where(each => each.Topic is not null).ToArray();
            string[] options = [.. labelled.Select(each => each.Topic!).Distinct().Order(StringComparer.Ordinal)];
            if (options.Length < 2) continue;
            foreach (var (article, topic) in labelled)
            {
                var words = 0;
                var text = Articles.Join(article.Paragraphs.SelectMany(Articles.Sentences).TakeWhile(sentence => (words += Articles.Units(sentence, article.Language).Count) <= MostWords), article.Language);
                if (text.Length > 0) yield return new PseudoSample("tc", "topic-by-path", article.Language, new Dictionary<string, string> { ["text"] = text }, options, topic!, article.Origin);
            }
        }
    }

    private static string? Topic(string origin, Lexicons lexicons) => origin.Split('/').SkipLast(1).Reverse().Take(Depth).Select(segment => lexicons.Topics.GetValueOrDefault(segment)).FirstOrDefault(topic => topic is not null);
}

/// <summary>
/// UDIT's sentiment by VADER (Hutto and Gilbert 2014): shares of positive, negative and neutral words. Texts with a neutral share of 0.78 or more go. Differs: of VADER the lexicon and negation only; and the dead zone is
/// symmetric, where the reference calls all that is not clearly positive negative.
/// </summary>
[Plugin("sentiment", Paper = "arXiv:2210.09175", Summary = "Feeling of a paragraph, from a lexicon of valences")]
public sealed class Sentiment : IPseudoRule
{
    private const double MostNeutral = 0.78, DeadZone = 0.05, Negated = -0.74;     // VADER's own factor
    private static readonly HashSet<string> Negators = ["not", "no", "never", "neither", "nor", "without", "cannot", "don't", "doesn't", "didn't", "isn't", "wasn't", "aren't", "won't", "can't", "couldn't", "wouldn't", "shouldn't", "hardly"];

    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        if (lexicons.Valence.Count == 0) yield break;
        foreach (var article in articles.Where(article => !article.IsChinese))
            foreach (var paragraph in article.Paragraphs)
            {
                var (positive, neutral, negative) = Shares(paragraph, lexicons.Valence);
                if (neutral >= MostNeutral || Math.Abs(positive - negative) <= DeadZone) continue;
                yield return new PseudoSample("sent", "sentiment", "en", new Dictionary<string, string> { ["text"] = paragraph }, ["positive", "negative"], positive > negative ? "positive" : "negative", article.Origin);
            }
    }

    /// <summary>VADER's three shares, which add up to 1: each felt word counts its strength and one, each other word one.</summary>
    public static (double Positive, double Neutral, double Negative) Shares(string text, IReadOnlyDictionary<string, double> valence)
    {
        double positive = 0, neutral = 0, negative = 0;
        var words = Articles.Units(text, "en");
        for (var i = 0; i < words.Count; i++)
        {
            if (!valence.TryGetValue(words[i], out var felt) || felt == 0)
            {
                neutral++;
                continue;
            }
            for (var back = 1; back <= 3 && back <= i; back++)
                if (Negators.Contains(words[i - back].Replace('’', '\'')))
                {
                    felt *= Negated;
                    break;
                }
            if (felt > 0) positive += felt + 1;
            else negative -= felt - 1;
        }
        var all = positive + neutral + negative;
        return all == 0 ? (0, 1, 0) : (positive / all, neutral / all, negative / all);
    }
}
