using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Domain.Plugins;
using Chat.Training.Recipes;
using static Chat.Tests.Training.TinyRun;

namespace Chat.Tests.Training;

/// <summary>A mistake anywhere in a recipe is named before anything is trained, the last stage's too.</summary>
[Collection(nameof(SerialTorch))]
public sealed class BrokenRecipeTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("broken-recipe-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Theory]
    [InlineData("name", "\"\"", "name ''")]
    [InlineData("name", "\"..\"", "name '..'")]
    [InlineData("name", "\"a/b\"", "name 'a/b'")]
    [InlineData("name", "null", "name")]
    [InlineData("name", "-", "name")]
    [InlineData("seed", "-1", "$.seed")]
    [InlineData("seed", "1.5", "$.seed")]
    [InlineData("heldOut", "\"^(\"", "heldOut")]
    [InlineData("validation", "[\"wesnoth-xx\"]", "wesnoth-xx")]
    [InlineData("embeddingScale", "0", "embeddingScale 0")]
    [InlineData("start", "\"nobody\"", "nobody")]
    [InlineData("sed", "1", "'sed' is no name that a TrainingRecipe has. Known: name, seed, tokenizer,")]
    [InlineData("tokenizer", "{}", "'from' (a run) or 'corpora'")]
    [InlineData("tokenizer", "{\"from\":\"nobody\"}", "tokenizer.from: 'nobody'")]
    [InlineData("tokenizer.vocabulary", "70000", "tokenizer.vocabulary 70000")]
    [InlineData("tokenizer.corpora", "{\"nothing-en\":1000}", "nothing-en")]
    [InlineData("tokenizer.corpora", "{\"small-talk-en\":0}", "small-talk-en with 0")]
    [InlineData("tokenizer.from", "\"teacher\"", "either 'from'")]
    [InlineData("model.width", "0", "sizes must be positive")]
    [InlineData("model.heads", "-2", "sizes must be positive")]
    [InlineData("model.maxReply", "0", "maxReply")]
    [InlineData("model.width", "\"wide\"", "$.model.width")]
    [InlineData("stages", "[]", "stages: at least one")]
    [InlineData("stages.0.name", "\"last\"", "names must differ")]
    [InlineData("stages.1.steps", "0", "stage 'last': steps 0")]
    [InlineData("stages.1.steps", "9999999999", "a value that a StageRecipe cannot have. ($.stages[1].steps)")]
    [InlineData("stages.1.method", "\"token-mena\"", "token-mena")]
    [InlineData("stages.1.batchTokens", "63", "batchTokens 63")]
    [InlineData("stages.1.learningRate", "0", "learningRate 0")]
    [InlineData("stages.1.schedule", "\"cosin\"", "schedule 'cosin'")]
    [InlineData("stages.1.finalShare", "2", "finalShare 2")]
    [InlineData("stages.1.clip", "0", "clip 0")]
    [InlineData("stages.1.weightDecay", "-1", "weightDecay -1")]
    [InlineData("stages.1.dropout", "1", "dropout 1")]
    [InlineData("stages.1.accumulate", "0", "accumulate 0")]
    [InlineData("stages.1.validateEvery", "0", "validateEvery")]
    [InlineData("stages.1.saveEvery", "0", "saveEvery")]
    [InlineData("stages.1.maxContext", "4", "maxContext 4")]
    [InlineData("stages.1.maxReply", "1", "maxReply 1")]
    [InlineData("stages.1.mixture", "[]", "mixture: at least one")]
    [InlineData("stages.1.mixture.0.weight", "0", "weights positive")]
    [InlineData("stages.1.mixture.0.corpus", "\"small-tlak-en\"", "small-tlak-en")]
    [InlineData("stages.1.mixture.0.as", "\"dialog\"", "dialog")]
    [InlineData("stages.1.distil", "{\"teacher\":\"teacher\"}", "distil is for objectives")]
    [InlineData("stages.1.patience", "-1", "patience")]
    public void A_mistake_is_named_and_nothing_is_trained(string place, string value, string named) => Refused(Broken(place, value), named);

    [Theory]
    [InlineData("kd", "{}", "kd needs distil.teacher")]
    [InlineData("kd", "{\"teacher\":\"nobody\"}", "Train it first, or name a folder")]
    [InlineData("kd", "{\"teecher\":\"nobody\"}", "'teecher' is no name that a DistilRecipe has")]
    [InlineData("skd", "{\"teacher\":\"http://127.0.0.1:9/wise\"}", "writes whole replies. Name the teacher's folder")]
    [InlineData("seqkd", "{\"teacher\":\"http://127.0.0.1:9/wise\",\"bridge\":\"tokens\"}", "not behind a bridge. Name the teacher's folder")]
    [InlineData("minillm", "{\"teacher\":\"nobody\",\"textWeight\":0,\"bridge\":\"spans\"}", "what the teacher thinks of each single token")]
    [InlineData("minillm", "{\"teacher\":\"nobody\",\"textWeight\":0,\"teacherShare\":0,\"bridge\":\"uld\"}", "what the teacher thinks of each single token")]
    [InlineData("opd", "{\"teacher\":\"nobody\",\"bridge\":\"spans\"}", "Take kd or gkd")]
    [InlineData("skd", "{\"teacher\":\"nobody\",\"bridge\":\"spans\"}", "token by token with the student. Name a teacher")]
    [InlineData("distillm2", "{\"teacher\":\"nobody\",\"bridge\":\"spans\"}", "what the teacher thinks of each single token")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"bridge\":\"uld\"}", "set distil.divergence to tvd")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"bridge\":\"spans\",\"topK\":5}", "leave topK and cache out")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"bridge\":\"spans\",\"cache\":\"words\"}", "leave topK and cache out")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"bridge\":\"spans\",\"divergence\":\"preference\"}", "Take another divergence")]
    [InlineData("kd", "{\"teacher\":\"http://127.0.0.1:9/wise\",\"bridge\":\"spans\"}", "a model host does not say how. Name the teacher's folder")]
    [InlineData("minillm", "{\"teacher\":\"http://127.0.0.1:9/wise\",\"textWeight\":0}", "Set distil.teacherShare to 0, or name")]
    [InlineData("kd", "{\"teacher\":\"http://127.0.0.1:9/wise\",\"bridge\":\"token\"}", "'token'")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"topK\":-1}", "topK -1")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"likelihood\":2}", "likelihood 2")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"temperature\":0}", "temperature")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"divergence\":\"jsd:2\"}", "jsd")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"divergence\":\"rkl\",\"topK\":5}", "TopK")]
    [InlineData("kd", "{\"teacher\":\"nobody\",\"cache\":\"words\",\"temperature\":2}", "temperature 1, not 2")]
    [InlineData("skd", "{\"teacher\":\"nobody\",\"filterTop\":0}", "filterTop")]
    [InlineData("distillm", "{\"teacher\":\"nobody\",\"replay\":-1,\"textWeight\":0}", "replay")]
    [InlineData("minillm", "{\"teacher\":\"nobody\"}", "name its corpora in 'text'")]
    [InlineData("minillm", "{\"teacher\":\"nobody\",\"text\":[{\"corpus\":\"nothing-zh\",\"as\":\"continuation\",\"weight\":1}]}", "nothing-zh")]
    [InlineData("minillm", "{\"teacher\":\"nobody\",\"text\":[{\"corpus\":\"small-talk-zh\",\"as\":\"continuing\",\"weight\":1}]}", "continuing")]
    [InlineData("minillm", "{\"teacher\":\"nobody\",\"text\":[{\"corpus\":\"small-talk-zh\",\"as\":\"continuation\",\"weight\":-1}]}", "weight")]
    [InlineData("minillm", "{\"teacher\":\"nobody\",\"textWeight\":0,\"weights\":\"sometimes\"}", "weights")]
    [InlineData("minillm", "{\"teacher\":\"nobody\",\"textWeight\":0,\"share\":0.5}", "expectation over drawn replies")]
    [InlineData("minillm", "{\"teacher\":\"nobody\",\"textWeight\":0,\"sampleTemperature\":3}", "sampleTemperature")]
    public void So_is_one_of_a_distillation(string objective, string distil, string named)
    {
        var recipe = Json();
        recipe["stages"]![1]!["method"] = objective;
        recipe["stages"]![1]!["distil"] = JsonNode.Parse(distil);
        Refused(recipe.ToJsonString(), named);
    }

    [Theory]
    [InlineData("", "")]
    [InlineData("null", "is empty")]
    [InlineData("[]", "TrainingRecipe")]
    [InlineData("{\"name\":\"run\",", "run.json")]
    [InlineData("not json", "run.json")]
    public void So_is_a_file_that_is_no_recipe(string text, string named) => Refused(text, named);

    [Fact]
    public void Patience_without_a_held_out_corpus_has_nothing_to_wait_for()
    {
        var recipe = Json();
        recipe["validation"] = new JsonArray();
        recipe["stages"]![1]!["patience"] = 2;
        Refused(recipe.ToJsonString(), "patience waits");
    }

    private void Refused(string text, string named)
    {
        var path = Path.Combine(root, "run.json");
        File.WriteAllText(path, text);

        var error = Assert.ThrowsAny<Exception>(() => Follow(RecipeFile.Read<TrainingRecipe>(path), root));

        Assert.True(error is RecipeException or FileNotFoundException or UnknownPluginException, $"{error.GetType()}: {error.Message}");        // what the program prints as a sentence
        Assert.Contains(named, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error.Message, StringComparison.Ordinal);
        Assert.All(Directory.GetFiles(root, "*", SearchOption.AllDirectories), file => Assert.Contains(Path.GetFileName(file), new[] { "run.json", "run.lock" }));
    }

    private static string Broken(string place, string value)
    {
        var recipe = Json();
        var path = place.Split('.');
        JsonNode at = recipe;
        foreach (var step in path[..^1]) at = int.TryParse(step, out var index) ? at[index]! : at[step]!;
        if (value == "-") at.AsObject().Remove(path[^1]);
        else at[path[^1]] = JsonNode.Parse(value);
        return recipe.ToJsonString();
    }

    private static JsonObject Json()
    {
        var recipe = Recipe("run");
        return JsonSerializer.SerializeToNode(recipe with { Stages = [recipe.Stages[0], Stage("last")] }, RecipeFile.Json)!.AsObject();
    }
}
