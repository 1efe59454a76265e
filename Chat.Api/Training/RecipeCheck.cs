using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Api.OpenAi;
using Chat.Api.Registry;
using Chat.Domain.Conversations;
using Chat.Domain.Training;

namespace Chat.Api.Training;

/// <summary>What can be said of a recipe without the trainer: its size and form, and the methods it names. The worker reads it to the end, and a job that it refuses fails with the reason.</summary>
internal static class RecipeCheck
{
    private const int LargestRecipe = 256 * 1024, MostStages = 100;

    /// <param name="plugins">The worker's; none where no worker has come yet.</param>
    /// <exception cref="ChatException">What is wrong.</exception>
    public static JsonObject Read(JsonElement? given, bool register, IReadOnlyList<WorkerPlugin> plugins)
    {
        if (given is not { ValueKind: JsonValueKind.Object } recipe) throw ChatException.Invalid("'recipe' is missing; it is an object, the content of a training recipe.");
        if (recipe.GetRawText().Length is var length && length > LargestRecipe) throw new ChatException(ChatError.TooLarge, $"The recipe has {length} characters; at most {LargestRecipe} are allowed.");
        if (!JsonBody.HasWholeTexts(recipe)) throw ChatException.Invalid("A string in 'recipe' holds half a surrogate pair.");

        var read = JsonObject.Create(recipe.Clone())!;
        if (Text(read, "name") is not { } name || !TrainingJob.IsName(name)) throw ChatException.Invalid($"recipe.name is {TrainingJob.NameForm}.");
        if (!(read["seed"] is JsonValue seed && seed.TryGetValue<ulong>(out _))) throw ChatException.Invalid("recipe.seed is a whole number from 0 on.");
        if (read["stages"] is not JsonArray { Count: > 0 and <= MostStages } stages) throw ChatException.Invalid($"recipe.stages is a list of 1 to {MostStages} stages.");
        for (var i = 0; i < stages.Count; i++) CheckStage(stages[i], $"recipe.stages[{i}]", plugins);
        if (register && (read["card"] is not JsonObject card || Text(card, "id") is not { } id || !ModelRegistry.IsName(id)))
            throw ChatException.Invalid($"recipe.card.id names the model: {ModelRegistry.NameForm}. Without a card ask with \"register\": false.");
        return read;
    }

    private static void CheckStage(JsonNode? node, string where, IReadOnlyList<WorkerPlugin> plugins)
    {
        if (node is not JsonObject stage || string.IsNullOrEmpty(Text(stage, "name"))) throw ChatException.Invalid($"{where}.name is missing.");
        if (!(stage["steps"] is JsonValue steps && steps.TryGetValue<int>(out var count) && count > 0)) throw ChatException.Invalid($"{where}.steps is a whole number above 0.");
        if (Text(stage, "method") is not { Length: > 0 } method) throw ChatException.Invalid($"{where}.method is missing.");
        string[] known = [.. plugins.Where(p => p.Kind is "method" or "objective").Select(p => p.Name)];
        if (known.Length > 0 && !known.Contains(method)) throw ChatException.Invalid($"{where}.method: no method or objective '{method}'. Known: {string.Join(", ", known)}.");
    }

    private static string? Text(JsonObject of, string key) => of[key] is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;
}
