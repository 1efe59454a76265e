using Chat.Training.Evaluation.Cuge;
using Chat.Training.Recipes;
using Scores = System.Collections.Generic.IReadOnlyDictionary<string, System.Collections.Generic.IReadOnlyDictionary<string, double>>;

namespace Chat.Tests.Training.Evaluation;

public class CugeIndexTests
{
    private static readonly CugeHierarchy Published = CugeHierarchy.Published();
    private static readonly CugeHierarchy Lite = Published.Lite();
    private static readonly IndexMode[] Modes = Enum.GetValues<IndexMode>();

    private static Scores Board(string model) => CugeIndex.OfBoard(Published, Published.Board.Single(r => r.Model == model));

    private static double Index(string model, IndexMode mode) => CugeIndex.Compute(Lite, Board(model), Board("mT5-small"), mode).Index!.Value;

    /// <summary>One metric a dataset, all named «m».</summary>
    private static CugeHierarchy Tree(params string[][][] capabilities) => new("test",
        [.. capabilities.Select((c, i) => new CugeCapability($"c{i}", [.. c.Select((t, j) => new CugeTask($"t{i}{j}", [.. t.Select(d => new CugeDataset(d, ["m"], "", ""))]))]))], []);

    private static Scores Of(params (string, double)[] scores) => scores.ToDictionary(s => s.Item1, s => (IReadOnlyDictionary<string, double>)new Dictionary<string, double> { ["m"] = s.Item2 });

    [Fact]
    public void The_hierarchy_is_the_reports()
    {
        Assert.Equal((7, 18, 21), (Published.Capabilities.Count, Published.Capabilities.Sum(c => c.Tasks.Count), Published.Datasets.Count()));
        Assert.Equal([6, 3, 3, 2, 1, 2, 1], Published.Capabilities.Select(c => c.Tasks.Count));
        Assert.Equal([7, 4, 3, 3, 1, 2, 1], Published.Capabilities.Select(c => c.Tasks.Sum(t => t.Datasets.Count)));
        Assert.Equal(["CCPM", "C3", "Sogou-Log", "LCSTS", "KdConv", "WMT20-EnZh", "Math23k"], Lite.Datasets.Select(d => d.Name));
        Assert.Equal(7, Lite.Capabilities.Count);
    }

    [Fact]
    public void Weights_are_the_product_formula_and_sum_to_one()
    {
        var weights = Published.Weights();

        Assert.Equal(1, weights.Values.Sum(), 12);
        Assert.Equal(1.0 / 84, weights["PKU-SEG"], 12);
        Assert.Equal(1.0 / 7, weights["KdConv"], 12);
    }

    [Theory]
    [InlineData("mT5-large", 117.41, 124.33, 121.76), InlineData("mT5-XXL", 151.91, 183.26, 166.54), InlineData("CPM-2", 157.28, 194.03, 173.33)]
    public void The_published_board(string model, double sums, double mean, double geometric)
    {
        Assert.InRange(Index(model, IndexMode.RatioOfSums), sums - 0.01, sums + 0.01);
        Assert.InRange(Index(model, IndexMode.NormalizedMean), mean - 0.01, mean + 0.01);
        Assert.InRange(Index(model, IndexMode.GeometricMean), geometric - 0.01, geometric + 0.01);
        Assert.Equal(Published.Board.Single(r => r.Model == model).Printed, Math.Round(Index(model, IndexMode.RatioOfSums)));
    }

    [Fact]
    public void The_baseline_is_a_hundred_in_every_mode_on_every_level()
    {
        var baseline = Board("mT5-small");
        foreach (var mode in Modes)
        {
            var result = CugeIndex.Compute(Lite, baseline, baseline, mode);
            Assert.Equal(100, result.Index!.Value, 9);
            Assert.All(result.Capabilities.SelectMany(c => c.Parts.Append(c).Concat(c.Parts.SelectMany(t => t.Parts))), level => Assert.Equal(100, level.Score!.Value, 9));
        }
    }

    [Fact]
    public void A_metrics_unit_matters_to_the_ratio_of_sums_alone()
    {
        var tree = Tree([["a"]], [["b"]]);

        double Of(double unit, IndexMode mode) => CugeIndex.Compute(tree, CugeIndexTests.Of(("a", 3 * unit), ("b", 5)), CugeIndexTests.Of(("a", 2 * unit), ("b", 4)), mode).Index!.Value;

        Assert.Equal(Of(1, IndexMode.NormalizedMean), Of(100, IndexMode.NormalizedMean), 9);
        Assert.Equal(Of(1, IndexMode.GeometricMean), Of(100, IndexMode.GeometricMean), 9);
        Assert.NotEqual(Of(1, IndexMode.RatioOfSums), Of(100, IndexMode.RatioOfSums), 3);
    }

    [Fact]
    public void A_better_dataset_betters_its_task_its_capability_and_the_index()
    {
        var tree = Tree([["a", "b"], ["c"]], [["d"]]);
        var baseline = Of(("a", 2), ("b", 3), ("c", 4), ("d", 5));
        foreach (var mode in Modes)
        {
            var before = CugeIndex.Compute(tree, Of(("a", 2), ("b", 4), ("c", 5), ("d", 6)), baseline, mode);
            var after = CugeIndex.Compute(tree, Of(("a", 2.5), ("b", 4), ("c", 5), ("d", 6)), baseline, mode);

            Assert.True(after.Index > before.Index && after.Capabilities[0].Score > before.Capabilities[0].Score && after.Capabilities[0].Parts[0].Score > before.Capabilities[0].Parts[0].Score);
            Assert.Equal(before.Capabilities[1].Score, after.Capabilities[1].Score);
        }
    }

