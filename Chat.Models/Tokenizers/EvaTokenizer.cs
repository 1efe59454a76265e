using System.Text;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>
/// EVA's <c>vocab.txt</c>: one entry a line, id = line. A blank is written ▂, a line break ▃. Encoding takes the longest entry at each place; the reference first folds
/// full-width punctuation and cuts the text into words with jieba, so ids can differ from its, while texts and ids convert back and forth the same. Thread-safe and immutable.
/// </summary>
public sealed class EvaTokenizer : ITextTokenizer
{
    private const long LargestFile = 16 << 20;
    private readonly string[] entries;
    private readonly byte[][] bytes;
    private readonly Dictionary<string, int> ids;
    private readonly int longest;

    /// <param name="entries">By id. Lines are stripped, so an entry may be empty.</param>
    /// <exception cref="CheckpointException"><c>bad_config</c>: an entry twice, or a special one absent.</exception>
    public EvaTokenizer(IReadOnlyList<string> entries)
    {
        this.entries = [.. entries];
        ids = [];
        for (var id = 0; id < this.entries.Length; id++)
            if (!ids.TryAdd(this.entries[id], id)) throw new CheckpointException(CheckpointErrors.BadConfig, $"vocab.txt has '{this.entries[id]}' in lines {ids[this.entries[id]] + 1} and {id + 1}.");
        Special = new SpecialTokens(Required("<s_0>"), Required("<sep>"), Required("<pad>"), Required("<unk>"));
        bytes = [.. this.entries.Select(entry => IsSpecial(entry) ? [] : Encoding.UTF8.GetBytes(Readable(entry)))];
        longest = this.entries.Max(entry => entry.Length);
    }

    public int VocabularySize => entries.Length;
    public SpecialTokens Special { get; }

    /// <exception cref="CheckpointException"><c>missing_file</c> or <c>bad_config</c>.</exception>
    public static EvaTokenizer Load(string path)
    {
        if (!File.Exists(path)) throw new CheckpointException(CheckpointErrors.MissingFile, $"{Path.GetFileName(path)} is missing in {Path.GetDirectoryName(path)}.");
        if (new FileInfo(path).Length > LargestFile) throw new CheckpointException(CheckpointErrors.BadConfig, $"{path} is larger than {LargestFile} bytes.");
        // Stripped as the reference strips: without it the line of a lone blank would be another entry.
        return new EvaTokenizer([.. File.ReadLines(path, Encoding.UTF8).Select(line => line.Trim())]);
    }

    public IReadOnlyList<int> Encode(string text)
    {
        var written = text.Replace(' ', '▂').Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\n', '▃');
        var found = new List<int>();
        for (var at = 0; at < written.Length;)
        {
            var length = Math.Min(longest, written.Length - at);
            while (length > 0 && !(ids.TryGetValue(written.Substring(at, length), out var id) && !IsSpecial(entries[id]))) length--;
            found.Add(length > 0 ? ids[written.Substring(at, length)] : Special.Unknown);
            at += length > 0 ? length : char.IsHighSurrogate(written[at]) && at + 1 < written.Length ? 2 : 1;
        }
        return found;
    }

    public ReadOnlySpan<byte> Bytes(int id) => bytes[id];

    /// <summary>All entries joined, special ones by their names: the reference's own decoding.</summary>
    public string Text(IEnumerable<int> ids) => Readable(string.Concat(ids.Select(id => entries[id])));

    private static string Readable(string entry) => entry.Replace('▂', ' ').Replace('▃', '\n');

    private static bool IsSpecial(string entry) => entry.Length > 2 && entry[0] == '<' && entry[^1] == '>';

    private int Required(string entry) => ids.TryGetValue(entry, out var id) ? id : throw new CheckpointException(CheckpointErrors.BadConfig, $"vocab.txt has no entry '{entry}'.");
}
