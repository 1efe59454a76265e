using System.Text.Json;
using System.Text.Json.Nodes;

namespace Chat.Training.Evaluation;

/// <summary>Records of published data sets, which come as one JSON array, as JSON lines, or as JSON values one after the other (Math23k).</summary>
public static class JsonRecords
{
    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <exception cref="InvalidDataException">The file is no JSON, or one of its records is none that <paramref name="read"/> understands: the message names file and record.</exception>
    public static IReadOnlyList<T> Read<T>(string path, Func<JsonNode, IEnumerable<T>> read)
    {
        var records = Values(path);
        var items = new List<T>();
        for (var i = 0; i < records.Count; i++)
        {
            try
            {
                items.AddRange(read(records[i] ?? throw new InvalidDataException("is null")));
            }
            catch (Exception error) when (error is InvalidOperationException or FormatException or InvalidDataException or ArgumentOutOfRangeException)
            {
                throw new InvalidDataException($"{path}, record {i + 1}: {error.Message}", error);
            }
        }
        return items;
    }

    /// <summary>A text that must be there.</summary>
    public static string Text(this JsonNode record, string name) => record is JsonObject fields && fields[name] is JsonValue value
        ? value.GetValueKind() == JsonValueKind.String ? (string)value! : value.ToJsonString()
        : throw new InvalidDataException($"'{name}' is missing.");

    /// <summary>The first of several names that is there, as a text; <c>null</c> where none is.</summary>
    public static string? AnyText(this JsonNode record, params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
            if (record is JsonObject fields && fields[name] is JsonValue) return record.Text(name);
        return null;
    }

    /// <summary>A list of texts, or one text as a list of one; empty where there is none.</summary>
    public static string[] Texts(this JsonNode record, string name) => record[name] switch
    {
        null => [],
        JsonArray list => [.. list.Select(text => (string)text!)],
        _ => [record.Text(name)],
    };

    private static List<JsonNode?> Values(string path)
    {
        var bytes = File.ReadAllBytes(path).AsSpan();
        if (bytes.StartsWith(ByteOrderMark)) bytes = bytes[ByteOrderMark.Length..];
        var reader = new Utf8JsonReader(bytes, new JsonReaderOptions { AllowMultipleValues = true, AllowTrailingCommas = true, CommentHandling = JsonCommentHandling.Skip });
        var values = new List<JsonNode?>();
        try
        {
            while (reader.Read()) values.Add(JsonNode.Parse(ref reader));
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{path}: {error.Message}", error);
        }
        return values is [JsonArray only] ? [.. only] : values;
    }
}
