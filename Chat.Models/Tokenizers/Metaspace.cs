using System.Text.Json;

namespace Chat.Models.Tokenizers;

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
