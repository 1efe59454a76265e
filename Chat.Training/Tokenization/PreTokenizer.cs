using System.Text.RegularExpressions;

namespace Chat.Training.Tokenization;

/// <summary>
/// Cuts text into words; merges never cross a cut. As GPT-2, but each digit and each Han character stands alone: a small model can then count the
/// characters of a line of verse and set word against word, which tokens of one to four characters hid from it (DECISIONS.md). The pattern means
/// the same to .NET and to Hugging Face's tokenizers.
/// </summary>
public static partial class PreTokenizer
{
    public const string Pattern =
        "[一-鿿㐀-䶿]" +
        "|'(?:s|t|re|ve|m|ll|d)" +
        "| ?(?:(?![一-鿿㐀-䶿])\\p{L})+" +
        "|\\p{N}" +
        "| ?[^\\s\\p{L}\\p{N}]+" +
        "|\\s+(?!\\S)" +
        "|\\s+";

    /// <summary>Words in order; together they are the text.</summary>
    public static Regex.ValueMatchEnumerator Words(ReadOnlySpan<char> text) => Regex().EnumerateMatches(text);

    [GeneratedRegex(Pattern, RegexOptions.CultureInvariant)]
    private static partial Regex Regex();
}
