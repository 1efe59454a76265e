using System.Text.Json.Nodes;

namespace Chat.GoldenRunner;

/// <summary>Runs the cases of an input one by one; one that fails is answered with its error and does not stop the others.</summary>
internal static class Cases
{
    public static JsonNode Run(JsonNode input, Func<JsonObject, JsonObject> answer) => new JsonObject { ["cases"] = Each(input, "cases", answer) };

    public static JsonArray Each(JsonNode input, string list, Func<JsonObject, JsonObject> answer)
    {
        var answers = new JsonArray();
        foreach (var node in input[list]?.AsArray() ?? [])
        {
            var one = node!.AsObject();
            var result = new JsonObject { ["id"] = one["id"]?.DeepClone() };
            try
            {
                foreach (var (key, value) in answer(one)) result[key] = value?.DeepClone();
            }
            catch (Exception error)
            {
                Console.Error.WriteLine(error);
                result["error"] = error.Message;
            }
            answers.Add(result);
        }
        return answers;
    }

    public static int[] Ints(this JsonNode? node) => [.. (node ?? throw new InvalidDataException("A list of numbers is missing.")).AsArray().Select(value => (int)value!)];

    public static int[][] Rows(this JsonNode? node) => [.. (node ?? throw new InvalidDataException("A list of rows is missing.")).AsArray().Select(Ints)];

    /// <summary>A float as JSON, with the digits of a round trip.</summary>
    public static JsonNode Number(float value) => float.IsFinite(value) ? JsonValue.Create(value) : throw new InvalidDataException($"A result is {value}.");

    public static JsonArray Numbers(IEnumerable<float> values) => [.. values.Select(Number)];

    public static JsonArray Numbers(IEnumerable<int> values) => [.. values.Select(value => JsonValue.Create(value))];
}
