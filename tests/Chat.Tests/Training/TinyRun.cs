using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Domain.Plugins;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Recipes;

namespace Chat.Tests.Training;

/// <summary>Runs that take a second, from texts that come with the program.</summary>
internal static class TinyRun
{
    public static CorpusFolder Corpora => new("no data folder: the corpora that come with the program do");
    public static PluginCatalog Plugins => new(typeof(TrainingRun).Assembly);

    public static TrainingRecipe Recipe(string name) => new(name, 5, new TokenizerRecipe(300, new Dictionary<string, long> { ["small-talk-en"] = 20_000 }),
        new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16), "^Liberty/", ["wesnoth-en"],
        [Stage("first") with { Accumulate = 2 }, Stage("second") with { Steps = 4, Method = "sample-mean" }]);

    public static StageRecipe Stage(string name) => new(name, "token-mean", 9, 600, 0.003, [new MixtureRecipe("small-talk-en", "dialogue", 1)], 40, 24, Warmup: 3, Dropout: 0.1, ValidateEvery: 6, SaveEvery: 3);

    /// <summary>A run of one distilling stage of nine steps, whose teacher is the run <c>teacher</c>.</summary>
    public static TrainingRecipe Distilled(string name, string objective, string distil) => Recipe(name) with
    {
        Tokenizer = new(From: "teacher"),
        Stages = [Stage("only") with { Method = objective, Dropout = 0, SaveEvery = 2, Distil = JsonSerializer.Deserialize<DistilRecipe>(distil, RecipeFile.Json) }],
    };

    public static RunState Follow(TrainingRecipe recipe, string runs, Action<TrainingProgress>? report = null, Action<string>? say = null, string hash = "hash", TimeProvider? time = null, CancellationToken stop = default) =>
        new TrainingRun(recipe.Checked(), hash, runs, Corpora, Plugins, time ?? TimeProvider.System).Follow(say, report, stop);

    /// <summary>The journal of <see cref="Recipe"/> that nothing happened to.</summary>
    public static string[] Unbroken => UnbrokenOnce.Value;

    private static readonly Lazy<string[]> UnbrokenOnce = new(() =>
    {
        var runs = Directory.CreateTempSubdirectory("unbroken-").FullName;
        try
        {
            Follow(Recipe("whole"), runs);
            return Lines(runs, "whole");
        }
        finally
        {
            Directory.Delete(runs, recursive: true);
        }
    });

    /// <summary>A run's journal without what depends on the clock.</summary>
    public static string[] Lines(string runs, string name) => [.. File.ReadAllLines(Path.Combine(runs, name, "journal.jsonl")).Select(line =>
    {
        var entry = JsonNode.Parse(line)!.AsObject();
        entry.Remove("tokensPerSecond");
        entry.Remove("seconds");
        return entry.ToJsonString();
    })];
}
