using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;

namespace Chat.GoldenRunner;

/// <summary>Whether model folders can be loaded, and the kind of error if not.</summary>
internal static class LoadCheck
{
    public static JsonNode Run(Arguments arguments, JsonNode input) => Cases.Run(input, one =>
    {
        try
        {
            ModelFamilies.Check(Path.Combine(arguments.Model, (string)one["folder"]!));
            return new JsonObject { ["ok"] = true };
        }
        catch (CheckpointException error)
        {
            return new JsonObject { ["ok"] = false, ["kind"] = error.Kind, ["message"] = error.Message };
        }
    });
}
