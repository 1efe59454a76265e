using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;

namespace Chat.Training.Recipes;

/// <summary>A recipe that cannot be followed. The message names the value and the choices.</summary>
public sealed class RecipeException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>Recipes are JSON files with comments; an unknown or missing name is an error, so a typing mistake never trains for hours.</summary>
public static partial class RecipeFile
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
            return Parse<T>(File.ReadAllText(path), path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new RecipeException($"Recipe {path} cannot be read: {error.Message}", error);
        }
    }

    /// <param name="where">How its errors call it.</param>
    /// <exception cref="RecipeException">Not such a recipe.</exception>
    public static T Parse<T>(string text, string where)
    {
        try
        {
            return JsonSerializer.Deserialize<T>(text, Json) ?? throw new RecipeException($"{where} is empty.");
        }
        catch (JsonException error)
        {
            throw new RecipeException($"{where}: {Plain(error.Message)}", error);
        }
    }

    /// <summary>What the reader says of names, without its .NET types.</summary>
    private static string Plain(string message) => UnknownName().Replace(message, "'$1' is no name that a $2 has.");

    [GeneratedRegex(@"^The JSON property '(.+?)' could not be mapped to any \.NET member contained in type '(?:.*\.)?(\w+)'\.")]
    private static partial Regex UnknownName();

    /// <summary>Lower-case hex sha256 of the file.</summary>
    public static string Hash(string path) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path)));
}
