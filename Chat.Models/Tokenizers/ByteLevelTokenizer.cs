using System.Text;
using System.Text.RegularExpressions;
using Chat.Models.Checkpoints;
using Microsoft.ML.Tokenizers;

namespace Chat.Models.Tokenizers;

/// <summary>
/// Byte-level BPE (Sennrich et al., arXiv 1508.07909; bytes as GPT-2 writes them): every text has ids, and ids give the text's very bytes back. The merging is
/// Microsoft.ML.Tokenizers'; cutting into pieces is ours, because its reader of <c>tokenizer.json</c> does not exist. Thread-safe and immutable.
/// </summary>
public sealed class ByteLevelTokenizer : ITextTokenizer
{
    private readonly TokenizerJson file;
    private readonly BpeTokenizer bpe;
    private readonly byte[]?[] bytes;                       // by id; null where no token stands
    private readonly Dictionary<string, AddedToken> added;
    private readonly Dictionary<int, AddedToken> addedById;
    private readonly Regex? addedPattern;

    /// <exception cref="CheckpointException"><c>bad_config</c>: a byte without a token, an id twice, or special ids outside the vocabulary.</exception>
    public ByteLevelTokenizer(TokenizerJson file, SpecialTokens special)
    {
        this.file = file;
        Special = special;
        added = file.Added.DistinctBy(token => token.Content).ToDictionary(token => token.Content);
        addedById = file.Added.DistinctBy(token => token.Id).ToDictionary(token => token.Id);
        bytes = Table(file);
        foreach (var letter in ByteLevelAlphabet.Letters)
            if (!file.Vocabulary.ContainsKey(letter.ToString())) throw Bad($"has no token for the byte written '{letter}'");
        bpe = Merger(file);
        addedPattern = file.Added.Count == 0 ? null : new Regex(string.Join('|', file.Added.OrderByDescending(token => token.Content.Length).ThenBy(token => token.Content, StringComparer.Ordinal)
            .Select(token => $"{(token.StripLeft ? @"\s*" : "")}(?<token>{Regex.Escape(token.Content)}){(token.StripRight ? @"\s*" : "")}")), RegexOptions.CultureInvariant);
    }

    public int VocabularySize => bytes.Length;
    public SpecialTokens Special { get; }

    public IReadOnlyList<int> Encode(string text)
    {
        var ids = new List<int>();
        EncodePlain(text, ids);
        return ids;
    }

    /// <summary>The names of the special tokens.</summary>
    public IEnumerable<string> SpecialNames => file.Added.Where(token => token.Special).Select(token => token.Content);

    /// <summary>The id of an added token, or <c>null</c>.</summary>
    public int? FindAdded(string name) => added.TryGetValue(name, out var token) ? token.Id : null;

    /// <summary>As Hugging Face encodes: added tokens in the text are found, and the post-processor's ids put around it.</summary>
    /// <param name="plain">Changes each piece between added tokens before it is encoded.</param>
    public IReadOnlyList<int> EncodeWithAdded(string text, bool template, Func<string, string>? plain = null)
    {
        List<int> ids = template ? [.. file.Before] : [];
        var at = 0;
        for (var match = addedPattern?.Match(text); match is { Success: true }; match = match.NextMatch())
        {
            EncodePlain(Plain(text[at..match.Index]), ids);
            ids.Add(added[match.Groups["token"].Value].Id);
            at = match.Index + match.Length;
        }
        EncodePlain(Plain(text[at..]), ids);
        if (template) ids.AddRange(file.Behind);
        return ids;

        string Plain(string piece) => plain is null ? piece : plain(piece);
    }

    public ReadOnlySpan<byte> Bytes(int id) => addedById.TryGetValue(id, out var token) && token.Special ? [] : RawBytes(id);

    /// <summary>As <see cref="Bytes"/>, special tokens as their written names.</summary>
    public ReadOnlySpan<byte> RawBytes(int id) => (uint)id < (uint)bytes.Length ? bytes[id]
        : throw new ArgumentOutOfRangeException(nameof(id), id, $"Ids are 0 to {bytes.Length - 1}.");

    /// <summary>The text of ids; bytes that are no UTF-8 become U+FFFD, one for each maximal ill-formed part.</summary>
    public string Decode(IEnumerable<int> ids, bool skipSpecial)
    {
        using var text = new MemoryStream();
        foreach (var id in ids) text.Write(skipSpecial ? Bytes(id) : RawBytes(id));
        return Encoding.UTF8.GetString(text.GetBuffer().AsSpan(0, (int)text.Length));
    }

    private void EncodePlain(string text, List<int> ids)
    {
        if (text.Length == 0) return;
        if (file.Normalizers.Count > 0) text = file.Normalizers.Aggregate(WellFormed(text), UnicodeForm.Of);
        if (file.PrefixSpace && text[0] != ' ') text = " " + text;
        IEnumerable<string> pieces = [text];
        foreach (var splitter in file.Splitters) pieces = pieces.SelectMany(splitter.Split);
        foreach (var piece in pieces)
        {
            if (file.IgnoreMerges && file.Vocabulary.TryGetValue(ByteLevelAlphabet.Write(piece), out var whole)) ids.Add(whole);
            else ids.AddRange(bpe.EncodeToIds(WellFormed(piece), considerPreTokenization: false, considerNormalization: false));
        }
    }

    /// <summary>Half a surrogate pair has no UTF-8: it becomes U+FFFD, as everywhere on the wire.</summary>
    private static string WellFormed(string text)
    {
        for (var at = 0; at < text.Length;)
        {
            if (Rune.DecodeFromUtf16(text.AsSpan(at), out _, out var units) != System.Buffers.OperationStatus.Done) return Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
            at += units;
        }
        return text;
    }

    private static BpeTokenizer Merger(TokenizerJson file)
    {
        // The library meets these with an InvalidOperationException, or not at all.
        foreach (var merge in file.Merges)
        {
            var parts = merge.Split(' ');
            if (parts.Length != 2 || !file.Vocabulary.ContainsKey(parts[0]) || !file.Vocabulary.ContainsKey(parts[1]) || !file.Vocabulary.ContainsKey(parts[0] + parts[1]))
                throw Bad($"has the merge '{merge}', which does not make one known token of two");
        }
        return BpeTokenizer.Create(new BpeOptions(file.Vocabulary) { Merges = file.Merges, ByteLevel = true, PreTokenizer = null, Normalizer = null });
    }

    private static byte[]?[] Table(TokenizerJson file)
    {
        var table = new byte[]?[file.Vocabulary.Values.Concat(file.Added.Select(token => token.Id)).DefaultIfEmpty(-1).Max() + 1];
        foreach (var (name, id) in file.Vocabulary)
            table[id] = table[id] is null ? ByteLevelAlphabet.Read(name) ?? Encoding.UTF8.GetBytes(name) : throw Bad($"gives the id {id} twice, the second time to '{name}'");
        foreach (var token in file.Added) table[token.Id] = Encoding.UTF8.GetBytes(token.Content);
        return table;
    }

    private static CheckpointException Bad(string what) => new(CheckpointErrors.BadConfig, $"tokenizer.json {what}.");
}
