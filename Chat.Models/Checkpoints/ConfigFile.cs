using System.Text.Json;

namespace Chat.Models.Checkpoints;

/// <summary>A config.json whose every value is checked when read. Errors are <see cref="CheckpointException"/> of kind <c>bad_config</c> that name the key.</summary>
public sealed class ConfigFile
{
    private const int Largest = 1 << 20;            // of a size; no model's width or vocabulary comes near
    private const long LargestFile = 1 << 20;
    private readonly JsonElement root;
    private readonly string path;

    private ConfigFile(JsonElement root, string path) => (this.root, this.path) = (root, path);

    /// <exception cref="CheckpointException"><c>missing_file</c>, or <c>bad_config</c> when it is no JSON object.</exception>
    public static ConfigFile Load(string path)
    {
        if (!Directory.Exists(Path.GetDirectoryName(path))) throw new CheckpointException(CheckpointErrors.MissingFile, $"There is no folder {Path.GetDirectoryName(path)}.");
        if (!File.Exists(path)) throw new CheckpointException(CheckpointErrors.MissingFile, $"{Path.GetFileName(path)} is missing in {Path.GetDirectoryName(path)}.");
        if (new FileInfo(path).Length > LargestFile) throw new CheckpointException(CheckpointErrors.BadConfig, $"{path} is larger than {LargestFile} bytes.");
        return Parse(File.ReadAllBytes(path), path);
    }

    /// <param name="path">Named in errors.</param>
    public static ConfigFile Parse(ReadOnlyMemory<byte> json, string path)
    {
        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { AllowDuplicateProperties = false });
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new ConfigFile(document.RootElement.Clone(), path)
                : throw new CheckpointException(CheckpointErrors.BadConfig, $"{path} is not a JSON object but {document.RootElement.ValueKind}.");
        }
        catch (JsonException error)
        {
            throw new CheckpointException(CheckpointErrors.BadConfig, $"{path} is not JSON: {error.Message}", error);
        }
    }

    /// <summary>Whether the key is there and not null.</summary>
    public bool Has(string key) => Find(key) is not null;

    /// <summary>An object inside this one, or <c>null</c>.</summary>
    public ConfigFile? Section(string key) => Find(key) is not { } value ? null
        : value.ValueKind == JsonValueKind.Object ? new ConfigFile(value, $"{path}, {key}") : throw Bad(key, $"must be an object, not {Shown(value)}");

    public bool IsNull(string key) => root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Null;

    /// <summary>A whole number of at least <paramref name="least"/>; absent or null = the default, or an error when there is none.</summary>
    public int Size(string key, int? absent = null, int least = 1) => Find(key) is not { } value
        ? absent ?? throw Bad(key, "is missing")
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var size) && size >= least && size <= Largest
            ? size
            : throw Bad(key, $"must be a whole number from {least} to {Largest}, not {Shown(value)}");

    /// <summary>A token id: from 0, below the vocabulary's size.</summary>
    public int Token(string key, int absent, int vocabulary) =>
        Size(key, absent, least: 0) is var id && id < vocabulary ? id : throw Bad(key, $"= {id} is outside the vocabulary of {vocabulary}");

    public double Number(string key, double? absent, double least, double most) => Find(key) is not { } value
        ? absent ?? throw Bad(key, "is missing")
        : value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number >= least && number <= most
            ? number
            : throw Bad(key, $"must be a number from {least} to {most}, not {Shown(value)}");

    public bool Flag(string key, bool absent) => Find(key)?.ValueKind switch
    {
        null => absent,
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Bad(key, $"must be true or false, not {Shown(Find(key)!.Value)}"),
    };

    /// <summary>One of the given words; the first one when absent.</summary>
    public string Choice(string key, params ReadOnlySpan<string> words)
    {
        if (Find(key) is not { } value) return words[0];
        foreach (var word in words)
            if (value.ValueKind == JsonValueKind.String && value.ValueEquals(word)) return word;
        throw Bad(key, $"must be one of {string.Join(", ", words.ToArray())}, not {Shown(value)}");
    }

    public string? Text(string key) => Find(key) is { } value
        ? value.ValueKind == JsonValueKind.String ? value.GetString() : throw Bad(key, $"must be a text, not {Shown(value)}")
        : null;

    /// <summary>The first text of a list, or <c>null</c> when the key is absent or the list empty.</summary>
    public string? FirstText(string key) => Find(key) is not { } value ? null
        : value.ValueKind != JsonValueKind.Array ? throw Bad(key, $"must be a list, not {Shown(value)}")
        : value.GetArrayLength() == 0 ? null
        : value[0].ValueKind == JsonValueKind.String ? value[0].GetString() : throw Bad(key, $"must be a list of texts, not {Shown(value)}");

    /// <summary>The texts of a list, or <c>null</c> when the key is absent.</summary>
    public IReadOnlyList<string>? Texts(string key) => Find(key) is not { } value ? null
        : value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String) ? [.. value.EnumerateArray().Select(item => item.GetString()!)]
        : throw Bad(key, $"must be a list of texts, not {Shown(value)}");

    /// <summary>A token id or a list of them. Published files name ids that are not in the vocabulary, −1 among them: these mean none.</summary>
    public IReadOnlyList<int> KnownTokens(string key, int vocabulary)
    {
        if (Find(key) is not { } value) return [];
        var ids = value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().ToArray() : [value];
        return [.. ids.Select(id => id.ValueKind == JsonValueKind.Number && id.TryGetInt64(out var number) ? number : throw Bad(key, $"must be a token id or a list of them, not {Shown(value)}"))
            .Where(id => id >= 0 && id < vocabulary).Select(id => (int)id)];
    }

    /// <summary>The error of a word that is not known here.</summary>
    public CheckpointException Unsupported(string key, string word, string known) => new(CheckpointErrors.Unsupported, $"{path}: '{key}' = {word} is not known. Known: {known}.");

    /// <summary>The error of a value that cannot be.</summary>
    public CheckpointException Bad(string key, string what) => new(CheckpointErrors.BadConfig, $"{path}: '{key}' {what}.");

    private JsonElement? Find(string key) => root.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private static string Shown(JsonElement value)
    {
        var text = value.GetRawText();
        return text.Length <= 40 ? text : text[..40] + "…";
    }
}
