using System.Text;

namespace Chat.Models.Tokenizers;

/// <summary>What the tokenizers of SentencePiece's pieces have in common: all but how a text is cut into pieces. Thread-safe and immutable.</summary>
public abstract class PieceTokenizer : HuggingFaceTokenizer
{
    private readonly PieceRules rules;
    private readonly byte[]?[] bytes, firstBytes;           // by id; null where no token stands
    private readonly bool[] isByte;
    private int[]? byteIds;                                 // of each byte, −1 where it has no token; null without fallback

    private protected PieceTokenizer(PieceRules rules, IReadOnlyCollection<(string Piece, int Id)> pieces, SpecialTokens special) : base(rules.Surroundings, special)
    {
        this.rules = rules;
        var size = pieces.Select(piece => piece.Id).Concat(rules.Surroundings.Added.Select(token => token.Id)).DefaultIfEmpty(-1).Max() + 1;
        (bytes, firstBytes, isByte) = (new byte[]?[size], new byte[]?[size], new bool[size]);
        foreach (var (piece, id) in pieces) (bytes[id], firstBytes[id], isByte[id]) = (rules.Bytes(piece), rules.FirstBytes(piece), rules.IsByte(piece, out _));
        foreach (var token in rules.Surroundings.Added) (bytes[token.Id], firstBytes[token.Id], isByte[token.Id]) = (rules.Bytes(token.Content), rules.FirstBytes(token.Content), false);
    }

    public override int VocabularySize => bytes.Length;

    /// <summary>A token that stands for one byte of what has no piece.</summary>
    public bool IsByte(int id) => isByte[id];

    public override ReadOnlySpan<byte> RawBytes(int id, bool first) => (uint)id < (uint)bytes.Length ? (first ? firstBytes : bytes)[id]
        : throw new ArgumentOutOfRangeException(nameof(id), id, $"Ids are 0 to {bytes.Length - 1}.");

    private protected override string Normalize(string text) => rules.Normalizers.Aggregate(text, (form, normalize) => normalize(form));

    private protected override void EncodeNormalized(string text, bool atStart, List<int> found)
    {
        IEnumerable<(string Text, bool AtStart)> pieces = text.Length == 0 ? [] : [(text, atStart)];
        foreach (var split in rules.Splitters)
            pieces = pieces.SelectMany(piece => split(piece.Text, piece.AtStart).Select((part, at) => (part, piece.AtStart && at == 0 && part[0] == piece.Text[0])));
        foreach (var (piece, _) in pieces) Segment(WellFormed(piece), found);
    }

    /// <summary>Tells, at construction, which pieces text may become.</summary>
    private protected void TakeBytes(Dictionary<string, int> ids)
    {
        if (rules.ByteFallback) byteIds = [.. Enumerable.Range(0, 256).Select(value => ids.GetValueOrDefault(PieceRules.ByteName(value), -1))];
    }

    /// <summary>Adds the tokens of a text's bytes, where what is unknown is written so and each has one.</summary>
    private protected bool TryWriteBytes(string text, List<int> found)
    {
        if (byteIds is null) return false;
        var values = Encoding.UTF8.GetBytes(text);
        if (values.Any(value => byteIds[value] < 0)) return false;
        found.AddRange(values.Select(value => byteIds[value]));
        return true;
    }

    /// <summary>Cuts a text into pieces.</summary>
    private protected abstract void Segment(string text, List<int> found);
}
