using Chat.Training.Evaluation.Metrics;

namespace Chat.Training.Evaluation.Cuge;

/// <summary>How CUGE's datasets are judged; each figure can be asked for any selection of items, which is what intervals need.</summary>
public static class CugeScorers
{
    private const int Depth = 10;

    public static IReadOnlyList<Measure> Accuracy(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers) =>
        [new("accuracy", Statistics.Mean([.. items.Zip(answers, (item, answer) => (double?)(answer.Order[0] == item.Answer ? 1 : 0))]))];

    /// <summary>Mean of the classes' F1, as CCPM's own script has it; classes are the numbers of right choices, those nowhere right or chosen do not count.</summary>
    public static IReadOnlyList<Measure> MacroF1(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers)
    {
        var pairs = items.Zip(answers, (item, answer) => (Right: item.Answer, Said: answer.Order[0])).ToArray();
        var classes = pairs.SelectMany(p => new[] { p.Right, p.Said }).Distinct().Order().ToArray();
        return [.. Accuracy(items, answers), new("f1", units =>
        {
            var counts = classes.ToDictionary(c => c, _ => (Hits: 0, Said: 0, Right: 0));
            foreach (var unit in units)
            {
                var (right, said) = pairs[unit];
                counts[right] = counts[right] with { Right = counts[right].Right + 1 };
                counts[said] = counts[said] with { Said = counts[said].Said + 1 };
                if (right == said) counts[right] = counts[right] with { Hits = counts[right].Hits + 1 };
            }
            return counts.Values.Where(c => c.Said + c.Right > 0).Select(c => 2.0 * c.Hits / (c.Said + c.Right)).DefaultIfEmpty(0).Average();
        })];
    }

    /// <summary>F1 of the class «yes», choice 1.</summary>
    public static IReadOnlyList<Measure> PositiveF1(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers) => [.. Accuracy(items, answers), Micro("f1", 1,
        [.. items.Zip(answers, (item, answer) => (item.Answer == 1 && answer.Order[0] == 1 ? 1 : 0, answer.Order[0] == 1 ? 1 : 0, item.Answer == 1 ? 1 : 0))])];

    /// <summary>F1 of things (spans, entities, relations) found in answer and reference, counted over all items.</summary>
    /// <param name="things">The things of a text, given its item.</param>
    public static CugeScorer F1Of(Func<CugeItem, string, IReadOnlySet<string>> things) => (items, answers) => [Micro("f1", 1, [.. items.Zip(answers, (item, answer) =>
    {
        var (right, said) = (things(item, item.References[0]), things(item, answer.Text));
        return (said.Count(right.Contains), said.Count, right.Count);
    })])];

    /// <summary>
    /// F1 and F0.5 of corrections: what must be replaced to come from the source to the answer against the same for a reference, the one that agrees best. By characters, where YACLC's own M2
    /// scorer goes by THULAC's words: figures are near its, not equal.
    /// </summary>
    public static IReadOnlyList<Measure> Corrections(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers)
    {
        var counts = items.Zip(answers, (item, answer) =>
        {
            var said = TextEdits.Between(item.Source, answer.Text.Trim());
            return item.References.Select(reference => TextEdits.Between(item.Source, reference)).Select(right => (Hits: said.Count(right.Contains), Said: said.Count, Right: right.Count))
                .OrderByDescending(c => F(0.5, c.Hits, c.Said, c.Right)).ThenByDescending(c => c.Hits).ThenBy(c => c.Right).First();
        }).ToArray();
        return [Micro("f1", 1, counts), Micro("f0.5", 0.5, counts)];
    }

    /// <summary>Answers that are a reference but for blanks and marks around them.</summary>
    public static CugeScorer ExactMatch(string name) => (items, answers) =>
        [new(name, Statistics.Mean([.. items.Zip(answers, (item, answer) => (double?)(item.References.Any(r => Bare(r) == Bare(answer.Text)) ? 1 : 0))]))];

    /// <summary>Answers whose value is the reference's: a number or an expression, with or without «x=».</summary>
    public static IReadOnlyList<Measure> Value(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers) => [new("accuracy", Statistics.Mean([.. items.Zip(answers, (item, answer) =>
        (double?)(Arithmetic.Evaluate(answer.Text) is { } value && item.References.Select(Arithmetic.Evaluate).OfType<double>().Any(right => Math.Abs(value - right) <= 1e-4 * Math.Max(1, Math.Abs(right))) ? 1 : 0))]))];

