namespace Chat.Training.Evaluation.Cuge;

/// <summary>How scores become one index. Indices of different modes must never be compared.</summary>
public enum IndexMode
{
    /// <summary>The text of the report: each dataset as a share of the baseline's score, then means of means. One easy win over a weak baseline can carry it.</summary>
    NormalizedMean,

    /// <summary>What the published board really shows: the sum of the capabilities' raw scores over the baseline's sum. What is measured in large numbers carries it.</summary>
    RatioOfSums,

    /// <summary>Geometric means of the shares: which of two models is ahead does not depend on the baseline.</summary>
    GeometricMean,
}

/// <summary>A level's score, the baseline being 100; <c>null</c> where a dataset below it is missing.</summary>
public sealed record LevelScore(string Name, double? Score, IReadOnlyList<LevelScore> Parts);

/// <param name="Index">100 for the baseline; <c>null</c> where a dataset is missing: an index of part of a benchmark is none.</param>
public sealed record CugeResult(IndexMode Mode, double? Index, IReadOnlyList<LevelScore> Capabilities);

/// <summary>
/// Scores of datasets by metric, in the units of the baseline's (percent, as published, or shares: only ratios count, but <see cref="IndexMode.RatioOfSums"/>
/// adds them up over capabilities). Lower-is-better metrics enter inverted.
/// </summary>
public static class CugeIndex
{
    /// <summary>Metrics of which less is better.</summary>
    public static IReadOnlySet<string> LowerIsBetter { get; } = new HashSet<string> { "perplexity", "nll" };

    /// <exception cref="InvalidDataException">A baseline score that is missing or 0, or a score that is negative or no number: the message names dataset and metric.</exception>
    public static CugeResult Compute(
        CugeHierarchy hierarchy, IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> scores, IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> baseline, IndexMode mode)
    {
        var capabilities = hierarchy.Capabilities.Select(c => Level(c.Name, mode, [.. c.Tasks.Select(t =>
            Level(t.Name, mode, [.. t.Datasets.Select(d => Dataset(d, scores, baseline, mode))]))])).ToArray();
        return new CugeResult(mode, Mean(mode, capabilities)?.Score, [.. capabilities.Select(Plain)]);
    }

    /// <summary>Scores as the board prints them, one figure a dataset, for every metric the dataset has.</summary>
    public static IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> OfBoard(CugeHierarchy hierarchy, CugeBoardRow row) => row.Scores.ToDictionary(s => s.Key,
        s => (IReadOnlyDictionary<string, double>)hierarchy.Datasets.Single(d => d.Name == s.Key).Metrics.ToDictionary(m => m, _ => s.Value));

    /// <summary>A level with its raw scores, model's and baseline's, which only <see cref="IndexMode.RatioOfSums"/> carries upwards.</summary>
    private sealed record Node(string Name, double Score, double Raw, double Base, IReadOnlyList<Node> Parts);

    private static Node Level(string name, IndexMode mode, Node[] parts) => Mean(mode, parts) is { } mean
        ? mean with { Name = name, Parts = parts }
        : new Node(name, double.NaN, double.NaN, double.NaN, parts);

    private static Node? Mean(IndexMode mode, Node[] parts)
    {
        if (parts.Any(p => double.IsNaN(p.Score))) return null;
        var (raw, of) = (parts.Average(p => p.Raw), parts.Average(p => p.Base));
        var score = mode switch
        {
            IndexMode.NormalizedMean => parts.Average(p => p.Score),
            IndexMode.RatioOfSums => 100 * raw / of,
            IndexMode.GeometricMean => 100 * Math.Exp(parts.Average(p => Math.Log(p.Score / 100))),
            _ => throw new ArgumentOutOfRangeException(nameof(mode)),
        };
        return new Node("", score, raw, of, parts);
    }

    private static Node Dataset(
        CugeDataset dataset, IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> scores, IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> baseline, IndexMode mode)
    {
        if (scores.GetValueOrDefault(dataset.Name) is not { } own || dataset.Metrics.Any(m => !own.ContainsKey(m))) return new Node(dataset.Name, double.NaN, double.NaN, double.NaN, []);
        var metrics = dataset.Metrics.Select(metric =>
        {
            var of = Checked(dataset, metric, baseline.GetValueOrDefault(dataset.Name)?.TryGetValue(metric, out var b) == true ? b : 0, "the baseline's", least: double.Epsilon);
            var score = Checked(dataset, metric, own[metric], "the model's", LowerIsBetter.Contains(metric) ? double.Epsilon : 0);
            if (LowerIsBetter.Contains(metric)) (score, of) = (1 / score, 1 / of);
            return new Node(metric, 100 * score / of, score, of, []);
        }).ToArray();
        return Mean(mode, metrics)! with { Name = dataset.Name, Parts = [] };
    }

    private static double Checked(CugeDataset dataset, string metric, double score, string whose, double least) => double.IsFinite(score) && score >= least ? score
        : throw new InvalidDataException($"{dataset.Name}, {metric}: {whose} score is {score}{(least > 0 ? "; it must be above 0, as nothing can be a share of 0" : "; it must not be negative")}.");

    private static LevelScore Plain(Node node) => new(node.Name, double.IsNaN(node.Score) ? null : node.Score, [.. node.Parts.Select(Plain)]);
}
