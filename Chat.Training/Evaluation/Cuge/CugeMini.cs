using Chat.Training.Data;
using Chat.Training.Methods;

namespace Chat.Training.Evaluation.Cuge;

/// <summary>One of CUGE-mini's datasets.</summary>
/// <param name="StandsFor">Which of CUGE's datasets it stands for, and what is lost.</param>
/// <param name="Chance">What guessing scores, in percent; <c>null</c> where nothing is chosen.</param>
public sealed record MiniDataset(string Name, AnswerKind Kind, string StandsFor, double? Chance, IReadOnlyList<CugeItem> Items, CugeScorer Score);

/// <summary>
/// CUGE-mini runs in minutes on what the repository holds. No set has gold labels of CUGE's kinds, so choices are made: the real thing among changed or foreign ones. A score here says
/// whether a model sees the difference, not whether it could do CUGE's task; only comparisons between models of one run mean something. Items follow from the seed.
/// </summary>
public static class CugeMini
{
    private const int Items = 200, Queries = 100, Choices = 4, Candidates = 20, LeastCharacters = 6, MostCharacters = 40, LongestContext = 3, LongestScene = 6, LargestSummand = 10;
    private const string Digits = "零一二三四五六七八九十";

    /// <summary>The hierarchy that holds them, from beside the program.</summary>
    public static CugeHierarchy Hierarchy() => CugeHierarchy.Read(Path.Combine(AppContext.BaseDirectory, "Evaluation", "Cuge", "mini.json"));

    /// <param name="chinese">Held-out scenes.</param>
    /// <param name="english">The same scenes in English, found by their names.</param>
    /// <exception cref="InvalidDataException">Too few lines.</exception>
    public static IReadOnlyList<MiniDataset> Create(IReadOnlyList<Document> chinese, IReadOnlyList<Document> english, ulong seed)
    {
        var lines = chinese.SelectMany(d => d.Replies().Select(turn => (Scene: d, Turn: turn, Text: d.Turns[turn])))
            .Where(l => l.Text.Length is >= LeastCharacters and <= MostCharacters).DistinctBy(l => l.Text).ToArray();
        var translated = english.ToDictionary(d => d.Scene);
        var pairs = lines.Select(l => (l.Text, Scene: translated.GetValueOrDefault(l.Scene.Scene), l.Turn))
            .Where(p => p.Scene is { } scene && scene.Turns.Count > p.Turn).Select(p => (Chinese: p.Text, English: p.Scene!.Turns[p.Turn])).ToArray();
        if (lines.Length <= 4 * Candidates || pairs.Length <= Choices) throw new InvalidDataException($"CUGE-mini needs more held-out lines than {lines.Length} (of {LeastCharacters} to {MostCharacters} characters) with {pairs.Length} translations.");
        string[] texts = [.. lines.Select(l => l.Text)];

        return
        [
            new("word-order", AnswerKind.Choice, "PKU-SEG, YACLC and the like: the real line among three of which two neighbouring characters were exchanged; no words, tags or entities are asked for", 100.0 / Choices,
                Made(lines, Items, seed, "word-order", (l, random) => Choosing(ref random, Before(l.Scene, l.Turn, 1), l.Text, Exchanged(l.Text, Choices - 1, ref random))), CugeScorers.Accuracy),
            new("next-turn", AnswerKind.Choice, "ClozeT and C3: the real next turn among three lines of elsewhere; no question is asked", 100.0 / Choices,
                Made(lines, Items, seed, "next-turn", (l, random) => Choosing(ref random, Before(l.Scene, l.Turn, LongestContext), l.Text, Others(texts, l.Text, Choices - 1, ref random))), CugeScorers.Accuracy),
            new("reply-retrieval", AnswerKind.Ranking, $"Sogou-Log: the real reply's rank among {Candidates} lines; one is relevant, none is a document", null,
                Made(lines, Queries, seed, "reply-retrieval", (l, random) =>
                {
                    var item = Choosing(ref random, Before(l.Scene, l.Turn, 1), l.Text, Others(texts, l.Text, Candidates - 1, ref random));
                    return item with { Grades = [.. Enumerable.Range(0, Candidates).Select(i => i == item.Answer ? 1.0 : 0.0)] };
                }), CugeScorers.Ranking),
            new("scene-continuation", AnswerKind.Text, "LCSTS: the next line of a scene against the real one by Rouge-L; nothing is summarised", null,
                Made([.. lines.Where((_, i) => i % 2 == 0)], Items, seed, "scene-continuation", (l, _) => new CugeItem(Before(l.Scene, l.Turn, LongestScene), [l.Text])), CugeScorers.Rouge),
            new("reply", AnswerKind.Text, "KdConv: a reply to one turn against the real one; there is no knowledge to draw on", null,
                Made([.. lines.Where((_, i) => i % 2 == 1)], Items, seed, "reply", (l, _) => new CugeItem(Before(l.Scene, l.Turn, 1), [l.Text])), CugeScorers.BleuAndDistinct),
            new("translation-matching", AnswerKind.Choice, "WMT20-EnZh: an English line's translation among three other lines; nothing is translated", 100.0 / Choices,
                Made(pairs, Items, seed, "translation-matching", (p, random) => Choosing(ref random, [p.English], p.Chinese, Others(texts, p.Chinese, Choices - 1, ref random))), CugeScorers.Accuracy),
            new("addition", AnswerKind.Choice, "Math23k: the sum of two numbers to ten among three other numbers; no problem is understood", 100.0 / Choices,
                [.. Enumerable.Range(0, Items).Select(i => Sum(RandomStream.Of(seed, "addition", i)))], CugeScorers.Accuracy),
        ];
    }

