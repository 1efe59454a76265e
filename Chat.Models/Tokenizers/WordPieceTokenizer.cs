using System.Globalization;
using System.Text;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>How BERT's tokenizer prepares a text and cuts its words.</summary>
public sealed record WordPieceOptions
{
    public bool Lowercase { get; init; } = true;
    /// <summary>Marks that stand on letters are taken off; what they stood on stays decomposed, as the reference leaves it.</summary>
    public bool StripAccents { get; init; } = true;
    /// <summary>Each Chinese character is a word.</summary>
    public bool ChineseApart { get; init; } = true;
    /// <summary>Control characters go, every blank becomes a space.</summary>
    public bool Clean { get; init; } = true;
    /// <summary>Code points of a word; a longer one is unknown.</summary>
    public int MaxWord { get; init; } = 100;
    /// <summary>What a piece inside a word begins with.</summary>
    public string Prefix { get; init; } = "##";
    public string Unknown { get; init; } = "[UNK]";
    public string Start { get; init; } = "[CLS]";
    public string Separator { get; init; } = "[SEP]";
}

/// <summary>A text, or two, as an encoder reads it.</summary>
public sealed record EncodedText(int[] Ids, int[] Types);

/// <summary>
/// BERT's tokenizer (Devlin et al., arXiv 1810.04805; WordPiece of Wu et al., arXiv 1609.08144): words by blanks and punctuation, each cut into the longest known
/// pieces from the left; a word with an unknown piece is unknown as a whole. Special tokens in a text are text like any other. Thread-safe and immutable.
/// </summary>
public sealed class WordPieceTokenizer
{
    private readonly WordPieceOptions options;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> beginnings, continuations;    // the latter without their prefix
    private readonly int longest;

    /// <param name="vocabulary">Ids of pieces; none is empty.</param>
    /// <exception cref="CheckpointException"><c>bad_config</c>: a special token is absent.</exception>
    public WordPieceTokenizer(IReadOnlyDictionary<string, int> vocabulary, WordPieceOptions options)
    {
        this.options = options;
        (Unknown, Start, Separator) = (Required(options.Unknown), Required(options.Start), Required(options.Separator));
        beginnings = new Dictionary<string, int>(vocabulary, StringComparer.Ordinal).GetAlternateLookup<ReadOnlySpan<char>>();
        continuations = vocabulary.Where(piece => piece.Key.StartsWith(options.Prefix, StringComparison.Ordinal))
            .ToDictionary(piece => piece.Key[options.Prefix.Length..], piece => piece.Value, StringComparer.Ordinal).GetAlternateLookup<ReadOnlySpan<char>>();
        longest = vocabulary.Keys.Max(piece => piece.Length);
        VocabularySize = vocabulary.Values.Max() + 1;

        int Required(string token) => vocabulary.TryGetValue(token, out var id) ? id : throw new CheckpointException(CheckpointErrors.BadConfig, $"The vocabulary has no token '{token}'.");
    }

    /// <summary>One more than the greatest id.</summary>
    public int VocabularySize { get; }
    public int Unknown { get; }
    public int Start { get; }
    public int Separator { get; }

    /// <summary>The tokenizer of a model folder: <c>tokenizer.json</c>, else <c>vocab.txt</c> with what <c>tokenizer_config.json</c> says of it.</summary>
    /// <exception cref="CheckpointException"><c>missing_file</c>, <c>bad_config</c> or <c>unsupported</c>.</exception>
    public static WordPieceTokenizer Load(string folder)
    {
        string file = Path.Combine(folder, TokenizerFiles.HuggingFace), settings = Path.Combine(folder, "tokenizer_config.json");
        if (File.Exists(file)) return WordPieceFiles.Json(file);
        return WordPieceFiles.Lines(Path.Combine(folder, TokenizerFiles.Vocabulary), File.Exists(settings) ? WordPieceFiles.Options(ConfigFile.Load(settings)) : new());
    }

