using Chat.Domain.Plugins;
using Chat.Training.Data.Extraction;
using Chat.Training.Methods;

namespace Chat.Training.Data.Instruct;

/// <summary>
/// UDIT's words to a sentence: of a sentence of 30 to 200 characters a fifth of its content words, at least three, are given in random order. Differs: the words as they stand, not their lemmas; content words are those that no list of stop words has.
/// </summary>
[Plugin("words-to-sentence", Paper = "arXiv:2210.09175", Summary = "A sentence from some of its words")]
public sealed class WordsToSentence : IPseudoRule
{
    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        foreach (var article in articles)
        {
            var number = 0;
            foreach (var sentence in article.Paragraphs.SelectMany(Articles.Sentences))
            {
                number++;
                if (sentence.Length < (article.IsChinese ? 15 : 30) || sentence.Length > (article.IsChinese ? 100 : 200)) continue;
                var content = Articles.Words(sentence, article.Language).Where(word => word.Length >= (article.IsChinese ? 2 : 3) && !lexicons.StopWords.Contains(word.ToLowerInvariant())).Distinct().ToArray();
                if (content.Length < 3) continue;
                var random = RandomStream.Of(seed, $"words {article.Origin}", number);
                var chosen = content.Shuffled(ref random)[..Keywords(content.Length)];
                yield return new PseudoSample("s2t", "words-to-sentence", article.Language, new Dictionary<string, string> { ["words"] = string.Join(article.IsChinese ? "、" : ", ", chosen) }, null, sentence, article.Origin);
            }
        }
    }

    /// <summary>How many of n content words are given: max(⌈0.2 n⌉, 3), at most n.</summary>
    public static int Keywords(int content) => Math.Min(content, Math.Max((content + 4) / 5, 3));
}

/// <summary>UDIT's lead: the first three sentences of a long text are the summary of the rest; its last sentence goes, as does a first paragraph that is a headline.</summary>
[Plugin("lead", Paper = "arXiv:2210.09175", Summary = "Summary: the first three sentences of the rest")]
public sealed class Lead : IPseudoRule
{
    private const int LeastSentences = 10, SummarySentences = 3, Headline = 100;

    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        foreach (var article in articles)
        {
            var first = article.Paragraphs[0].Length < (article.IsChinese ? Headline / 2 : Headline) ? 1 : 0;
            var sentences = article.Paragraphs.Skip(first).SelectMany(Articles.Sentences).ToArray();
            if (sentences.Length < LeastSentences) continue;
            yield return new PseudoSample("sum", "lead", article.Language, new Dictionary<string, string> { ["text"] = Articles.Join(sentences[SummarySentences..^1], article.Language) }, null, Articles.Join(sentences[..SummarySentences], article.Language), article.Origin);
        }
    }
}

/// <summary>
/// UDIT's gap sentence (after PEGASUS): the sentence with the highest Rouge-1 against all others, at least 0.2, is taken out and is the summary; questions are none. Texts have five sentences at least.
/// </summary>
[Plugin("gap-sentence", Paper = "arXiv:2210.09175", Summary = "Summary: the sentence that says most of the rest")]
public sealed class GapSentence : IPseudoRule
{
    private const int LeastSentences = 5, MostSentences = 30;
    private const double LeastRouge = 0.2;

    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        foreach (var article in articles)
        {
            var sentences = article.Paragraphs.SelectMany(Articles.Sentences).Take(MostSentences).ToArray();
            if (sentences.Length < LeastSentences || Best(sentences, article.Language) is not { } best) continue;
            yield return new PseudoSample("sum", "gap-sentence", article.Language, new Dictionary<string, string> { ["text"] = Articles.Join(sentences.Where((_, i) => i != best), article.Language) }, null, sentences[best], article.Origin);
        }
    }

    /// <summary>The sentence with the highest Rouge-1 against the others, the first of equals; <c>null</c> when none reaches 0.2.</summary>
    public static int? Best(IReadOnlyList<string> sentences, string language)
    {
        var units = sentences.Select(sentence => Articles.Units(sentence, language)).ToArray();
        var all = units.SelectMany(words => words).GroupBy(word => word).ToDictionary(group => group.Key, group => group.Count());
        var total = all.Values.Sum();
        int? best = null;
        var highest = LeastRouge;
        for (var i = 0; i < units.Length; i++)
        {
            if (sentences[i].EndsWith('?') || sentences[i].EndsWith('？') || units[i].Count == 0 || total == units[i].Count) continue;
            var common = units[i].GroupBy(word => word).Sum(group => Math.Min(group.Count(), all[group.Key] - group.Count()));
            var rouge = 2.0 * common / total;                       // precision over |sentence|, recall over |rest|: their harmonic mean
            if (rouge < highest || (best is not null && rouge == highest)) continue;
            (best, highest) = (i, rouge);
        }
        return best;
    }
}

