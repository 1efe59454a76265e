using Chat.Training.Evaluation.Metrics;

namespace Chat.Training.Evaluation.Cuge;

/// <summary>A dataset's figures and over how many items.</summary>
public sealed record CugeDatasetRun(IReadOnlyList<Measure> Measures, int Items);

/// <summary>What a model answered, judged: figures by dataset, which can be asked for any drawing of items.</summary>
public sealed record CugeRun(string Model, IReadOnlyDictionary<string, CugeDatasetRun> Datasets)
{
    /// <summary>Scores of all items, in percent.</summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> Scores() => Scores((_, items) => Bootstrap.All(items));

    /// <summary>The scores' intervals, in percent, by dataset and metric.</summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, Interval>> Intervals(ulong seed) => Datasets.ToDictionary(d => d.Key,
        d => (IReadOnlyDictionary<string, Interval>)d.Value.Measures.ToDictionary(m => m.Name, m => Bootstrap.Percentile(m, d.Value.Items, seed).Times(100)));

    /// <summary>
    /// The interval of the index: each dataset's items are drawn anew, the baseline stands still. <c>null</c> where a dataset is missing. Figures that drawing lowers by itself (Distinct) are
    /// moved as their own intervals are.
    /// </summary>
    public Interval? Index(CugeHierarchy hierarchy, IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> baseline, IndexMode mode, ulong seed, int draws = Bootstrap.Draws)
    {
        if (CugeIndex.Compute(hierarchy, Scores(), baseline, mode).Index is not { } value) return null;
        return Bootstrap.Between(value, [.. Drawn(hierarchy, seed, draws).Select(scores => CugeIndex.Compute(hierarchy, scores, baseline, mode).Index!.Value)], Datasets.Values.Sum(d => d.Items));
    }

    /// <summary>The interval of this model's index less another's over the same items, drawn together.</summary>
    public Interval? Lead(CugeRun other, CugeHierarchy hierarchy, IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> baseline, IndexMode mode, ulong seed, int draws = Bootstrap.Draws)
    {
        double? Of(IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> scores) => CugeIndex.Compute(hierarchy, scores, baseline, mode).Index;
        if (Of(Scores()) - Of(other.Scores()) is not { } value) return null;
        return Bootstrap.Between(value, [.. Drawn(hierarchy, seed, draws).Zip(other.Drawn(hierarchy, seed, draws), (mine, theirs) => Of(mine)!.Value - Of(theirs)!.Value)], Datasets.Values.Sum(d => d.Items));
    }

    private Dictionary<string, IReadOnlyDictionary<string, double>>[] Drawn(CugeHierarchy hierarchy, ulong seed, int draws)
    {
        var drawn = Enumerable.Range(0, draws).Select(draw => Scores((dataset, items) => Bootstrap.Draw(items, seed, draw, "cuge " + dataset))).ToArray();
        foreach (var dataset in hierarchy.Datasets)
            foreach (var measure in Datasets[dataset.Name].Measures.Where(m => m.Centred))
            {
                var move = 100 * measure.Value(Bootstrap.All(Datasets[dataset.Name].Items)) - drawn.Average(d => d[dataset.Name][measure.Name]);
                foreach (var scores in drawn)
                {
                    var figures = (Dictionary<string, double>)scores[dataset.Name];
                    figures[measure.Name] = Math.Clamp(figures[measure.Name] + move, 0, 100);
                }
            }
        return drawn;
    }

    private Dictionary<string, IReadOnlyDictionary<string, double>> Scores(Func<string, int, int[]> draw) => Datasets.ToDictionary(d => d.Key, d =>
    {
        var units = draw(d.Key, d.Value.Items);
        return (IReadOnlyDictionary<string, double>)d.Value.Measures.ToDictionary(m => m.Name, m => 100 * m.Value(units));
    });
}

/// <summary>Lets a model answer items.</summary>
public static class CugeAnswering
{
    private const int ItemsAtOnce = 32;

    /// <param name="done">Told how many more items are answered; from any thread.</param>
    public static async Task<CugeAnswer[]> AnswerAsync(AnswerKind kind, IReadOnlyList<CugeItem> items, ReplyWriter writer, IReplyLikelihood likelihood, Action<int> done, CancellationToken cancel)
    {
        if (kind == AnswerKind.Text) return [.. (await writer.AllAsync([.. items.Select(i => i.Turns)], null, () => done(1), cancel)).Select(reply => CugeAnswer.Written(reply.Text))];
        var answers = new List<CugeAnswer>(items.Count);
        foreach (var some in items.Chunk(ItemsAtOnce))
        {
            cancel.ThrowIfCancellationRequested();
            var likelihoods = likelihood.LogProbabilities([.. some.SelectMany(item => item.Choices!.Select(choice => new Answered(item.Turns, choice)))]);
            var at = 0;
            foreach (var item in some)
            {
                var means = likelihoods.Skip(at).Take(item.Choices!.Count).Select(tokens => tokens.Average()).ToArray();
                answers.Add(CugeAnswer.Chosen([.. Enumerable.Range(0, means.Length).OrderByDescending(i => means[i])]));
                at += means.Length;
            }
            done(some.Length);
        }
        return [.. answers];
    }
}
