using System.Text.RegularExpressions;

namespace Chat.Training.Tokenization;

/// <summary>
/// Cuts text into words; merges never cross a cut. As GPT-2, but digits stand alone and runs of Han characters are parted from letters
/// and held to 32 (merges inside a run find the words, the cap bounds the work on a run without punctuation). The pattern means the
/// same to .NET and to Hugging Face's tokenizers.
/// </summary>
public static partial class PreTokenizer
{
    public const string Pattern =
        "[一-鿿㐀-䶿]{1,32}" +
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
