using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Methods;
using Chat.Training.Recipes;

namespace Chat.Tests.Training;

[Collection(nameof(SerialTorch))]
public sealed class ExportTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("export-").FullName;
    private static readonly CorpusFolder Corpora = new("nowhere");
    private static readonly PluginCatalog Plugins = new(typeof(TrainingRun).Assembly);

    public void Dispose() => Directory.Delete(root, recursive: true);

    private static TrainingRecipe Recipe(string name) => new(name, 5, new TokenizerRecipe(300, new Dictionary<string, long> { ["small-talk-en"] = 20_000 }),
        new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16), "^Liberty/", ["wesnoth-en"], [new("only", "token-mean", 1, 600, 0.003, [new MixtureRecipe("small-talk-en", "dialogue", 1)], 40, 24)],
        Card: new(name, "free", "small", new() { ["strategy"] = "greedy" }));

    private string Made(TrainingRecipe recipe)
    {
        new TrainingRun(recipe.Checked(), $"hash of {recipe.Name}", root, Corpora, Plugins, TimeProvider.System).Follow(null, null, default);
        var folder = Path.Combine(root, "models", recipe.Name);
        new ModelExport(root, Corpora, TimeProvider.System).Write(recipe, folder, name => throw new InvalidOperationException($"{name} is no run"), "commit");
        return folder;
    }

    [Fact]
    public void A_card_says_what_the_folder_it_started_from_learnt_from()
    {
        var first = Made(Recipe("first"));
        var second = Made(Recipe("second") with
        {
            Start = first, Tokenizer = new(From: first),
            Stages = [new("only", "kd", 1, 600, 0.003, [new MixtureRecipe("small-talk-zh", "dialogue", 1)], 40, 24, Distil: new(Teacher: first, TextWeight: 1, Text: [new("wesnoth-zh", "dialogue", 1)]))],
        });

        var card = ModelFolder.Open(second).Card;
        Assert.Equal(["hash of first", "hash of second"], card["training"]!.AsArray().Select(t => (string)t!["recipeSha256"]!));
        Assert.Equal(["small-talk-en", "small-talk-zh", "wesnoth-zh"], card["data"]!.AsArray().Select(t => (string)t!["corpus"]!));
    }
}
