using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Chat.Models.Tokenizers;

/// <summary>The normalizers of a <c>tokenizer.json</c>, each a function of a well-formed text.</summary>
internal static class TextNormalizers
{
    /// <summary>Those of the file, in their order.</summary>
    public static IReadOnlyList<Func<string, string>> Read(JsonElement root) => [.. TokenizerJson.Parts(root, "normalizer", "normalizers").SelectMany(Flat)];

    private static Func<string, string> ReadOne(JsonElement part)
    {
        switch (TokenizerJson.Kind(part))
        {
            case "NFC": return text => UnicodeForm.Of(text, NormalizationForm.FormC);
            case "NFD": return text => UnicodeForm.Of(text, NormalizationForm.FormD);
            case "NFKC": return text => UnicodeForm.Of(text, NormalizationForm.FormKC);
            case "NFKD": return text => UnicodeForm.Of(text, NormalizationForm.FormKD);
            case "Precompiled": return CharacterMap.Read(part.GetProperty("precompiled_charsmap").GetString()!).Apply;
            case "Lowercase": return Lowercase;
            case "StripAccents": return text => Each(text, rune => IsMark(rune) ? "" : null);
            case "Nmt": return text => Each(text, Nmt);
            case "Strip": return Strip(TokenizerJson.Flag(part, "strip_left"), TokenizerJson.Flag(part, "strip_right"));
            case "Prepend":
                var prefix = part.GetProperty("prepend").GetString()!;
                return text => text.Length == 0 ? text : prefix + text;
            case "Replace":
                return new TextSplitter(TokenizerJson.Pattern(part)).Replacing(part.GetProperty("content").GetString()!);
            case var other: throw TokenizerJson.Unsupported("normalizer", other);
        }
    }

    /// <summary>A Sequence may hold others.</summary>
    private static IEnumerable<Func<string, string>> Flat(JsonElement part) =>
        TokenizerJson.Kind(part) == "Sequence" ? part.GetProperty("normalizers").EnumerateArray().SelectMany(Flat) : [ReadOne(part)];

    public static Func<string, string> Strip(bool left, bool right) => text => (left, right) switch
    {
        (true, true) => text.Trim(),
        (true, false) => text.TrimStart(),
        (false, true) => text.TrimEnd(),
        _ => text,
    };

    // Character by character: no final sigma, and the one letter whose small form has two code points.
    private static string Lowercase(string text) => Each(text, rune => rune.Value == 'İ' ? "i\u0307" : Rune.ToLowerInvariant(rune) is var small && small == rune ? null : small.ToString());

    private static bool IsMark(Rune rune) => Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark;

    private static string? Nmt(Rune rune) => rune.Value switch
    {
        >= 1 and <= 8 or 0xb or >= 0xe and <= 0x1f or 0x7f or 0x8f or 0x9f => "",
        9 or 0xa or 0xc or 0xd or 0x1680 or >= 0x200b and <= 0x200f or 0x2028 or 0x2029 or 0x2581 or 0xfeff or 0xfffd => " ",
        _ => null,
    };

    /// <param name="change">What stands for a code point instead; <c>null</c>: itself.</param>
    private static string Each(string text, Func<Rune, string?> change)
    {
        var changed = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
            if (change(rune) is { } other) changed.Append(other);
            else changed.Append(rune);
        return changed.ToString();
    }
}
