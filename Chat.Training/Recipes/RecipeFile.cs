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
            return Parse<T>(File.ReadAllText(path), path, hasLines: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new RecipeException($"Recipe {path} cannot be read: {error.Message}", error);
        }
    }

    /// <param name="where">How its errors call it.</param>
    /// <param name="hasLines">Whether its lines are those that its writer knows.</param>
    /// <exception cref="RecipeException">Not such a recipe.</exception>
    public static T Parse<T>(string text, string where, bool hasLines = false)
    {
        try
        {
            return JsonSerializer.Deserialize<T>(text, Json) ?? throw new RecipeException($"{where} is empty.");
        }
        catch (JsonException error)
        {
            var line = hasLines && error.LineNumber is { } number ? $", line {number + 1}" : "";      // the reader counts from 0
            throw new RecipeException($"{where}{line}: {Plain(error.Message)}{(error.Path is { } place and not "$" ? $" ({place})" : "")}", error);
        }
    }

    /// <summary>What the reader says, without its .NET types and its own way to tell places.</summary>
    private static string Plain(string message) => UnknownName().Replace(WrongKind().Replace(Place().Replace(message, ""), "a value that a $1 cannot have."), match =>
    {
        var known = typeof(RecipeFile).Assembly.GetType(match.Groups[2].Value)?.GetProperties().Where(property => property.CanWrite).Select(property => JsonNamingPolicy.CamelCase.ConvertName(property.Name));
        return $"'{match.Groups[1].Value}' is no name that a {match.Groups[3].Value} has.{(known is null ? "" : $" Known: {string.Join(", ", known)}.")}";
    });

    [GeneratedRegex(@"^The JSON property '(.+?)' could not be mapped to any \.NET member contained in type '((?:.*\.)?(\w+))'\.")]
    private static partial Regex UnknownName();

    [GeneratedRegex(@"^The JSON value could not be converted to (?:[^\s`]*\.)?(\w+)\S*\.$")]
    private static partial Regex WrongKind();

    [GeneratedRegex(@" Path: .* \| LineNumber: .*$")]
    private static partial Regex Place();

    /// <summary>Lower-case hex sha256 of the file.</summary>
    public static string Hash(string path) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path)));
}