    /// <summary>«[CLS] text [SEP]», or «[CLS] text [SEP] second [SEP]» with type 1 from the second text on.</summary>
    /// <param name="most">Tokens at most, at least as many as are put around the texts; of two texts the longer one is cut, token by token.</param>
    public EncodedText Encode(string text, string? second = null, int most = int.MaxValue)
    {
        List<int> first = [.. Pieces(text)], other = second is null ? [] : [.. Pieces(second)];
        var around = second is null ? 2 : 3;
        ArgumentOutOfRangeException.ThrowIfLessThan(most, around);
        var over = Math.Max(0, first.Count + other.Count + around - most);
        // What is over comes off the longer one until both are equal, then off the second and the first in turn.
        var (keptFirst, keptOther) = (first.Count, other.Count);
        for (; over > 0; over--) _ = keptFirst > keptOther ? keptFirst-- : keptOther--;
        int[] left = [Start, .. first[..keptFirst], Separator], right = second is null ? [] : [.. other[..keptOther], Separator];
        return new([.. left, .. right], [.. left.Select(_ => 0), .. right.Select(_ => 1)]);
    }

    /// <summary>The ids of a text, nothing around them.</summary>
    public IReadOnlyList<int> Pieces(string text)
    {
        var ids = new List<int>();
        var word = new StringBuilder();
        foreach (var rune in Normalize(text).EnumerateRunes())
        {
            var isBlank = IsBlank(rune);
            if (!isBlank && !IsPunctuation(rune))
            {
                word.Append(rune);
                continue;
            }
            Cut(word, ids);
            if (isBlank) continue;
            Cut(word.Append(rune), ids);
        }
        Cut(word, ids);
        return ids;
    }

    private string Normalize(string text)
    {
        var plain = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())                         // half a surrogate pair becomes U+FFFD
        {
            if (options.Clean && IsDropped(rune)) continue;
            if (options.ChineseApart && IsChinese(rune.Value)) plain.Append(' ').Append(rune).Append(' ');
            else if (options.Clean && IsBlank(rune)) plain.Append(' ');
            else plain.Append(rune);
        }
        if (!options.StripAccents && !options.Lowercase) return plain.ToString();
        var letters = options.StripAccents ? UnicodeForm.Of(plain.ToString(), NormalizationForm.FormD) : plain.ToString();
        plain.Clear();
        foreach (var rune in letters.EnumerateRunes())
        {
            if (options.StripAccents && Rune.GetUnicodeCategory(rune) == UnicodeCategory.NonSpacingMark) continue;
            if (!options.Lowercase) plain.Append(rune);
            else if (rune.Value == 'İ') plain.Append("i\u0307");            // the one letter whose small form has two code points
            else plain.Append(Rune.ToLowerInvariant(rune));
        }
        return plain.ToString();
    }

    /// <summary>Appends the ids of a word, and clears it.</summary>
    private void Cut(StringBuilder word, List<int> ids)
    {
        if (word.Length == 0) return;
        var text = word.ToString();
        word.Clear();
        var first = ids.Count;
        var isKnown = text.Length <= options.MaxWord || text.EnumerateRunes().Count() <= options.MaxWord;
        for (var at = 0; isKnown && at < text.Length;)
        {
            var known = at == 0 ? beginnings : continuations;
            var (length, id) = (Math.Min(text.Length - at, longest), 0);
            while (length > 0 && !known.TryGetValue(text.AsSpan(at, length), out id)) length--;
            isKnown = length > 0;
            ids.Add(id);
            at += length;
        }
        if (isKnown) return;
        ids.RemoveRange(first, ids.Count - first);
        ids.Add(Unknown);
    }

    private static bool IsBlank(Rune rune) => Rune.IsWhiteSpace(rune);

    private static bool IsDropped(Rune rune) => rune.Value is 0 or 0xfffd
        || rune.Value is not ('\t' or '\n' or '\r') && Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.PrivateUse;

    /// <summary>What Unicode calls punctuation, and all of ASCII that is neither letter, digit nor blank.</summary>
    private static bool IsPunctuation(Rune rune) => rune.IsAscii ? rune.Value is >= 33 and <= 47 or >= 58 and <= 64 or >= 91 and <= 96 or >= 123 and <= 126
        : Rune.GetUnicodeCategory(rune) is >= UnicodeCategory.ConnectorPunctuation and <= UnicodeCategory.OtherPunctuation;

    /// <summary>The reference's blocks. It begins extension E at U+2B920 where Unicode begins it at U+2B820.</summary>
    private static bool IsChinese(int c) => c is >= 0x4e00 and <= 0x9fff or >= 0x3400 and <= 0x4dbf or >= 0x20000 and <= 0x2a6df or >= 0x2a700 and <= 0x2b73f
        or >= 0x2b740 and <= 0x2b81f or >= 0x2b920 and <= 0x2ceaf or >= 0xf900 and <= 0xfaff or >= 0x2f800 and <= 0x2fa1f;
}
