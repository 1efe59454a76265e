using System.Text.Json;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>What becomes of the blank that SentencePiece writes before a text, when ids become text again.</summary>
public enum FirstBlank { Kept, One, All }

/// <summary>
/// What a Unigram tokenizer is made of, from Hugging Face's <c>tokenizer.json</c> or from SentencePiece's own <c>spiece.model</c>. Parts that are not known are refused, never skipped.
/// </summary>
public sealed record UnigramFile
{
    /// <summary>By id: a piece and its score, the logarithm of its probability.</summary>
    public required IReadOnlyList<(string Piece, double Score)> Pieces { get; init; }
    public required int Unknown { get; init; }
    /// <summary>What is unknown is written in tokens of bytes, <c>&lt;0x00&gt;</c> to <c>&lt;0xFF&gt;</c>, where it can be.</summary>
    public bool ByteFallback { get; init; }
    public required TokenizerSurroundings Surroundings { get; init; }
    /// <summary>Applied one after the other to a well-formed text.</summary>
    public IReadOnlyList<Func<string, string>> Normalizers { get; init; } = [];
    /// <summary>Each makes pieces of a piece; told whether nothing stands before it.</summary>
    public IReadOnlyList<Func<string, bool, IEnumerable<string>>> Splitters { get; init; } = [];
    /// <summary>What becomes something else when ids become text.</summary>
    public IReadOnlyList<(string From, string To)> Written { get; init; } = [];
    /// <summary>Tokens of bytes are their bytes when ids become text.</summary>
    public bool ReadsBytes { get; init; }
    public FirstBlank FirstBlank { get; init; }

    /// <exception cref="CheckpointException"><c>missing_file</c>, <c>bad_config</c>, or <c>unsupported</c> for a part that is not known.</exception>
    public static UnigramFile Load(string path) => TokenizerJson.Load(path, Read);

    /// <summary>Files of the first versions do not name the type: a list of pieces is Unigram's.</summary>
    internal static bool IsOne(JsonElement model) => model.TryGetProperty("type", out _) ? TokenizerJson.Kind(model) == "Unigram" : model.TryGetProperty("vocab", out var vocabulary) && vocabulary.ValueKind == JsonValueKind.Array;

    internal static UnigramFile Read(JsonElement root)
    {
        var model = root.GetProperty("model");
        if (!IsOne(model)) throw TokenizerJson.Unsupported("model", TokenizerJson.Kind(model));
        var file = new UnigramFile
        {
            Pieces = [.. model.GetProperty("vocab").EnumerateArray().Select(entry => (entry[0].GetString() ?? throw new FormatException("A piece is null."), entry[1].GetDouble()))],
            Unknown = TokenizerJson.Id(model.GetProperty("unk_id")),
            ByteFallback = TokenizerJson.Flag(model, "byte_fallback"),
            Surroundings = TokenizerJson.Around(root),
            Normalizers = TextNormalizers.Read(root),
            Splitters = [.. TokenizerJson.Parts(root, "pre_tokenizer", "pretokenizers").Select(Splitter)],
        };
        return TokenizerJson.Parts(root, "decoder", "decoders") is { Length: > 0 } decoders ? decoders.Aggregate(file, Decoded) : throw TokenizerJson.Unsupported("decoder", "null");
    }

    private static Func<string, bool, IEnumerable<string>> Splitter(JsonElement part)
    {
        switch (TokenizerJson.Kind(part))
        {
            case "Metaspace": return Metaspace.Read(part).Split;
            case "WhitespaceSplit": return (text, _) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            case "Digits" or "Split":
                var splitter = TextSplitter.Read(part);
                return (text, _) => splitter.Split(text);
            case var other: throw TokenizerJson.Unsupported("pre_tokenizer", other);
        }
    }

    private static UnigramFile Decoded(UnigramFile file, JsonElement part)
    {
        switch (TokenizerJson.Kind(part))
        {
            case "Metaspace":
                var blanks = Metaspace.Read(part);
                return file with { Written = [.. file.Written, ($"{blanks.Replacement}", " ")], FirstBlank = blanks.Prefix == MetaspacePrefix.Never ? file.FirstBlank : FirstBlank.All };
            case "Replace" when part.GetProperty("pattern").TryGetProperty("String", out var from) && from.GetString() is { Length: > 0 } text:
                return file with { Written = [.. file.Written, (text, part.GetProperty("content").GetString()!)] };
            case "ByteFallback": return file with { ReadsBytes = true };
            case "Fuse": return file;
            // Behind Fuse: of the whole text.
            case "Strip" when part.GetProperty("content").GetString() == " " && part.GetProperty("start").GetInt32() == 1 && part.GetProperty("stop").GetInt32() == 0: return file with { FirstBlank = FirstBlank.One };
            default: throw TokenizerJson.Unsupported("decoder", part.GetRawText());
        }
    }
}

/// <summary>Where <see cref="Metaspace"/> puts a blank that nobody wrote.</summary>
public enum MetaspacePrefix { Always, First, Never }

/// <summary>SentencePiece's writing of blanks as letters: pieces begin with one. Older files have <c>add_prefix_space</c>, newer ones <c>prepend_scheme</c> and <c>split</c>.</summary>
internal sealed record Metaspace(char Replacement, MetaspacePrefix Prefix, bool IsSplit)
{
    public static Metaspace Read(JsonElement part)
    {
        var prefix = TokenizerJson.Optional(part, "prepend_scheme")?.GetString() switch
        {
            "always" or null => MetaspacePrefix.Always,
            "first" => MetaspacePrefix.First,
            "never" => MetaspacePrefix.Never,
            var other => throw TokenizerJson.Unsupported("prepend_scheme", other),
        };
        if (!TokenizerJson.Flag(part, "add_prefix_space", absent: true))
        {
            if (TokenizerJson.Optional(part, "prepend_scheme") is not null && prefix != MetaspacePrefix.Never) throw TokenizerJson.Bad("has a Metaspace whose add_prefix_space contradicts its prepend_scheme");
            prefix = MetaspacePrefix.Never;
        }
        return part.GetProperty("replacement").GetString() is { Length: 1 } letter ? new(letter[0], prefix, TokenizerJson.Flag(part, "split", absent: true)) : throw TokenizerJson.Bad("has a Metaspace whose replacement is not one letter");
    }

    /// <param name="atStart">Nothing stands before the text.</param>
    public IEnumerable<string> Split(string text, bool atStart)
    {
        text = text.Replace(' ', Replacement);
        if (text[0] != Replacement && (Prefix == MetaspacePrefix.Always || Prefix == MetaspacePrefix.First && atStart)) text = Replacement + text;
        var from = 0;
        for (var at = 1; IsSplit && at < text.Length; at++)
            if (text[at] == Replacement)
            {
                yield return text[from..at];
                from = at;
            }
        yield return text[from..];
    }
}
