using System.Text.RegularExpressions;
using Chat.Domain.Plugins;
using Chat.Training.Methods;

namespace Chat.Training.Data.Instruct;

/// <summary>
/// UDIT's distant supervision: a sentence that names an entity of an article, but stands in another article and shares more with it, becomes a question about it: «Who or what B A?» for «A ENTITY B». English only.
/// Differs: entities are runs of capitalised words (no named-entity recogniser), so the question word has no type; sentences are found in an index of the given articles, not of Wikipedia.
/// </summary>
[Plugin("distant-question", Paper = "arXiv:2210.09175", Summary = "Questions about names, answered from another text (extractive)")]
public sealed class DistantQuestion : IPseudoRule
{
    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed) => EntityQuestions.Of(articles, lexicons, seed)
        .Select(found => new PseudoSample("exqa", "distant-question", "en", new Dictionary<string, string> { ["context"] = found.Context, ["question"] = found.Question }, null, found.Answer, found.Article.Origin));
}

/// <summary>UDIT's closed-book questions: those of <see cref="DistantQuestion"/> without their text; every second time with a wrong answer.</summary>
[Plugin("closed-book", Paper = "arXiv:2210.09175", Summary = "Is this the answer? Without the text")]
public sealed class ClosedBook : IPseudoRule
{
    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        var found = EntityQuestions.Of(articles, lexicons, seed).ToArray();
        var answers = found.Select(each => each.Answer).Distinct().ToArray();
        for (var i = 0; i < found.Length; i++)
        {
            var random = RandomStream.Of(seed, "closed-book", i);
            if (answers.Length < 2) yield break;
            var isTrue = Choices.Coin(ref random);
            var wrong = answers.One(ref random);
            while (wrong == found[i].Answer) wrong = answers.One(ref random);
            yield return new PseudoSample("cbqa", "closed-book", "en", new Dictionary<string, string> { ["question"] = found[i].Question, ["candidate"] = isTrue ? found[i].Answer : wrong }, ["yes", "no"], isTrue ? "yes" : "no", found[i].Article.Origin);
        }
    }
}

/// <summary>A question about a name in an article.</summary>
/// <param name="Source">Origin of the article whose sentence became the question.</param>
public sealed record EntityQuestion(Article Article, string Context, string Question, string Answer, string Source);

/// <summary>Finds questions for names in articles.</summary>
public static partial class EntityQuestions
{
    private const int MostContextWords = 400, MostAnswer = 30, MostQuestionWords = 64, MostPerArticle = 5;

    private sealed record Sentence(int Article, string Text, string[] Entities);

    public static IEnumerable<EntityQuestion> Of(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        var sentences = articles.Select((article, a) => article.Language != "en" ? [] : article.Paragraphs.SelectMany(Articles.Sentences).Select(text => new Sentence(a, text, EntitiesOf(text))).Where(sentence => sentence.Entities.Length > 0).ToArray()).ToArray();
        var named = sentences.SelectMany(list => list).SelectMany(sentence => sentence.Entities.Distinct().Select(entity => (entity, sentence))).ToLookup(pair => pair.entity, pair => pair.sentence, StringComparer.Ordinal);
        for (var a = 0; a < articles.Count; a++)
        {
            var context = Context(articles[a]);
            var inContext = EntitiesOf(context).ToHashSet(StringComparer.Ordinal);
            var random = RandomStream.Of(seed, $"entity {articles[a].Origin}", 0);
            var made = 0;
            foreach (var entity in inContext.Where(entity => entity.Length <= MostAnswer).Order(StringComparer.Ordinal).ToArray().Shuffled(ref random))
            {
                var query = sentences[a].FirstOrDefault(sentence => sentence.Entities.Contains(entity) && context.Contains(sentence.Text, StringComparison.Ordinal));
                if (query is null || made == MostPerArticle) continue;
                var match = named[entity].FirstOrDefault(other => other.Article != a && articles[other.Article].Origin != articles[a].Origin && Fits(other, query, entity, inContext, lexicons));
                if (match is null) continue;
                made++;
                yield return new EntityQuestion(articles[a], context, Ask(match.Text, entity), entity, articles[match.Article].Origin);
            }
        }
    }

    // Names the entity once, shares one more name with the query sentence and one more with the context, and is neither the same sentence nor about something else.
    private static bool Fits(Sentence other, Sentence query, string entity, HashSet<string> inContext, Lexicons lexicons)
    {
        if (other.Entities.Distinct().Count() < 2 || Occurrences(other.Text, entity) != 1 || Articles.Words(other.Text, "en").Count > MostQuestionWords) return false;
        var shared = other.Entities.Where(each => each != entity && query.Entities.Contains(each)).ToHashSet(StringComparer.Ordinal);
        if (shared.Count == 0 || !other.Entities.Any(each => each != entity && !shared.Contains(each) && inContext.Contains(each))) return false;
        return Overlap(Articles.Units(other.Text, "en"), Articles.Units(query.Text, "en")) <= 0.95 && Overlap(Content(other.Text), Content(query.Text)) >= 0.3;

        IReadOnlyList<string> Content(string text) => [.. Articles.Units(text, "en").Where(word => !lexicons.StopWords.Contains(word))];
    }

    private static string Ask(string sentence, string entity)
    {
        var at = sentence.IndexOf(entity, StringComparison.Ordinal);
        var (before, behind) = (sentence[..at].Trim(), sentence[(at + entity.Length)..].Trim().TrimEnd('.', '!', '?', '"').Trim());
        return $"Who or what {behind.TrimStart(',', ' ')}{(before.Length == 0 || behind.Length == 0 ? "" : " ")}{before.TrimEnd(',', ' ')}?";
    }

    private static string Context(Article article)
    {
        var words = 0;
        return string.Join(' ', article.Paragraphs.TakeWhile(paragraph => (words += Articles.Words(paragraph, "en").Count) <= MostContextWords));
    }

    private static double Overlap(IReadOnlyList<string> a, IReadOnlyList<string> b) => a.Count == 0 || b.Count == 0 ? 0 : (double)a.Distinct().Intersect(b).Count() / a.Distinct().Union(b).Count();

    private static int Occurrences(string text, string entity)
    {
        var count = 0;
        for (var at = text.IndexOf(entity, StringComparison.Ordinal); at >= 0; at = text.IndexOf(entity, at + 1, StringComparison.Ordinal))
            if ((at == 0 || !char.IsLetterOrDigit(text[at - 1])) && (at + entity.Length == text.Length || !char.IsLetterOrDigit(text[at + entity.Length]))) count++;
        return count;
    }

    // A capital at the head of a sentence says nothing, unless another one follows.
    private static string[] EntitiesOf(string text) => [.. Articles.Sentences(text).SelectMany(sentence => Name().Matches(sentence).Where(match => match.Index > 0 || match.Value.Contains(' ', StringComparison.Ordinal)).Select(match => match.Value))];

    [GeneratedRegex(@"\b[A-Z][a-zA-Z]{2,}(?: [A-Z][a-zA-Z]+)*\b")]
    private static partial Regex Name();
}