    [Fact]
    public void An_only_child_passes_its_score_on_and_twins_change_nothing()
    {
        foreach (var mode in Modes)
        {
            var single = CugeIndex.Compute(Tree([["a"]]), Of(("a", 3)), Of(("a", 2)), mode);
            var twins = CugeIndex.Compute(Tree([["a", "b"]]), Of(("a", 3), ("b", 3)), Of(("a", 2), ("b", 2)), mode);

            Assert.All([single.Index, single.Capabilities[0].Score, single.Capabilities[0].Parts[0].Score, single.Capabilities[0].Parts[0].Parts[0].Score, twins.Index], s => Assert.Equal(150, s!.Value, 9));
        }
    }

    [Fact]
    public void The_geometric_mean_is_never_above_the_arithmetic_one() =>
        Assert.All(Published.Board, row => Assert.True(Index(row.Model, IndexMode.GeometricMean) <= Index(row.Model, IndexMode.NormalizedMean) + 1e-9));

    [Fact]
    public void Only_the_geometric_order_does_not_depend_on_the_baseline()
    {
        var tree = Tree([["a"]], [["b"]]);
        var (x, y) = (Of(("a", 9), ("b", 2)), Of(("a", 3), ("b", 5)));
        double Lead(Scores baseline, IndexMode mode) => CugeIndex.Compute(tree, x, baseline, mode).Index!.Value - CugeIndex.Compute(tree, y, baseline, mode).Index!.Value;
        var (first, second) = (Of(("a", 1), ("b", 1)), Of(("a", 9), ("b", 1)));

        Assert.True(Lead(first, IndexMode.NormalizedMean) > 0 && Lead(second, IndexMode.NormalizedMean) < 0);
        Assert.True(Lead(first, IndexMode.GeometricMean) > 0 && Lead(second, IndexMode.GeometricMean) > 0);
    }

    [Fact]
    public void The_order_of_two_models_can_depend_on_the_mode()
    {
        var tree = Tree([["large"]], [["small"]]);
        var baseline = Of(("large", 50), ("small", 1));
        var (x, y) = (Of(("large", 80), ("small", 1)), Of(("large", 50), ("small", 2)));
        double Lead(IndexMode mode) => CugeIndex.Compute(tree, x, baseline, mode).Index!.Value - CugeIndex.Compute(tree, y, baseline, mode).Index!.Value;

        Assert.True(Lead(IndexMode.RatioOfSums) > 0 && Lead(IndexMode.NormalizedMean) < 0);
    }

    [Theory]
    [InlineData(10.6, 70.2, 10.2, 32.3, 160.6), InlineData(36.3, 35.5, 29.2, 29.2, 122.9)]
    public void Two_metrics_of_a_dataset_are_averaged_as_shares(double first, double second, double firstBase, double secondBase, double expected)
    {
        var tree = new CugeHierarchy("test", [new("c", [new("t", [new("d", ["x", "y"], "", "")])])], []);
        static Scores Two(double x, double y) => new Dictionary<string, IReadOnlyDictionary<string, double>> { ["d"] = new Dictionary<string, double> { ["x"] = x, ["y"] = y } };

        Assert.InRange(CugeIndex.Compute(tree, Two(first, second), Two(firstBase, secondBase), IndexMode.NormalizedMean).Index!.Value, expected - 0.1, expected + 0.1);
    }

    [Fact]
    public void A_missing_dataset_leaves_its_capability_and_the_index_open()
    {
        var tree = Tree([["a", "b"]], [["c"]]);
        foreach (var mode in Modes)
        {
            var result = CugeIndex.Compute(tree, Of(("a", 3), ("c", 3)), Of(("a", 2), ("b", 2), ("c", 2)), mode);

            Assert.Null(result.Index);
            Assert.Null(result.Capabilities[0].Score);
            Assert.Equal(150, result.Capabilities[0].Parts[0].Parts[0].Score!.Value, 9);
            Assert.Equal(150, result.Capabilities[1].Score!.Value, 9);
        }
    }

    [Fact]
    public void A_baseline_of_zero_is_refused_and_losses_are_turned_over()
    {
        var error = Assert.Throws<InvalidDataException>(() => CugeIndex.Compute(Tree([["a"]]), Of(("a", 3)), Of(("a", 0)), IndexMode.NormalizedMean));
        Assert.Contains("a, m", error.Message);
        Assert.Throws<InvalidDataException>(() => CugeIndex.Compute(Tree([["a"]]), Of(("a", double.NaN)), Of(("a", 1)), IndexMode.NormalizedMean));

        var tree = new CugeHierarchy("test", [new("c", [new("t", [new("d", ["perplexity"], "", "")])])], []);
        static Scores Perplexity(double p) => new Dictionary<string, IReadOnlyDictionary<string, double>> { ["d"] = new Dictionary<string, double> { ["perplexity"] = p } };
        Assert.All(Modes, mode => Assert.Equal(200, CugeIndex.Compute(tree, Perplexity(10), Perplexity(20), mode).Index!.Value, 9));
    }

    [Fact]
    public void A_score_of_zero_is_zero_and_not_an_error() =>
        Assert.All(Modes, mode => Assert.Equal(0, CugeIndex.Compute(Tree([["a"]]), Of(("a", 0)), Of(("a", 1)), mode).Index!.Value, 9));

    [Fact]
    public void A_dataset_that_stands_twice_is_refused()
    {
        const string dataset = """{ "name": "a", "metrics": ["m"], "size": "", "domain": "" }""";
        using var file = new TemporaryFile($$"""{ "version": "x", "board": [], "capabilities": [{ "name": "c", "tasks": [{ "name": "t", "datasets": [{{dataset}}, {{dataset}}] }] }] }""");

        Assert.Contains("'a'", Assert.Throws<RecipeException>(() => CugeHierarchy.Read(file.Path)).Message);
    }
}