/// <summary>
/// UDIT's paraphrases without its translation models: a positive has one word changed for a synonym, a negative is the positive with its nouns shuffled and one word changed for its opposite. English only, and weaker than the paper's:
/// back-translation changes the whole sentence.
/// </summary>
[Plugin("paraphrase", Paper = "arXiv:2210.09175", Summary = "Do two sentences say the same?")]
public sealed class Paraphrase : IPseudoRule
{
    private const int LeastNouns = 3;

    public IEnumerable<PseudoSample> Make(IReadOnlyList<Article> articles, Lexicons lexicons, ulong seed)
    {
        if (lexicons.WordNet is not { } wordNet) yield break;
        var synonyms = Synonyms(wordNet);
        foreach (var article in articles.Where(article => !article.IsChinese))
        {
            var number = 0;
            foreach (var sentence in article.Paragraphs.SelectMany(Articles.Sentences))
            {
                var random = RandomStream.Of(seed, $"paraphrase {article.Origin}", number++);
                var tokens = sentence.Split(' ');
                var places = Enumerable.Range(0, tokens.Length).Where(i => synonyms.ContainsKey(tokens[i])).ToArray();
                if (tokens.Length is < 6 or > 40 || places.Length == 0) continue;
                var positive = tokens.ToArray();
                var changed = places.One(ref random);
                positive[changed] = synonyms[tokens[changed]];
                // Only sentences that have both: else most of what is asked would be true.
                if (Negative(positive, wordNet, ref random) is not { } negative) continue;
                var other = Choices.Coin(ref random) ? positive : negative;
                var pair = new[] { sentence, string.Join(' ', other) }.Shuffled(ref random);
                yield return new PseudoSample("para", "paraphrase", "en", new Dictionary<string, string> { ["first"] = pair[0], ["second"] = pair[1] }, ["yes", "no"], ReferenceEquals(other, positive) ? "yes" : "no", article.Origin);
            }
        }
    }

    /// <summary>The sentence with its nouns in another order and one word replaced by its opposite; <c>null</c> where it has not three nouns, or no such word.</summary>
    public static string[]? Negative(string[] tokens, WordNet wordNet, ref RandomStream random)
    {
        var nouns = Enumerable.Range(0, tokens.Length).Where(i => wordNet.IsOnlyNoun(tokens[i])).ToArray();
        var opposites = Enumerable.Range(0, tokens.Length).Where(i => !nouns.Contains(i) && wordNet.Antonyms(tokens[i]).Count > 0).ToArray();
        if (nouns.Length < LeastNouns || nouns.Select(i => tokens[i]).Distinct().Count() < 2 || opposites.Length == 0) return null;
        var negative = tokens.ToArray();
        while (negative.SequenceEqual(tokens))
        {
            var shuffled = nouns.Shuffled(ref random);
            for (var i = 0; i < nouns.Length; i++) negative[nouns[i]] = tokens[shuffled[i]];
        }
        var changed = opposites.One(ref random);
        negative[changed] = wordNet.Antonyms(tokens[changed]).ToArray().One(ref random);
        return negative;
    }

    // Words with one sense only, in a set of at least two: elsewhere a synonym is one of another sense more often than not.
    private static Dictionary<string, string> Synonyms(WordNet wordNet) => wordNet.Synsets.Values
        .SelectMany(set => set.Words.Select(word => (word, set))).GroupBy(pair => pair.word).Where(group => group.Count() == 1)
        .Select(group => group.Single()).Where(pair => char.IsLower(pair.word[0]) && pair.word.Length > 3 && !pair.word.Contains(' ', StringComparison.Ordinal))
        .Select(pair => (pair.word, other: pair.set.Words.FirstOrDefault(other => other != pair.word && char.IsLower(other[0]) && !other.Contains(' ', StringComparison.Ordinal))))
        .Where(pair => pair.other is not null).ToDictionary(pair => pair.word, pair => pair.other!, StringComparer.Ordinal);
}