    public static IReadOnlyList<Measure> Rouge(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers) => new RougeL().Prepare(Responses(items, answers));

    /// <summary>BLEU-4, and Distinct as EVA's and CPM-2's code counts it, with n = 4.</summary>
    public static IReadOnlyList<Measure> BleuAndDistinct(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers) =>
        [new Bleu().Prepare(Responses(items, answers))[0] with { Name = "bleu" }, new DistinctEva().Prepare(Responses(items, answers))[3] with { Name = "distinct" }];

    public static IReadOnlyList<Measure> BleuOnly(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers) => [BleuAndDistinct(items, answers)[0]];

    /// <summary>Mean reciprocal rank of the first relevant choice, and nDCG@10 with gains 2^grade − 1 (Burges et al. 2005).</summary>
    public static IReadOnlyList<Measure> Ranking(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers) =>
    [
        new("mrr", Statistics.Mean([.. items.Zip(answers, (item, answer) => (double?)ReciprocalRank(item.Grades!, answer.Order))])),
        new("ndcg", Statistics.Mean([.. items.Zip(answers, (item, answer) => (double?)Ndcg(item.Grades!, answer.Order))])),
    ];

    private static double ReciprocalRank(IReadOnlyList<double> grades, IReadOnlyList<int> order)
    {
        for (var rank = 0; rank < order.Count; rank++)
            if (grades[order[rank]] > 0) return 1.0 / (rank + 1);
        return 0;
    }

    private static double Ndcg(IReadOnlyList<double> grades, IReadOnlyList<int> order)
    {
        static double Gain(IEnumerable<double> sorted) => sorted.Take(Depth).Select((grade, rank) => (Math.Pow(2, grade) - 1) / Math.Log2(rank + 2)).Sum();
        var best = Gain(grades.OrderDescending());
        return best == 0 ? 0 : Gain(order.Select(choice => grades[choice])) / best;
    }

    private static Response[] Responses(IReadOnlyList<CugeItem> items, IReadOnlyList<CugeAnswer> answers) =>
        [.. items.Zip(answers, (item, answer) => new Response(answer.Text, item.References, item.Language, item.Turns))];

    private static Measure Micro(string name, double beta, (int Hits, int Said, int Right)[] counts) => new(name, units =>
    {
        var (hits, said, right) = (0, 0, 0);
        foreach (var unit in units)
        {
            hits += counts[unit].Hits;
            said += counts[unit].Said;
            right += counts[unit].Right;
        }
        return units.Length == 0 ? 0 : F(beta, hits, said, right);
    });

    /// <summary>(1 + β²) · P · R / (β² · P + R); 1 where there is nothing to find and nothing was said.</summary>
    private static double F(double beta, int hits, int said, int right) => said + right == 0 ? 1 : (1 + beta * beta) * hits / (said + beta * beta * right);

    private static string Bare(string text) => text.Trim().Trim([.. "。，、！？；：“”\"'.,!?;: 　"]);
}

/// <summary>What must be replaced where to come from one text to another, by characters.</summary>
public static class TextEdits
{
    /// <summary>Replaced stretches «start-end:new text» of a shortest way (Levenshtein 1966) that keeps what it can as early as it can; neighbouring changes are one.</summary>
    public static IReadOnlySet<string> Between(string from, string to)
    {
        var cost = new int[from.Length + 1, to.Length + 1];             // of what is left behind (i, j)
        for (var i = from.Length; i >= 0; i--)
            for (var j = to.Length; j >= 0; j--)
                cost[i, j] = i == from.Length ? to.Length - j : j == to.Length ? from.Length - i
                    : from[i] == to[j] ? cost[i + 1, j + 1] : 1 + Math.Min(cost[i + 1, j + 1], Math.Min(cost[i + 1, j], cost[i, j + 1]));

        var edits = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0, j = 0; i < from.Length || j < to.Length;)
        {
            if (i < from.Length && j < to.Length && from[i] == to[j])
            {
                i++;
                j++;
                continue;
            }
            var (start, said) = (i, j);
            while ((i < from.Length || j < to.Length) && !(i < from.Length && j < to.Length && from[i] == to[j]))
            {
                if (i < from.Length && j < to.Length && cost[i, j] == 1 + cost[i + 1, j + 1])
                {
                    i++;
                    j++;
                }
                else if (i < from.Length && cost[i, j] == 1 + cost[i + 1, j]) i++;
                else j++;
            }
            edits.Add($"{start}-{i}:{to[said..j]}");
        }
        return edits;
    }
}
