using System.Text;
using Chat.Models.Checkpoints;
using Microsoft.ML.Tokenizers;

namespace Chat.Models.Tokenizers;

/// <summary>
/// Byte-level BPE (Sennrich et al., arXiv 1508.07909; bytes as GPT-2 writes them): every text has ids, and ids give the text's very bytes back. The merging is
/// Microsoft.ML.Tokenizers'; cutting into pieces is ours, because its reader of <c>tokenizer.json</c> does not exist. Thread-safe and immutable.
/// </summary>
public sealed class ByteLevelTokenizer : HuggingFaceTokenizer
{
    private readonly TokenizerJson file;
    private readonly BpeTokenizer bpe;
    private readonly byte[]?[] bytes;                       // by id; null where no token stands

    /// <exception cref="CheckpointException"><c>bad_config</c>: a byte without a token, an id twice, or special ids outside the vocabulary.</exception>
    public ByteLevelTokenizer(TokenizerJson file, SpecialTokens special) : base(file.Surroundings, special)
    {
        this.file = file;
        bytes = Table(file);
        foreach (var letter in ByteLevelAlphabet.Letters)
            if (!file.Vocabulary.ContainsKey(letter.ToString())) throw Bad($"has no token for the byte written '{letter}'");
        bpe = Merger(file);
    }

    public override int VocabularySize => bytes.Length;

    public override ReadOnlySpan<byte> RawBytes(int id, bool first) => (uint)id < (uint)bytes.Length ? bytes[id]
        : throw new ArgumentOutOfRangeException(nameof(id), id, $"Ids are 0 to {bytes.Length - 1}.");

    private protected override string Normalize(string text) => file.Normalizers.Aggregate(text, (form, normalize) => normalize(form));

    private protected override void EncodeNormalized(string text, bool atStart, List<int> ids)
    {
        if (text.Length == 0) return;
        if (file.PrefixSpace && text[0] != ' ') text = " " + text;
        IEnumerable<string> pieces = [text];
        foreach (var splitter in file.Splitters) pieces = pieces.SelectMany(splitter.Split);
        foreach (var piece in pieces)
        {
            if (file.IgnoreMerges && file.Vocabulary.TryGetValue(ByteLevelAlphabet.Write(piece), out var whole)) ids.Add(whole);
            else ids.AddRange(bpe.EncodeToIds(WellFormed(piece), considerPreTokenization: false, considerNormalization: false));
        }
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
        var table = new byte[]?[file.Vocabulary.Values.Concat(file.Surroundings.Added.Select(token => token.Id)).DefaultIfEmpty(-1).Max() + 1];
        foreach (var (name, id) in file.Vocabulary)
            table[id] = table[id] is null ? ByteLevelAlphabet.Read(name) ?? Encoding.UTF8.GetBytes(name) : throw Bad($"gives the id {id} twice, the second time to '{name}'");
        foreach (var token in file.Surroundings.Added) table[token.Id] = Encoding.UTF8.GetBytes(token.Content);
        return table;
    }

    private static CheckpointException Bad(string what) => new(CheckpointErrors.BadConfig, $"tokenizer.json {what}.");
}
