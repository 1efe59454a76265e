using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Chat.Training.Recipes;

/// <summary>A recipe that cannot be followed. The message names the value and the choices.</summary>
public sealed class RecipeException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>Recipes are JSON files with comments; an unknown or missing name is an error, so a typing mistake never trains for hours.</summary>
public static class RecipeFile
{
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web)
    {
        ReadCommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectRequiredConstructorParameters = true,
        RespectNullableAnnotations = true,
        WriteIndented = true,
        IndentSize = 2,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <exception cref="RecipeException">No such file, or not such a recipe.</exception>
    public static T Read<T>(string path)
    {
        try
        {
            return JsonSerializer.Deserialize<T>(File.ReadAllText(path), Json) ?? throw new RecipeException($"{path} is empty.");
        }
        catch (JsonException error)
        {
            throw new RecipeException($"{path}: {error.Message}", error);
        }
        catch (IOException error)
        {
            throw new RecipeException($"Recipe {path} cannot be read: {error.Message}", error);
        }
    }

    /// <summary>Lower-case hex sha256 of the file.</summary>
    public static string Hash(string path) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path)));
}
