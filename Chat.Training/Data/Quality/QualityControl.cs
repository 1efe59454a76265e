using Chat.Training.Methods;

namespace Chat.Training.Data.Quality;

/// <summary>
/// Data quality control of dialogue as a stream: utterance rules, then the rules of whole corpora, then the score. An emptied utterance
/// cuts its session there; parts without two utterances go. The source is read four times, nothing but counts stays in memory.
/// </summary>
public sealed class QualityControl(string corpus, QualityRecipe recipe, ulong seed = 0)
{
    private const string LowScore = "low-score";

    private readonly RuleChain chain = new(recipe);
    private readonly SessionRules sessions = new(recipe);
    private readonly CharacterModel model = new();
    private readonly Dictionary<string, RuleCount> rules = new(StringComparer.Ordinal);
    private RandomStream random = RandomStream.Of(seed, "quality examples", 0);
    private int sessionsIn, sessionsKept, utterancesIn, utterancesKept;
    private long charactersIn, charactersKept;
    private SessionScore? score;
    private double[] deciles = [];

    /// <summary>Reads the corpus to learn what only the whole of it tells, then gives what is kept, in order.</summary>
    /// <param name="source">Opens the corpus from its beginning; the same documents each time.</param>
    public IEnumerable<Document> Run(Func<IEnumerable<Document>> source)
    {
        foreach (var document in source()) sessions.Count([.. document.Turns.Select(t => chain.Clean(t).Text)]);
        foreach (var part in source().SelectMany(d => Parts(d, counting: false)))
            foreach (var turn in part.Turns) model.Add(turn);
        var parts = source().SelectMany(d => Parts(d, counting: false)).Select(Measure).ToArray();
        score = new SessionScore(recipe, parts);
        var scores = parts.Select(score.Of).Order().ToArray();
        deciles = scores.Length == 0 ? [] : [.. Enumerable.Range(0, 11).Select(i => scores[Math.Min(scores.Length - 1, i * scores.Length / 10)])];

        foreach (var document in source())
        {
            sessionsIn++;
            utterancesIn += document.Turns.Count;
            charactersIn += document.Turns.Sum(t => (long)t.Length);
            foreach (var part in Parts(document, counting: true))
            {
                if (score.Of(Measure(part)) < score.Threshold)
                {
                    foreach (var turn in part.Turns) Drop(LowScore, turn, show: turn == part.Turns[0], string.Join(" ⏎ ", part.Turns));
                    continue;
                }
                sessionsKept++;
                utterancesKept += part.Turns.Count;
                charactersKept += part.Turns.Sum(t => (long)t.Length);
                yield return part;
            }
        }
    }

    /// <summary>The account of what <see cref="Run"/> has given so far.</summary>
    public QualityReport Report() => new(corpus, sessionsIn, sessionsKept, utterancesIn, utterancesKept, charactersIn, charactersKept,
        score is null || double.IsInfinity(score.Threshold) ? null : score.Threshold, deciles, [.. rules.Values]);

    private ScoreParts Measure(Document part) => SessionScore.Measure(part.Turns, model, recipe);

    private IEnumerable<Document> Parts(Document document, bool counting)
    {
        var part = new List<int>();
        var texts = new string[document.Turns.Count];
        var number = 0;
        for (var i = 0; i <= document.Turns.Count; i++)
        {
            if (i < document.Turns.Count && Cleaned(document.Turns[i], counting) is { } text)
            {
                texts[i] = text;
                part.Add(i);
                continue;
            }
            if (Whole(part, texts, counting))
            {
                yield return document with
                {
                    Scene = number == 0 ? document.Scene : $"{document.Scene}.{number}",
                    Turns = [.. part.Select(p => texts[p])],
                    Speakers = document.Speakers is { } speakers ? [.. part.Select(p => speakers[p])] : null,
                };
                number++;
            }
            part.Clear();
        }
    }

    private string? Cleaned(string turn, bool counting)
    {
        var cleaned = chain.Clean(turn);
        if (counting)
        {
            foreach (var (rule, before, after) in cleaned.Rewrites.Where(r => r.After is not null))
            {
                var count = Rule(rule);
                count.Rewritten++;
                count.CharactersRemoved += before.Length - after!.Length;
                count.Show(before, after, ref random);
            }
        }
        var broken = cleaned.EmptiedBy ?? sessions.Broken(cleaned.Text!);
        if (broken is null) return cleaned.Text;
        if (counting) Drop(broken, turn);
        return null;
    }

    private bool Whole(List<int> part, string[] texts, bool counting)
    {
        if (part.Count == 0) return false;
        var reason = part.Count < 2 ? SessionRules.Alone : sessions.AllSame([.. part.Select(p => texts[p])]) ? SessionRules.Same : null;
        if (reason is not null && counting)
            foreach (var p in part) Drop(reason, texts[p]);
        return reason is null;
    }

    private void Drop(string rule, string text, bool show = true, string? shown = null)
    {
        var count = Rule(rule);
        count.Dropped++;
        count.CharactersRemoved += text.Length;
        if (show) count.Show(shown ?? text, null, ref random);
    }

    private RuleCount Rule(string name) => rules.TryGetValue(name, out var count) ? count : rules[name] = new RuleCount(name);
}
