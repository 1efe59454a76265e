using System.Collections.Frozen;
using System.Text;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>
/// EVA's own tokenizer (thu-coai/EVA, src/tokenization_eva.py): full-width ASCII marks and quotes become half-width and … three points, jieba cuts words, a blank is written ▂, a line break ▃,
/// and each word is taken apart by the longest entry of <c>vocab.txt</c> (one a line, id = line) at each place. What no entry begins is <c>&lt;unk&gt;</c>, as is a word of more than 200 characters.
/// Thread-safe and immutable.
/// </summary>
/// <remarks>
/// Differs from the reference in this: CR LF is a line break (there an unknown and a line break), the vocabulary's special entries are never read out of a text, and runs of more than
/// a thousand letters are cut (<see cref="JiebaWords"/>).
/// </remarks>
public sealed class EvaTokenizer : ITextTokenizer
{
    private const long LargestFile = 16 << 20;
    private const int LongestWord = 200;        // characters, the reference's limit

    // The reference's table, position by position.
    private const string Wide = "！？＂〝〞“”‟＃＄％＆＇‘’‛（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～";
    private const string Narrow = "!?\"\"\"\"\"\"#$%&''''()*+,-/:;<=>@[\\]^_`{|}~";
    private static readonly FrozenDictionary<char, char> Folded = Wide.Zip(Narrow).ToFrozenDictionary(pair => pair.First, pair => pair.Second);

    private readonly string[] entries;
    private readonly byte[][] bytes;
    private readonly FrozenDictionary<string, int> ids;
    private readonly int longest;

    /// <param name="entries">By id. Lines are stripped, so an entry may be empty.</param>
    /// <exception cref="CheckpointException"><c>bad_config</c>: an entry twice, or a special one absent.</exception>
    public EvaTokenizer(IReadOnlyList<string> entries)
    {
        this.entries = [.. entries];
        var found = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var id = 0; id < this.entries.Length; id++)
            if (!found.TryAdd(this.entries[id], id)) throw new CheckpointException(CheckpointErrors.BadConfig, $"vocab.txt has '{this.entries[id]}' in lines {found[this.entries[id]] + 1} and {id + 1}.");
        int Required(string entry) => found.TryGetValue(entry, out var id) ? id : throw new CheckpointException(CheckpointErrors.BadConfig, $"vocab.txt has no entry '{entry}'.");
        Special = new SpecialTokens(Required("<s_0>"), Required("<sep>"), Required("<pad>"), Required("<unk>"));
        bytes = [.. this.entries.Select(entry => IsSpecial(entry) ? [] : Encoding.UTF8.GetBytes(Readable(entry)))];
        ids = found.Where(entry => entry.Key.Length > 0 && !IsSpecial(entry.Key)).ToFrozenDictionary(StringComparer.Ordinal);
        longest = ids.Keys.Max(entry => entry.Length);
    }

    public int VocabularySize => entries.Length;
    public SpecialTokens Special { get; }

    /// <summary>Reads a vocabulary, and jieba's dictionaries, so that no conversation waits for them.</summary>
    /// <exception cref="CheckpointException"><c>missing_file</c> or <c>bad_config</c>.</exception>
    public static EvaTokenizer Load(string path)
    {
        if (!File.Exists(path)) throw new CheckpointException(CheckpointErrors.MissingFile, $"{Path.GetFileName(path)} is missing in {Path.GetDirectoryName(path)}.");
        if (new FileInfo(path).Length > LargestFile) throw new CheckpointException(CheckpointErrors.BadConfig, $"{path} is larger than {LargestFile} bytes.");
        JiebaWords.Load();
        // Stripped as the reference strips: without it the line of a lone blank would be another entry.
        return new EvaTokenizer([.. File.ReadLines(path, Encoding.UTF8).Select(line => line.Trim())]);
    }

    public IReadOnlyList<int> Encode(string text)
    {
        var found = new List<int>();
        foreach (var word in JiebaWords.Cut(Normalise(text))) EncodeWord(word.Replace(' ', '▂').Replace('\n', '▃'), found);
        return found;
    }

    /// <summary>The text that <see cref="Encode"/> reads: what comes back from its ids where none is unknown.</summary>
    public static string Normalise(string text)
    {
        var plain = new StringBuilder(text).Replace("\r\n", "\n").Replace("…", "...");
        for (var i = 0; i < plain.Length; i++)
            if (Folded.TryGetValue(plain[i], out var narrow)) plain[i] = narrow;
        return plain.ToString();
    }

    public ReadOnlySpan<byte> Bytes(int id) => bytes[id];

    /// <summary>All entries joined, special ones by their names: the reference's own decoding.</summary>
    public string Text(IEnumerable<int> ids) => Readable(string.Concat(ids.Select(id => entries[id])));

    private void EncodeWord(ReadOnlySpan<char> word, List<int> found)
    {
        if (word.Length > LongestWord && Characters(word) > LongestWord)
        {
            found.Add(Special.Unknown);
            return;
        }
        var lookup = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        while (word.Length > 0)
        {
            var length = Math.Min(longest, word.Length);
            var id = Special.Unknown;
            while (length > 0 && !lookup.TryGetValue(word[..length], out id)) length--;
            found.Add(length > 0 ? id : Special.Unknown);
            word = word[(length > 0 ? length : char.IsHighSurrogate(word[0]) && word.Length > 1 ? 2 : 1)..];
        }
    }

    private static int Characters(ReadOnlySpan<char> word)
    {
        var count = 0;
        foreach (var _ in word.EnumerateRunes()) count++;
        return count;
    }

    private static string Readable(string entry) => entry.Replace('▂', ' ').Replace('▃', '\n');

    private static bool IsSpecial(string entry) => entry.Length > 2 && entry[0] == '<' && entry[^1] == '>';
}
