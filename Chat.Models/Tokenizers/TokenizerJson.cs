using System.Text.Json;
using System.Text.RegularExpressions;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>A token that is cut out of a text before anything else.</summary>
/// <param name="Normalized">It is looked for in normalized text, normalized itself.</param>
public sealed record AddedToken(int Id, string Content, bool Special, bool StripLeft, bool StripRight, bool Normalized = false);

/// <summary>
/// What Hugging Face's <c>tokenizer.json</c> says of a byte-level BPE tokenizer. Parts that are not known are refused, never skipped: a tokenizer that is
/// nearly right gives a model that is quietly wrong.
/// </summary>
public sealed record TokenizerJson
{
    private const long LargestFile = 64 << 20;

    public required IReadOnlyDictionary<string, int> Vocabulary { get; init; }
    /// <summary>«left right», best first.</summary>
    public required IReadOnlyList<string> Merges { get; init; }
    public required TokenizerSurroundings Surroundings { get; init; }
    /// <summary>A whole piece that is in the vocabulary is taken as it is.</summary>
    public required bool IgnoreMerges { get; init; }
    /// <summary>Applied one after the other.</summary>
    public required IReadOnlyList<Func<string, string>> Normalizers { get; init; }
    /// <summary>Applied one after the other, each to the pieces of the one before.</summary>
    public required IReadOnlyList<TextSplitter> Splitters { get; init; }
    public required bool PrefixSpace { get; init; }

    /// <exception cref="CheckpointException"><c>missing_file</c>, <c>bad_config</c>, or <c>unsupported</c> for a part that is not known.</exception>
    public static TokenizerJson Load(string path) => Load(path, Read);

