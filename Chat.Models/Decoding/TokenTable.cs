using System.Text;
using Chat.Models.Tokenizers;

namespace Chat.Models.Decoding;

/// <summary>
/// The texts of a vocabulary as rules see them. Immutable and thread-safe.
/// </summary>
public sealed class TokenTable
{
    private readonly string[] texts;
    private readonly byte[][] bytes, firstBytes;
    private readonly bool[] isSpecial;
    private readonly int[] special;
    private readonly int[] han;
    private readonly string[][] units, characters;
    private readonly Dictionary<string, int> ids = new(StringComparer.Ordinal);
    private readonly Dictionary<int, int[]> antonyms = [];
    private readonly Lazy<(int Id, int Shared)[]> byBytes;

    /// <param name="texts">Text of each id. A token that is no text of its own (a special one, part of a character) has a text that no other token has.</param>
    /// <param name="bytes">What each id adds to a reply; empty for special tokens.</param>
    /// <param name="separator">The id that ends a turn.</param>
    /// <param name="antonymPairs">Pairs of words, used in both directions; words outside the vocabulary are ignored.</param>
    /// <param name="firstBytes">What each id adds where nothing with bytes stands before it; <c>null</c>: the same.</param>
    public TokenTable(IReadOnlyList<string> texts, IReadOnlyList<byte[]> bytes, int separator, IEnumerable<(string, string)>? antonymPairs = null, IReadOnlyList<byte[]>? firstBytes = null)
    {
        if (texts.Count != bytes.Count) throw new ArgumentException($"{texts.Count} texts for {bytes.Count} tokens.", nameof(bytes));
        Separator = separator;
        this.texts = [.. texts];
        this.bytes = [.. bytes];
        this.firstBytes = firstBytes is null ? this.bytes : [.. firstBytes];
        isSpecial = [.. bytes.Select((b, id) => b.Length == 0 && id != separator)];
        special = [.. Enumerable.Range(0, bytes.Count).Where(IsSpecial)];
        characters = [.. texts.Select((t, id) => id == separator ? [t] : Characters(t))];
        han = [.. texts.Select((t, id) => bytes[id].Length == 0 ? 0 : t.StartsWith('\uFFFE') ? bytes[id].Count(b => b is >= 0xE3 and <= 0xE9) : t.EnumerateRunes().TakeWhile(c => IsHan(c.Value)).Count())];
        units = [.. texts.Select((t, id) => bytes[id].Length == 0 || !Explodes(t) ? t.Length == 0 ? [] : [t] : Characters(t))];
        for (var id = texts.Count - 1; id >= 0; id--)
            if (texts[id] is not ("" or " " or "\n")) ids[texts[id]] = id;                // a blank alone is never banned; the first of equal texts counts
        byBytes = new(SortByBytes);
        LongestToken = bytes.Max(b => b.Length);
        WritesEveryByte = HasEveryByte(bytes) && (firstBytes is null || HasEveryByte(firstBytes) || firstBytes.Zip(bytes).Any(pair => pair.First.Length == 0 && pair.Second.Length > 0));
        foreach (var group in Directed(antonymPairs ?? []).GroupBy(p => p.Word, p => p.Opposite))
            antonyms[group.Key] = [.. group.Distinct().Order()];
    }

    public int Count => texts.Length;
    public int Separator { get; }
    public bool HasAntonyms => antonyms.Count > 0;

    /// <summary>Bytes of the longest token.</summary>
    public int LongestToken { get; }

    /// <summary>Each byte that UTF-8 knows is a token of its own, at the beginning too or behind a token that writes nothing there, so any text can be written from any place on.</summary>
    public bool WritesEveryByte { get; }

    /// <summary>Some token writes something else where nothing with bytes stands before it.</summary>
    public bool BeginsOtherwise => firstBytes != bytes;

    /// <summary>Tokens that stand for text, ordered by their bytes, each with the number of bytes at its beginning that the one before it shares.</summary>
    internal IReadOnlyList<(int Id, int Shared)> ByBytes => byBytes.Value;

    public string Text(int id) => texts[id];
    public ReadOnlySpan<byte> Bytes(int id) => bytes[id];

    /// <summary>The same where nothing with bytes stands before it.</summary>
    public ReadOnlySpan<byte> FirstBytes(int id) => firstBytes[id];

    /// <summary>Stands for no text and does not end a turn either.</summary>
    public bool IsSpecial(int id) => isSpecial[id];

    /// <summary>All of those, from the smallest id on.</summary>
    public ReadOnlyMemory<int> Special => special;

    /// <summary>
    /// The pieces in which repetition is counted: characters of Chinese, Japanese, Korean and punctuation, whole tokens of alphabets (three
    /// letters of an English word recur in any text, three Chinese characters are a phrase). For alphabets this is the usual 3-gram blocking of
    /// BPE tokens over context and reply (Roller et al., arXiv:2004.13637).
    /// </summary>
    public ReadOnlySpan<string> Units(int id) => units[id];

    /// <summary>The reference's pieces: every token falls into its characters, special ones too; only the separator stays whole.</summary>
    public ReadOnlySpan<string> CharacterUnits(int id) => characters[id];

