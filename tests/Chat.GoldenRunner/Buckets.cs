using System.Text.Json.Nodes;
using Chat.Models.Modules;

namespace Chat.GoldenRunner;

/// <summary>Buckets of relative positions, both stacks, for each table size.</summary>
internal static class Buckets
{
    public static JsonNode Run(Arguments arguments, JsonNode input)
    {
        var distances = input["distance_key_minus_query"].Ints();
        var farthest = (int?)input["max_distance"] ?? RelativePositions.MaxDistance;
        var answer = new JsonObject();
        foreach (var size in input["sizes"].Ints())
        {
            answer[$"encoder_{size}"] = Cases.Numbers(distances.Select(distance => RelativePositions.Bucket(distance, size, bidirectional: true, farthest)));
            answer[$"decoder_{size}"] = Cases.Numbers(distances.Select(distance => RelativePositions.Bucket(distance, size, bidirectional: false, farthest)));
        }
        return answer;
    }
}
