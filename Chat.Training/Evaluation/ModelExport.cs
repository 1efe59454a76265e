using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using TorchSharp;

namespace Chat.Training.Evaluation;

/// <summary>Makes a model folder, the form that serving reads, of a run's checkpoint.</summary>
public sealed class ModelExport(string runs, CorpusFolder corpora, TimeProvider time)
{
    /// <param name="folder">Must not hold files: a model folder never changes. It is there when it is whole.</param>
    /// <param name="recipes">Recipe of the run, and of each run its weights came from, by name.</param>
    /// <param name="best">The best checkpoint, not the newest.</param>
    /// <exception cref="RecipeException">No card in the recipe, or a run without such a checkpoint.</exception>
    public void Write(TrainingRecipe recipe, string folder, Func<string, TrainingRecipe> recipes, string commit, bool best = false)
    {
        var card = recipe.Card ?? throw new RecipeException($"recipe '{recipe.Name}' has no card.");
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any()) throw new RecipeException($"folder {folder} is not empty, and a model folder never changes.");
        var trained = Chain(recipe, recipes).Reverse().ToArray();
        var begun = trained[0].Recipe.Start is { } start ? ModelFolder.Open(start).Card : null;
        var run = new RunFolder(Path.Combine(runs, recipe.Name));
        var checkpoint = !best ? null : run.Best ?? throw new RecipeException($"run '{recipe.Name}' kept no best checkpoint: its stages have neither quality nor patience.");
        if (checkpoint is not null) trained[^1] = (recipe, run.LoadState(checkpoint)!);

        var vocabulary = File.ReadAllText(run.Tokenizer);
        var config = TrainingRun.Shape(recipe.Model, TokenizerFile.Read(vocabulary).Merges.Count + 256 + TokenizerFile.Specials.Count, dropout: 0);
        var part = Path.TrimEndingDirectorySeparator(folder) + ".part";
        try
        {
            if (Directory.Exists(part)) Directory.Delete(part, recursive: true);
            Directory.CreateDirectory(part);
            using (var model = run.LoadModel(torch.ScalarType.BFloat16, checkpoint)) EvaWeights.Save(model, Path.Combine(part, Checkpoint.SingleFile), dtype: torch.ScalarType.BFloat16);
            File.WriteAllText(Path.Combine(part, ModelFolder.ConfigFileName), config.ToJson());
            File.WriteAllText(Path.Combine(part, "tokenizer.json"), vocabulary);
            File.WriteAllText(Path.Combine(part, "generation_config.json"), GenerationConfig(card, config));
            var bytes = new FileInfo(Path.Combine(part, Checkpoint.SingleFile)).Length;
            ModelCard.Write(part, ModelCard.Describe(card, recipe, config, trained, begun, corpora, commit, time.GetUtcNow(), bytes));
            if (Directory.Exists(folder)) Directory.Delete(folder);
            Directory.Move(part, folder);
        }
        finally
        {
            if (Directory.Exists(part)) Directory.Delete(part, recursive: true);
        }
    }

    private IEnumerable<(TrainingRecipe Recipe, RunState State)> Chain(TrainingRecipe recipe, Func<string, TrainingRecipe> recipes)
    {
        for (var each = recipe; each is not null; each = each.Start is { } start && TrainingRun.ModelOf(start) is null ? recipes(start) : null)
        {
            yield return (each, new RunFolder(Path.Combine(runs, each.Name)).LoadState() ?? throw new RecipeException($"run '{each.Name}' has no checkpoint in {runs}: train it first, or say where it is with --runs."));
        }
    }

    /// <summary>The default decoding as far as Hugging Face's file has keys for it.</summary>
    private static string GenerationConfig(CardRecipe card, EncoderDecoderConfig config)
    {
        var decoding = card.DefaultDecoding;
        var file = new JsonObject
        {
            ["bos_token_id"] = config.Start, ["decoder_start_token_id"] = config.Start, ["eos_token_id"] = config.Separator, ["pad_token_id"] = config.Pad,
            ["max_new_tokens"] = config.MaxReply,
        };
        if ((string?)decoding["strategy"] == "sample") file["do_sample"] = true;
        foreach (var (ours, theirs) in new[] { ("temperature", "temperature"), ("topP", "top_p"), ("topK", "top_k"), ("repetitionPenalty", "repetition_penalty"), ("numBeams", "num_beams") })
            if (decoding[ours] is { } value) file[theirs] = value.DeepClone();
        return file.ToJsonString(new JsonSerializerOptions { WriteIndented = true, IndentSize = 2 }) + "\n";
    }
}