    private static CugeItem[] Made<T>(IReadOnlyList<T> from, int most, ulong seed, string purpose, Func<T, RandomStream, CugeItem> make)
    {
        var count = Math.Min(most, from.Count);
        return [.. Enumerable.Range(0, count).Select(i => make(from[(int)((long)i * from.Count / count)], RandomStream.Of(seed, purpose, i)))];
    }

    private static CugeItem Choosing(ref RandomStream random, IReadOnlyList<string> turns, string right, IEnumerable<string> wrong)
    {
        string[] choices = [right, .. wrong];
        random.Shuffle<string>(choices);
        return new CugeItem(turns, [], choices, Array.IndexOf(choices, right));
    }

    private static string[] Before(Document scene, int turn, int most) => [.. scene.Turns.Take(turn).TakeLast(most)];

    private static List<string> Others(string[] texts, string right, int count, ref RandomStream random)
    {
        var others = new List<string>();
        while (others.Count < count)
            if (texts[random.Below(texts.Length)] is var other && other != right && !others.Contains(other)) others.Add(other);
        return others;
    }

    /// <summary>Versions of a line with two different neighbouring characters exchanged, as far as it has so many.</summary>
    private static List<string> Exchanged(string text, int count, ref RandomStream random)
    {
        var places = Enumerable.Range(0, text.Length - 1).Where(i => text[i] != text[i + 1] && !char.IsSurrogate(text[i]) && !char.IsSurrogate(text[i + 1])).ToArray();
        random.Shuffle<int>(places);
        return [.. places.Select(i => text[..i] + text[i + 1] + text[i] + text[(i + 2)..]).Distinct().Where(other => other != text).Take(count)];
    }

    private static CugeItem Sum(RandomStream random)
    {
        var (a, b) = (1 + random.Below(LargestSummand), 1 + random.Below(LargestSummand));
        var others = new List<string>();
        while (others.Count < Choices - 1)
            if (2 + random.Below(2 * LargestSummand - 1) is var other && other != a + b && !others.Contains(Numeral(other))) others.Add(Numeral(other));
        return Choosing(ref random, [$"{Numeral(a)}加{Numeral(b)}等于几？"], Numeral(a + b), others);
    }

    private static string Numeral(int number) => number <= 10 ? Digits[number].ToString() : number < 20 ? "十" + Digits[number - 10] : "二十";
}
