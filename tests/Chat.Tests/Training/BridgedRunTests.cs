using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using Chat.Training.Evaluation;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using TorchSharp;
using static Chat.Tests.Training.TinyRun;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

/// <summary>Whole runs, from the recipe to the exported folder, whose teacher has the student's tokens under other ids.</summary>
[Collection(nameof(SerialTorch))]
public sealed class BridgedRunTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("bridged-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    /// <summary>MiniLLM asks everything of a bridge: it mixes the teacher in where replies are written, has it judge single tokens, and takes its whole law.</summary>
    [Theory]
    [InlineData("minillm", """{"replies":24,"epochs":2,"text":[{"corpus":"small-talk-zh","as":"continuation","weight":1}]}""")]
    [InlineData("seqkd", "{}")]
    public void A_run_with_a_teacher_of_permuted_ids_is_the_run_with_the_plain_one_up_to_rounding(string objective, string distil)
    {
        Follow(Recipe("teacher"), root);
        var plain = new RunFolder(Path.Combine(root, "teacher"));
        using var model = plain.LoadModel(ScalarType.BFloat16);
        var order = RandomOrder(model.Config.VocabularySize);
        var (near, far) = (Run("near", objective, distil, Folder("plain", model, plain.Tokenizer, null), bridge: false), Run("far", objective, distil, Folder("permuted", model, plain.Tokenizer, order), bridge: true));

        Assert.Equal(near.Length, far.Length);
        Assert.Contains(near, line => line.Key.EndsWith(objective == "minillm" ? "reward" : "loss", StringComparison.Ordinal));
        Assert.Contains(near, line => line.Key.Contains("validation", StringComparison.Ordinal));
        foreach (var (expected, found) in near.Zip(far))
        {
            Assert.Equal(expected.Key, found.Key);
            Assert.Equal(expected.Value, found.Value, 1e-3 * Math.Max(1, Math.Abs(expected.Value)));
        }
        var refused = Assert.Throws<RecipeException>(() => Run("unbridged", objective, distil, Path.Combine(root, "permuted"), bridge: false));
        Assert.Contains("bridge the two", refused.Message, StringComparison.Ordinal);
    }

    /// <returns>Every figure of the journal, the replies' mean length among them, that does not depend on the clock; the exported model opens and has the student's vocabulary.</returns>
    private KeyValuePair<string, double>[] Run(string name, string objective, string distil, string teacher, bool bridge)
    {
        var json = JsonNode.Parse(distil)!.AsObject();
        json["teacher"] = teacher;
        if (bridge) json["bridge"] = "tokens";
        var recipe = Distilled(name, objective, json.ToJsonString()) with { Card = new(name, "free", "A test's.", new() { ["strategy"] = "greedy" }, Teacher: "teacher") };
        Follow(recipe, root);
        var folder = Path.Combine(root, "models", name);
        new ModelExport(root, Corpora, TimeProvider.System).Write(recipe, folder, other => throw new InvalidOperationException($"{other} is no run"), "commit");
        using var made = ModelFolder.Open(folder).LoadModel();
        Assert.Equal(File.ReadAllText(Path.Combine(root, "teacher", "tokenizer.json")), File.ReadAllText(Path.Combine(folder, "tokenizer.json")));
        return [.. Lines(root, name).SelectMany((line, n) => Figures($"{n}", JsonNode.Parse(line)!))];
    }

    private static IEnumerable<KeyValuePair<string, double>> Figures(string place, JsonNode node) => node switch
    {
        JsonObject parts => parts.SelectMany(part => part.Value is null ? [] : Figures($"{place}/{part.Key}", part.Value)),
        JsonValue value when value.TryGetValue<double>(out var number) => [new(place, number)],
        _ => [],
    };

    /// <summary>Place i holds the old id of the new id i; no special token stays where it was.</summary>
    private static int[] RandomOrder(int size)
    {
        var order = Enumerable.Range(0, size).ToArray();
        RandomStream.Of(3, "permuted", 0).Shuffle(order.AsSpan());
        Assert.All(Enumerable.Range(0, 4), id => Assert.NotEqual(id, order[id]));
        return order;
    }

    /// <summary>A model folder of the teacher, its ids in another order where one is given.</summary>
    private string Folder(string name, EncoderDecoder model, string tokenizer, int[]? order)
    {
        var folder = Directory.CreateDirectory(Path.Combine(root, name)).FullName;
        var (config, vocabulary) = (model.Config, JsonNode.Parse(File.ReadAllText(tokenizer))!);
        if (order is not null)
        {
            int Of(int old) => Array.IndexOf(order, old);
            config = config with { Start = Of(config.Start), Separator = Of(config.Separator), Pad = Of(config.Pad) };
            foreach (var token in vocabulary["added_tokens"]!.AsArray()) token!["id"] = Of((int)token["id"]!);
            var ids = vocabulary["model"]!["vocab"]!.AsObject();
            foreach (var (token, id) in ids.ToArray()) ids[token] = Of((int)id!);
        }
        using (var made = new EncoderDecoder(config, 1, dtype: ScalarType.BFloat16))
        {
            using var gradients = no_grad();
            foreach (var (given, copied) in model.named_parameters().Zip(made.named_parameters()))
                copied.parameter.copy_(order is not null && given.parameter.shape[0] == order.Length ? given.parameter.index_select(0, tensor(Array.ConvertAll(order, id => (long)id))) : given.parameter);
            EvaWeights.Save(made, Path.Combine(folder, Checkpoint.SingleFile), dtype: ScalarType.BFloat16);
        }
        File.WriteAllText(Path.Combine(folder, ModelFolder.ConfigFileName), config.ToJson());
        File.WriteAllText(Path.Combine(folder, TokenizerFiles.HuggingFace), vocabulary.ToJsonString());
        return folder;
    }
}
