using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Recipes;

namespace Chat.Training.Evaluation;

/// <summary>Writes <c>chat-model.json</c>: where a model comes from and what it can do.</summary>
public static class ModelCard
{
    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, IndentSize = 2, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <param name="trained">The run and those its weights came from, first one first.</param>
    /// <param name="begun">Card of the model folder that the first of them started from; what it learnt from belongs to this model too.</param>
    public static JsonObject Describe(
        CardRecipe card, TrainingRecipe recipe, EncoderDecoderConfig config, IReadOnlyList<(TrainingRecipe Recipe, RunState State)> trained, JsonObject? begun,
        CorpusFolder corpora, string commit, DateTimeOffset created, long bytes) => new()
        {
            ["id"] = card.Id,
            ["createdAt"] = created.ToString("yyyy-MM-ddTHH:mm:ssZ", System.Globalization.CultureInfo.InvariantCulture),
            ["parent"] = card.Parent,
            ["teacher"] = card.Teacher,
            ["licence"] = card.Licence,
            ["notes"] = card.Notes,
            ["parameters"] = EncoderDecoder.ParameterCount(config),
            ["weights"] = new JsonObject { ["type"] = "BF16", ["bytes"] = bytes, ["quantisation"] = null, ["draftOf"] = card.DraftOf },
            ["seed"] = recipe.Seed,
            ["commit"] = commit,
            ["training"] = new JsonArray([.. Entries(begun, "training"), .. trained.Select(run => (JsonNode)new JsonObject
            {
                ["recipe"] = run.Recipe.Name,
                ["recipeSha256"] = run.State.RecipeHash,
                ["steps"] = run.State.TotalSteps,
                ["tokens"] = run.State.Tokens,
                ["seconds"] = Math.Round(run.State.Seconds),
                ["wholeRecipe"] = run.State.Stage is null,
            })]),
            ["data"] = new JsonArray([.. Entries(begun, "data").Concat(trained.SelectMany(run => run.Recipe.Stages).SelectMany(stage => stage.Mixture.Concat(stage.Distil?.Text ?? [])).Select(m => m.Corpus).Distinct()
                .Select(name => new JsonObject { ["corpus"] = name, ["licence"] = corpora.Licence(name), ["sha256"] = RecipeFile.Hash(corpora.Find(name)) }))
                .DistinctBy(entry => ((string?)entry["corpus"], (string?)entry["sha256"])).OrderBy(entry => (string?)entry["corpus"], StringComparer.Ordinal)]),
            ["heldOut"] = recipe.HeldOut,
            ["validation"] = new JsonArray([.. recipe.Validation.Select(name => (JsonNode)name)]),
            ["defaultDecoding"] = card.DefaultDecoding.DeepClone(),
        };

    private static IEnumerable<JsonNode> Entries(JsonObject? card, string list) => card?[list] is JsonArray entries ? entries.OfType<JsonObject>().Select(entry => entry.DeepClone()) : [];

    /// <summary>Puts scores into the card of a folder; the content hash does not cover the card.</summary>
    public static void AddScores(string folder, JsonObject scores)
    {
        var card = ModelFolder.Open(folder).Card;
        card["scores"] = scores;
        Write(folder, card);
    }

    public static void Write(string folder, JsonObject card) => WholeFile.WriteText(Path.Combine(folder, ModelFolder.CardFileName), card.ToJsonString(Json) + "\n");
}
