using System.Text.Json.Nodes;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Cuge;
using Chat.Training.Evaluation.Metrics;

namespace Chat.Tests.Training.Evaluation;

public class CugeRunTests
{
    private static readonly CugeHierarchy Tree = new("test", [new("a", [new("ta", [new("da", ["accuracy"], "", "")])]), new("b", [new("tb", [new("db", ["bleu", "distinct"], "", "")])])], []);

    /// <summary>So many of ten questions right; ten replies of which some are alike.</summary>
    private static CugeRun Run(string model, int right, int alike)
    {
        CugeItem[] questions = [.. Enumerable.Range(0, 10).Select(i => new CugeItem(["q"], [], ["x", "y"], i % 2))];
        CugeItem[] prompts = [.. Enumerable.Range(0, 10).Select(i => new CugeItem(["p"], [$"回答是第{(char)('甲' + i)}个字"]))];
        CugeAnswer[] replies = [.. prompts.Select((p, i) => CugeAnswer.Written(i < alike ? "都是一样的话呀" : p.References[0]))];
        return new CugeRun(model, new Dictionary<string, CugeDatasetRun>
        {
            ["da"] = new(CugeScorers.Accuracy(questions, [.. questions.Select((q, i) => CugeAnswer.Chosen(i < right ? q.Answer : 1 - q.Answer))]), 10),
            ["db"] = new(CugeScorers.BleuAndDistinct(prompts, replies), 10),
        });
    }

    [Fact]
    public void A_model_leads_itself_by_nothing_and_a_worse_one_by_more_than_nothing()
    {
        var (good, bad) = (Run("good", 9, 2), Run("bad", 3, 7));
        foreach (var mode in Enum.GetValues<IndexMode>())
        {
            Assert.Equal(new Interval(0, 0, 0, 20), good.Lead(good, Tree, bad.Scores(), mode, 1, draws: 50));
            Assert.True(good.Lead(bad, Tree, bad.Scores(), mode, 1, draws: 200)!.Low > 0);
        }
    }

    [Fact]
    public void The_index_lies_in_its_interval_and_the_baseline_is_a_hundred()
    {
        var run = Run("model", 6, 3);
        foreach (var mode in Enum.GetValues<IndexMode>())
        {
            var index = run.Index(Tree, run.Scores(), mode, 1, draws: 200)!;
            Assert.Equal(100, index.Value, 9);
            Assert.InRange(index.Value, index.Low, index.High);
        }
        Assert.Null(run.Index(Tree with { Capabilities = [.. Tree.Capabilities, new("c", [new("tc", [new("dc", ["m"], "", "")])])] }, run.Scores(), IndexMode.RatioOfSums, 1));
    }

    [Fact]
    public async Task Choices_are_ordered_by_likelihood_a_token()
    {
        CugeItem[] items = [new(["q"], [], ["aaaa", "b", "cc"], 1), new(["q"], [], ["b", "aaaa"], 0)];

        var answers = await CugeAnswering.AnswerAsync(AnswerKind.Choice, items, null!, new LengthIsDear(), _ => { }, default);

        Assert.Equal([[1, 2, 0], [0, 1]], answers.Select(a => a.Order));
    }

    [Fact]
    public void A_report_has_everything_in_three_files()
    {
        using var folder = new TemporaryFolder();
        CugeRun[] runs = [Run("one", 5, 5), Run("two", 8, 2)];

        new CugeReport(Tree, runs, "one", runs[0].Scores(), new Dictionary<string, string> { ["da"] = "ten questions" }, 1).Write(folder.Path);

        var json = JsonNode.Parse(File.ReadAllText(folder.At("cuge.json")))!;
        Assert.Equal(100, (double)json["models"]!["one"]!["index"]!["NormalizedMean"]!["value"]!, 3);
        Assert.Equal(80, (double)json["models"]!["two"]!["scores"]!["da"]!["accuracy"]!["value"]!, 3);
        var markdown = File.ReadAllText(folder.At("cuge.md"));
        Assert.Contains("ten questions", markdown);
        Assert.Contains("| a | 100.0 | 160.0 |", markdown);
        Assert.Equal([0x89, (byte)'P', (byte)'N', (byte)'G'], File.ReadAllBytes(folder.At("cuge.png"))[..4]);
    }

