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
    /// <summary>What is taken off a piece that goes on a word when ids become text; <c>null</c>: nothing, each piece is a word.</summary>
    public string? ReadPrefix { get; init; } = "##";
    /// <summary>Blanks before English punctuation go when ids become text.</summary>
    public bool Tidies { get; init; } = true;
}

/// <summary>A text, or two, as an encoder reads it.</summary>
public sealed record EncodedText(int[] Ids, int[] Types);

/// <summary>
/// BERT's tokenizer (Devlin et al., arXiv 1810.04805; WordPiece of Wu et al., arXiv 1609.08144): words by blanks and punctuation, each cut into the longest known
/// pieces from the left; a word with an unknown piece is unknown as a whole. Special tokens in a text are text like any other. Decoding puts a blank before each word
/// and, where the file says so, takes it off again before punctuation. Thread-safe and immutable.
/// </summary>
public sealed class WordPieceTokenizer : HuggingFaceTokenizer
{
    private readonly WordPieceOptions options;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> beginnings, continuations;    // the latter without their prefix
    private readonly byte[]?[] bytes, firstBytes;           // by id; null where no token stands
    private readonly int longest;

    // What English wants without a blank before it, in the reference's order.
    private static readonly (string From, string To)[] Tidied =
        [(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")];

    /// <param name="vocabulary">Ids of pieces; none is empty.</param>
    /// <param name="added">Special tokens that <see cref="HuggingFaceTokenizer.EncodeWithAdded"/> finds in a text.</param>
    /// <exception cref="CheckpointException"><c>bad_config</c>: a special token is absent.</exception>
    public WordPieceTokenizer(IReadOnlyDictionary<string, int> vocabulary, WordPieceOptions options, IReadOnlyList<AddedToken> added, int pad = 0)
        : base(new(added, [Required(vocabulary, options.Start)], [Required(vocabulary, options.Separator)]),
            new(Required(vocabulary, options.Start), Required(vocabulary, options.Separator), pad, Required(vocabulary, options.Unknown)))
    {
        this.options = options;
        beginnings = new Dictionary<string, int>(vocabulary, StringComparer.Ordinal).GetAlternateLookup<ReadOnlySpan<char>>();
        continuations = vocabulary.Where(piece => piece.Key.StartsWith(options.Prefix, StringComparison.Ordinal))
            .ToDictionary(piece => piece.Key[options.Prefix.Length..], piece => piece.Value, StringComparer.Ordinal).GetAlternateLookup<ReadOnlySpan<char>>();
        longest = vocabulary.Keys.Max(piece => piece.Length);
        bytes = new byte[]?[vocabulary.Values.Max() + 1];
        firstBytes = new byte[]?[bytes.Length];
        foreach (var (piece, id) in vocabulary)
        {
            firstBytes[id] = Written(piece);
            bytes[id] = options.ReadPrefix is { } prefix && piece.StartsWith(prefix, StringComparison.Ordinal) ? Written(piece[prefix.Length..]) : Written(" " + piece);
        }

        byte[] Written(string text) => Encoding.UTF8.GetBytes(options.Tidies ? Tidied.Aggregate(text, (tidy, pair) => tidy.Replace(pair.From, pair.To, StringComparison.Ordinal)) : text);
    }

    /// <summary>One more than the greatest id.</summary>
    public override int VocabularySize => bytes.Length;

    public override ReadOnlySpan<byte> RawBytes(int id, bool first) => (uint)id < (uint)bytes.Length ? (first ? firstBytes : bytes)[id]
        : throw new ArgumentOutOfRangeException(nameof(id), id, $"Ids are 0 to {bytes.Length - 1}.");

    private static int Required(IReadOnlyDictionary<string, int> vocabulary, string token) =>
        vocabulary.TryGetValue(token, out var id) ? id : throw new CheckpointException(CheckpointErrors.BadConfig, $"The vocabulary has no token '{token}'.");

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
    public EncodedText EncodeTexts(string text, string? second = null, int most = int.MaxValue)
    {
        List<int> first = [.. Encode(text)], other = second is null ? [] : [.. Encode(second)];
        var around = second is null ? 2 : 3;
        ArgumentOutOfRangeException.ThrowIfLessThan(most, around);
        var over = Math.Max(0, first.Count + other.Count + around - most);
        // What is over comes off the longer one until both are equal, then off the second and the first in turn.
        var (keptFirst, keptOther) = (first.Count, other.Count);
        for (; over > 0; over--) _ = keptFirst > keptOther ? keptFirst-- : keptOther--;
        int[] left = [Special.Start, .. first[..keptFirst], Special.Separator], right = second is null ? [] : [.. other[..keptOther], Special.Separator];
        return new([.. left, .. right], [.. left.Select(_ => 0), .. right.Select(_ => 1)]);
    }

    private protected override void EncodeNormalized(string text, bool atStart, List<int> ids)
    {
        var word = new StringBuilder();
        foreach (var rune in text.EnumerateRunes())
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
    }

    private protected override string Normalize(string text)
    {
        var plain = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
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
        ids.Add(Special.Unknown);
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