    /// <summary>What <paramref name="read"/> makes of a tokenizer.json; whatever it stumbles over is <c>bad_config</c>.</summary>
    internal static T Load<T>(string path, Func<JsonElement, T> read)
    {
        if (!File.Exists(path)) throw new CheckpointException(CheckpointErrors.MissingFile, $"{Path.GetFileName(path)} is missing in {Path.GetDirectoryName(path)}.");
        if (new FileInfo(path).Length > LargestFile) throw Bad($"is larger than {LargestFile} bytes");
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            return read(document.RootElement);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or KeyNotFoundException or FormatException or ArgumentException or IndexOutOfRangeException)
        {
            throw new CheckpointException(CheckpointErrors.BadConfig, $"tokenizer.json is not what it should be: {error.Message}", error);
        }
    }

    internal static TokenizerJson Read(JsonElement root)
    {
        var model = root.GetProperty("model");
        RequirePlainMerges(model);
        if (Flag(model, "byte_fallback")) throw Unsupported("byte_fallback beside ByteLevel", "true");

        var splitters = new List<TextSplitter>();
        var byteLevel = false;
        var prefixSpace = false;
        foreach (var part in Parts(root, "pre_tokenizer", "pretokenizers"))
        {
            if (byteLevel) throw Unsupported("pre_tokenizer behind ByteLevel", Kind(part));
            switch (Kind(part))
            {
                case "ByteLevel":
                    byteLevel = true;
                    prefixSpace = Flag(part, "add_prefix_space");
                    if (Flag(part, "use_regex", absent: true)) splitters.Add(new TextSplitter(TextSplitter.Gpt2));
                    break;
                default:
                    splitters.Add(TextSplitter.Read(part));
                    break;
            }
        }
        if (!byteLevel) throw Unsupported("pre_tokenizer", "no ByteLevel");

        return new TokenizerJson
        {
            Vocabulary = Vocabularies(model),
            Merges = [.. MergesOf(model).Select(merge => $"{merge.Left} {merge.Right}")],
            Surroundings = Around(root),
            IgnoreMerges = Flag(model, "ignore_merges"),
            Normalizers = TextNormalizers.Read(root),
            Splitters = splitters,
            PrefixSpace = prefixSpace,
        };
    }

    /// <summary>The pieces of a BPE model.</summary>
    internal static Dictionary<string, int> Vocabularies(JsonElement model) => model.GetProperty("vocab").EnumerateObject().ToDictionary(entry => entry.Name, entry => Id(entry.Value));

    /// <summary>The merges of a BPE model, written as pairs or, in older files, as texts with a blank between them.</summary>
    internal static (string Left, string Right)[] MergesOf(JsonElement model) => [.. model.GetProperty("merges").EnumerateArray().Select(merge =>
        merge.ValueKind == JsonValueKind.Array ? merge.GetArrayLength() == 2 ? (merge[0].GetString()!, merge[1].GetString()!) : throw Bad($"has the merge {merge}, which is no pair")
        : merge.GetString()!.Split(' ') is [var left, var right] ? (left, right) : throw Bad($"has the merge '{merge}', which is no pair"))];

    /// <exception cref="CheckpointException"><c>unsupported</c>: no BPE, or one whose pieces do not say whether they begin or end a word, or that merges by chance.</exception>
    internal static void RequirePlainMerges(JsonElement model)
    {
        if (Kind(model) is var kind && kind != "BPE") throw Unsupported("model", kind);
        foreach (var key in new[] { "continuing_subword_prefix", "end_of_word_suffix" })
            if (Optional(model, key) is { } affix && affix.GetString() is { Length: > 0 } text) throw Unsupported(key, text);
        if (Optional(model, "dropout") is { } dropout && dropout.GetDouble() != 0) throw Unsupported("dropout", dropout.GetRawText());
    }

    internal static AddedToken Token(JsonElement token)
    {
        if (Flag(token, "single_word")) throw Unsupported("single_word of an added token", "true");
        var content = token.GetProperty("content").GetString()!;
        return content.Length == 0 ? throw Bad("has an empty added token")
            : new AddedToken(Id(token.GetProperty("id")), content, Flag(token, "special"), Flag(token, "lstrip"), Flag(token, "rstrip"), Flag(token, "normalized"));
    }

    /// <summary>Added tokens, and what the post-processor puts around a single text.</summary>
    internal static TokenizerSurroundings Around(JsonElement root)
    {
        List<int> before = [], behind = [];
        foreach (var part in Parts(root, "post_processor", "processors"))
        {
            if (Kind(part) == "ByteLevel") continue;
            if (Kind(part) != "TemplateProcessing") throw Unsupported("post_processor", Kind(part));
            var text = false;
            foreach (var piece in part.GetProperty("single").EnumerateArray())
            {
                if (piece.TryGetProperty("Sequence", out _)) text = true;
                else (text ? behind : before).AddRange(part.GetProperty("special_tokens").GetProperty(piece.GetProperty("SpecialToken").GetProperty("id").GetString()!).GetProperty("ids").EnumerateArray().Select(Id));
            }
        }
        return new([.. Optional(root, "added_tokens") is { } added ? added.EnumerateArray().Select(Token) : []], before, behind);
    }

    /// <summary>The expression of a pattern, which is one or a plain text.</summary>
    internal static string Pattern(JsonElement part) => part.GetProperty("pattern").TryGetProperty("Regex", out var regex) ? regex.GetString()! : Regex.Escape(part.GetProperty("pattern").GetProperty("String").GetString()!);

    /// <summary>A component, or those of a Sequence; none when the key is absent or null.</summary>
    internal static JsonElement[] Parts(JsonElement root, string key, string list) => Optional(root, key) is not { } part ? []
        : Kind(part) == "Sequence" ? [.. part.GetProperty(list).EnumerateArray()] : [part];

    internal static string Kind(JsonElement part) => part.TryGetProperty("type", out var type) ? type.GetString() ?? "null" : "BPE";

    internal static JsonElement? Optional(JsonElement part, string key) => part.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    internal static bool Flag(JsonElement part, string key, bool absent = false) => Optional(part, key)?.GetBoolean() ?? absent;

    internal static int Id(JsonElement value) => value.TryGetInt32(out var id) && id >= 0 && id < 1 << 20 ? id : throw Bad($"has the id {value}");

    internal static CheckpointException Bad(string what) => new(CheckpointErrors.BadConfig, $"tokenizer.json {what}.");
    internal static CheckpointException Unsupported(string part, string what) => new(CheckpointErrors.Unsupported, $"tokenizer.json: {part} = {what} is not known.");
}
