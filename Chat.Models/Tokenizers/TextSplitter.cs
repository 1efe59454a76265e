using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Chat.Models.Tokenizers;

/// <summary>
/// Cuts a text into matches of a pattern and what stands between them. Patterns of tokenizer files speak of whole characters, .NET's expressions
/// of UTF-16 units: a character beyond U+FFFF is therefore shown to the expression as one letter of its own category.
/// </summary>
public sealed class TextSplitter
{
    /// <summary>GPT-2's pattern: contractions, letters, digits, other, blanks.</summary>
    public const string Gpt2 = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(2);       // a hostile file's pattern may explode
    private readonly Regex pattern;

    /// <exception cref="ArgumentException">No expression.</exception>
    public TextSplitter(string pattern) => (Pattern, this.pattern) = (pattern, new Regex(pattern, RegexOptions.CultureInvariant | RegexOptions.Compiled, Limit));

    /// <summary>A <c>Split</c> that keeps what it finds apart, or <c>Digits</c>, of a <c>tokenizer.json</c>.</summary>
    /// <exception cref="Checkpoints.CheckpointException"><c>unsupported</c>: another part, or one that joins or drops what it finds.</exception>
    internal static TextSplitter Read(JsonElement part) => TokenizerJson.Kind(part) switch
    {
        // Matches and gaps both stay, so inverting the pattern changes nothing.
        "Split" when part.GetProperty("behavior").GetString() == "Isolated" => new(TokenizerJson.Pattern(part)),
        "Digits" => new(TokenizerJson.Flag(part, "individual_digits") ? @"\p{N}" : @"\p{N}+"),
        var other => throw TokenizerJson.Unsupported("pre_tokenizer", other),
    };

    /// <summary>The expression as the file writes it.</summary>
    public string Pattern { get; }

    /// <exception cref="RegexMatchTimeoutException">The pattern takes too long on this text.</exception>
    public IEnumerable<string> Split(string text) => Cut(text).Select(piece => piece.Text);

    /// <summary>Puts something in the place of each match.</summary>
    public Func<string, string> Replacing(string content) => text => string.Concat(Cut(text).Select(piece => piece.IsMatch ? content : piece.Text));

    private IEnumerable<(string Text, bool IsMatch)> Cut(string text)
    {
        var (shown, starts) = Show(text);
        var at = 0;
        foreach (Match match in pattern.Matches(shown))
        {
            if (match.Length == 0) continue;
            if (match.Index > at) yield return (text[Unit(at)..Unit(match.Index)], false);
            at = match.Index + match.Length;
            yield return (text[Unit(match.Index)..Unit(at)], true);
        }
        if (at < shown.Length) yield return (text[Unit(at)..], false);

        int Unit(int character) => starts is null ? character : starts[character];
    }

    /// <summary>The text with one unit a character, and where each character starts; no starts when nothing had to be changed.</summary>
    private static (string Shown, int[]? Starts) Show(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange('\ud800', '\udfff')) return (text, null);
        var shown = new StringBuilder(text.Length);
        var starts = new List<int>(text.Length + 1);
        for (var at = 0; at < text.Length;)
        {
            starts.Add(at);
            Rune.DecodeFromUtf16(text.AsSpan(at), out var rune, out var units);
            shown.Append(rune.IsBmp ? text[at] : StandIn(Rune.GetUnicodeCategory(rune)));
            at += units;
        }
        starts.Add(text.Length);
        return (shown.ToString(), [.. starts]);
    }

    // Letters that no pattern lists one by one.
    private static char StandIn(UnicodeCategory category) => category switch
    {
        UnicodeCategory.UppercaseLetter => 'Ȣ',
        UnicodeCategory.LowercaseLetter => 'ȣ',
        UnicodeCategory.ModifierLetter => 'ˠ',
        UnicodeCategory.OtherLetter => 'ꀀ',
        UnicodeCategory.NonSpacingMark => '\u0350',
        UnicodeCategory.SpacingCombiningMark => 'ா',
        UnicodeCategory.DecimalDigitNumber => '٠',
        UnicodeCategory.LetterNumber => 'Ⅷ',
        UnicodeCategory.OtherNumber => '⅚',
        UnicodeCategory.OtherPunctuation => '‽',
        UnicodeCategory.MathSymbol => '∰',
        UnicodeCategory.Format => '\u2061',
        _ => '☃',
    };
}
