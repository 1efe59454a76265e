using System.Globalization;
using System.Text;
using System.Text.Json;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>What becomes of the blank that SentencePiece writes before a text, when ids become text again.</summary>
public enum FirstBlank { Kept, One, All }

/// <summary>What tokenizers of SentencePiece's pieces do before and behind their model. Parts that are not known are refused, never skipped.</summary>
public sealed record PieceRules
{
    public required TokenizerSurroundings Surroundings { get; init; }
    /// <summary>Applied one after the other to a well-formed text.</summary>
    public IReadOnlyList<Func<string, string>> Normalizers { get; init; } = [];
    /// <summary>Each makes pieces of a piece; told whether nothing stands before it.</summary>
    public IReadOnlyList<Func<string, bool, IEnumerable<string>>> Splitters { get; init; } = [];
    /// <summary>What is unknown is written in tokens of bytes, <c>&lt;0x00&gt;</c> to <c>&lt;0xFF&gt;</c>, where it can be.</summary>
    public bool ByteFallback { get; init; }
    /// <summary>What becomes something else when ids become text.</summary>
    public IReadOnlyList<(string From, string To)> Written { get; init; } = [];
    /// <summary>Tokens of bytes are their bytes when ids become text.</summary>
    public bool ReadsBytes { get; init; }
    public FirstBlank FirstBlank { get; init; }
    private bool IsFused { get; init; }

    /// <exception cref="CheckpointException"><c>bad_config</c>, or <c>unsupported</c> for a part that is not known.</exception>
    internal static PieceRules Read(JsonElement root)
    {
        var rules = new PieceRules
        {
            Surroundings = TokenizerJson.Around(root),
            Normalizers = TextNormalizers.Read(root),
            Splitters = [.. TokenizerJson.Parts(root, "pre_tokenizer", "pretokenizers").Select(Splitter)],
            ByteFallback = TokenizerJson.Flag(root.GetProperty("model"), "byte_fallback"),
        };
        return TokenizerJson.Parts(root, "decoder", "decoders") is { Length: > 0 } decoders ? decoders.Aggregate(rules, Decoded) : throw TokenizerJson.Unsupported("decoder", "null");
    }

    /// <summary>The name of a byte's token.</summary>
    internal static string ByteName(int value) => $"<0x{value:X2}>";

    /// <summary>Whether a piece is written as a byte.</summary>
    internal bool IsByte(string piece, out byte value)
    {
        value = 0;
        return ReadsBytes && piece is ['<', '0', 'x', _, _, '>'] && byte.TryParse(piece.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }

    /// <summary>What a piece adds to a text.</summary>
    internal byte[] Bytes(string piece) => IsByte(piece, out var value) ? [value] : Encoding.UTF8.GetBytes(Written.Aggregate(piece, (text, pair) => text.Replace(pair.From, pair.To, StringComparison.Ordinal)));

    /// <summary>What it adds where nothing stands before it.</summary>
    internal byte[] FirstBytes(string piece) => FirstBlank switch
    {
        FirstBlank.One when Bytes(piece) is [(byte)' ', .. var rest] => rest,
        FirstBlank.All => Bytes(Written.Where(pair => pair.To == " ").Aggregate(piece, (text, pair) => text.Replace(pair.From, "", StringComparison.Ordinal))),
        _ => Bytes(piece),
    };

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

    private static PieceRules Decoded(PieceRules rules, JsonElement part)
    {
        switch (TokenizerJson.Kind(part))
        {
            case "Metaspace":
                var blanks = Metaspace.Read(part);
                return rules with { Written = [.. rules.Written, ($"{blanks.Replacement}", " ")], FirstBlank = blanks.Prefix == MetaspacePrefix.Never ? rules.FirstBlank : FirstBlank.All };
            case "Replace" when part.GetProperty("pattern").TryGetProperty("String", out var from) && from.GetString() is { Length: > 0 } text:
                return rules with { Written = [.. rules.Written, (text, part.GetProperty("content").GetString()!)] };
            case "ByteFallback" when !rules.IsFused: return rules with { ReadsBytes = true };
            case "Fuse": return rules with { IsFused = true };
            // Of the whole text; before Fuse it would be of each token.
            case "Strip" when rules.IsFused && part.GetProperty("content").GetString() == " " && part.GetProperty("start").GetInt32() == 1 && part.GetProperty("stop").GetInt32() == 0: return rules with { FirstBlank = FirstBlank.One };
            default: throw TokenizerJson.Unsupported("decoder", part.GetRawText());
        }
    }
}