    public ReadOnlySpan<int> Antonyms(int id) => antonyms.TryGetValue(id, out var found) ? found : [];

    /// <summary>Han characters with which the token begins; in one that is no whole text, the bytes that begin such a character.</summary>
    public int HanCharacters(int id) => han[id];

    /// <summary>A Han character of the basic plane, radicals and marks excepted.</summary>
    public static bool IsHan(int codePoint) => codePoint is >= 0x3400 and <= 0x4DBF or >= 0x4E00 and <= 0x9FFF;

    /// <summary>Whether every id means the same in another vocabulary: then one model's tokens are the other's.</summary>
    public bool MeansTheSameAs(TokenTable other) => Count == other.Count && Separator == other.Separator && texts.AsSpan().SequenceEqual(other.texts) && special.AsSpan().SequenceEqual(other.special)
        && bytes.Zip(other.bytes).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second));

    /// <summary>The id of exactly this text.</summary>
    public bool TryFind(string text, out int id) => ids.TryGetValue(text, out id);

    /// <param name="size">Scores of a row: a model may have more than its tokenizer has tokens, for round numbers; those stand for no text.</param>
    public static TokenTable From(ITextTokenizer tokenizer, int size, IEnumerable<(string, string)>? antonymPairs = null)
    {
        var texts = new string[size];
        var (bytes, firstBytes, areFirstsOther) = (new byte[size][], new byte[size][], false);
        for (var id = 0; id < size; id++)
        {
            bytes[id] = firstBytes[id] = id < tokenizer.VocabularySize ? tokenizer.Bytes(id).ToArray() : [];
            if (id < tokenizer.VocabularySize && !tokenizer.FirstBytes(id).SequenceEqual(bytes[id])) (firstBytes[id], areFirstsOther) = (tokenizer.FirstBytes(id).ToArray(), true);
            var isText = id >= tokenizer.VocabularySize || tokenizer is not PieceTokenizer pieces || !pieces.IsByte(id);      // a byte may equal a piece
            texts[id] = (isText ? WholeText(bytes[id]) : null) ?? (tokenizer is EvaTokenizer eva && id < eva.VocabularySize ? eva.Text([id]) : $"\uFFFE{id}\uFFFE");
        }
        return new(texts, bytes, tokenizer.Special.Separator, antonymPairs, areFirstsOther ? firstBytes : null);
    }

    /// <summary>A reference vocabulary (one entry a line): an entry that is exactly ▂ is a blank, ▃ a line break.</summary>
    public static TokenTable FromVocabulary(IReadOnlyList<string> entries, IEnumerable<(string, string)>? antonymPairs = null)
    {
        var texts = entries.Select(e => e switch { "▂" => " ", "▃" => "\n", _ => e }).ToArray();
        return new(texts, [.. texts.Select(Encoding.UTF8.GetBytes)], Array.IndexOf(texts, "<sep>"), antonymPairs);
    }

    private (int, int)[] SortByBytes()
    {
        int[] order = [.. Enumerable.Range(0, texts.Length).Where(id => bytes[id].Length > 0 && id != Separator)];
        Array.Sort(order, (a, b) => bytes[a].AsSpan().SequenceCompareTo(bytes[b]) is var c && c != 0 ? c : a.CompareTo(b));
        return [.. order.Select((id, at) => (id, at == 0 ? 0 : bytes[id].AsSpan().CommonPrefixLength(bytes[order[at - 1]])))];
    }

    // Bytes that no UTF-8 text has need no token.
    private static bool HasEveryByte(IEnumerable<byte[]> tokens) => Enumerable.Range(0, 0xF5).Except([0xC0, 0xC1]).All(tokens.Where(b => b.Length == 1).Select(b => (int)b[0]).ToHashSet().Contains);

    private static string? WholeText(byte[] bytes)
    {
        if (bytes.Length == 0) return null;
        try { return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes); }
        catch (DecoderFallbackException) { return null; }
    }

    private static string[] Characters(string text) => [.. text.EnumerateRunes().Select(r => r.ToString())];

    private static bool Explodes(string text)
    {
        foreach (var rune in text.EnumerateRunes())
            if (Rune.IsLetterOrDigit(rune) && !IsIdeographic(rune.Value)) return false;
        return !text.StartsWith('\uFFFE');
    }

    // CJK with kana and radicals, Hangul syllables, compatibility ideographs, the supplementary ideographic planes
    private static bool IsIdeographic(int c) => c is >= 0x2E80 and <= 0x9FFF or >= 0xAC00 and <= 0xD7AF or >= 0xF900 and <= 0xFAFF or >= 0x20000 and <= 0x3FFFF;

    private IEnumerable<(int Word, int Opposite)> Directed(IEnumerable<(string, string)> pairs)
    {
        foreach (var (a, b) in pairs)
        {
            if (!ids.TryGetValue(a, out var left) || !ids.TryGetValue(b, out var right)) continue;
            yield return (left, right);
            yield return (right, left);
        }
    }
}