    [Fact]
    public void Scores_are_reported_though_a_dataset_is_missing_or_the_baseline_is_nothing()
    {
        using var folder = new TemporaryFolder();
        var more = Tree with { Capabilities = [.. Tree.Capabilities, new("c", [new("tc", [new("dc", ["m"], "", "")])])] };
        CugeRun[] runs = [Run("one", 5, 5)], nothing = [Run("none", 0, 5)];

        Assert.Null(new CugeReport(more, runs, "one", runs[0].Scores(), new Dictionary<string, string>(), 1).Write(folder.At("open")));
        var refusal = new CugeReport(Tree, nothing, "none", nothing[0].Scores(), new Dictionary<string, string>(), 1).Write(folder.At("refused"));

        Assert.Contains("da, accuracy", refusal!);
        var open = File.ReadAllText(folder.At("open/cuge.md"));
        foreach (var part in (string[])["| one | – | – | – |", "| c | – |", "| dc, m | missing |", "| da, accuracy | 10 | 50.0 |"]) Assert.Contains(part, open);
        Assert.DoesNotContain("cuge.png", open);
        Assert.False(File.Exists(folder.At("open/cuge.png")) || File.Exists(folder.At("refused/cuge.png")));
        Assert.Contains("There is no index: da, accuracy", File.ReadAllText(folder.At("refused/cuge.md")));
        Assert.Contains("| db, distinct | 10 |", File.ReadAllText(folder.At("refused/cuge.md")));
    }

    [Fact]
    public void Mini_covers_every_capability_and_follows_from_its_seed()
    {
        var (chinese, english) = (Scenes("zh"), Scenes("en"));

        var (sets, again, others) = (CugeMini.Create(chinese, english, 1), CugeMini.Create(chinese, english, 1), CugeMini.Create(chinese, english, 2));

        Assert.Equal(CugeHierarchy.Published().Capabilities.Select(c => c.Name), CugeMini.Hierarchy().Capabilities.Select(c => c.Name));
        Assert.Equal(CugeMini.Hierarchy().Datasets.Select(d => d.Name), sets.Select(s => s.Name));
        Assert.Equivalent(sets.Select(s => s.Items), again.Select(s => s.Items));
        Assert.NotEqual(sets[1].Items[0].Choices, others[1].Items[0].Choices);
        foreach (var (set, dataset) in sets.Zip(CugeMini.Hierarchy().Datasets))
        {
            CugeAnswer[] answers = [.. set.Items.Select(i => i.Choices is null ? CugeAnswer.Written(i.References[0]) : CugeAnswer.Chosen([i.Answer, .. Enumerable.Range(0, i.Choices.Count).Where(c => c != i.Answer)]))];
            var figures = set.Score(set.Items, answers);
            Assert.Subset(figures.Select(f => f.Name).ToHashSet(), dataset.Metrics.ToHashSet());
            Assert.All(figures.Where(f => f.Name is not ("distinct" or "bleu")), f => Assert.Equal(1, f.Value(Bootstrap.All(set.Items.Count)), 12));
            Assert.All(set.Items, i => Assert.True(i.Turns.Count > 0 && (i.Choices is null || i.Choices.Distinct().Count() == i.Choices.Count)));
        }
        var places = sets.Single(s => s.Name == "next-turn").Items.CountBy(i => i.Answer).ToDictionary();
        Assert.All(Enumerable.Range(0, 4), place => Assert.InRange(places[place], 20, 80));
        Assert.Throws<InvalidDataException>(() => CugeMini.Create(chinese[..5], english, 1));
    }

    [Fact]
    public void Sums_are_right() =>
        Assert.All(CugeMini.Create(Scenes("zh"), Scenes("en"), 1).Single(s => s.Name == "addition").Items, item =>
        {
            const string digits = "零一二三四五六七八九十";
            var parts = item.Turns[0].Split('加', '等').Take(2).Select(p => digits.IndexOf(p, StringComparison.Ordinal)).ToArray();
            var right = item.Choices![item.Answer];
            Assert.Equal(parts.Sum(), right == "二十" ? 20 : right.Length == 2 ? 10 + digits.IndexOf(right[1]) : digits.IndexOf(right[0]));
        });

    private static Document[] Scenes(string language) => [.. Enumerable.Range(0, 300).Select(i => new Document("x", language, $"scene{i}",
        language == "zh" ? [$"第{i}幕开始了，请听", $"我是第{i}个来的人啊", $"那么请你坐在第{i}排"] : [$"Scene {i} begins", $"I came {i}th", $"Then sit in row {i}"]))];

    private sealed class LengthIsDear : IReplyLikelihood
    {
        public IReadOnlyList<double[]> LogProbabilities(IReadOnlyList<Answered> replies) => [.. replies.Select(r => r.Reply.Select(_ => -(double)r.Reply.Length).ToArray())];
    }
}
