using System.Text;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>
/// SentencePiece's Unigram (Kudo, arXiv 1804.10959, section 3.2) as Hugging Face's tokenizers compute it: the cut of a text into pieces whose scores have the greatest sum, found by
/// Viterbi; of equal ones the one whose last pieces are longest. A character that is no piece costs 10 more than the worst piece, and neighbours of that kind are one unknown token.
/// Special tokens are no pieces, so text can never spell one. Thread-safe and immutable.
/// </summary>
public sealed class UnigramTokenizer : PieceTokenizer
{
    private const double UnknownPenalty = 10;

    private readonly UnigramFile file;
    private readonly Dictionary<string, int> ids = new(StringComparer.Ordinal);
    private readonly string[] sorted;                       // pieces that text may become, in ordinal order
    private readonly int[] sortedIds;
    private readonly Dictionary<char, (int From, int To)> byLetter = [];
    private readonly double unknownScore;

    /// <exception cref="CheckpointException"><c>bad_config</c>: an id outside the vocabulary, or a piece without text or score.</exception>
    public UnigramTokenizer(UnigramFile file, SpecialTokens special) : base(file.Rules, [.. file.Pieces.Select((piece, id) => (piece.Piece, id))], special)
    {
        this.file = file;
        if (file.Unknown >= file.Pieces.Count) throw Bad($"unk_id {file.Unknown} is outside the vocabulary of {file.Pieces.Count}");
        for (var id = 0; id < file.Pieces.Count; id++)
            if (file.Pieces[id].Piece.Length == 0 || !double.IsFinite(file.Pieces[id].Score)) throw Bad($"piece {id} is empty or has no score");
            else if (!IsSpecial(id)) ids[file.Pieces[id].Piece] = id;                      // of a piece twice the last counts
        foreach (var name in SpecialNames) ids.Remove(name);
        sorted = [.. ids.Keys.Order(StringComparer.Ordinal)];
        sortedIds = [.. sorted.Select(piece => ids[piece])];
        for (int from = 0, to; from < sorted.Length; from = to)
        {
            for (to = from + 1; to < sorted.Length && sorted[to][0] == sorted[from][0];) to++;
            byLetter[sorted[from][0]] = (from, to);
        }
        unknownScore = file.Pieces.Min(piece => piece.Score) - UnknownPenalty;
        TakeBytes(ids);
    }

    /// <summary>Viterbi over all cuts of a text into pieces.</summary>
    private protected override void Segment(string text, List<int> found)
    {
        var best = new (double Score, int From, int Id)[text.Length + 1];
        Array.Fill(best, (0, -1, 0), 1, text.Length);
        for (var at = 0; at < text.Length;)
        {
            Rune.DecodeFromUtf16(text.AsSpan(at), out _, out var units);
            var isKnown = false;
            foreach (var (length, id) in PiecesAt(text, at))
            {
                Offer(at, at + length, best[at].Score + file.Pieces[id].Score, id);
                isKnown |= length == units;
            }
            if (!isKnown) Offer(at, at + units, best[at].Score + unknownScore, file.Unknown);
            at += units;
        }

        var path = new Stack<(int From, int To)>();
        for (var to = text.Length; to > 0; to = best[to].From)
        {
            if (best[to].Id == file.Unknown && path.TryPeek(out var next) && best[next.To].Id == file.Unknown) path.Push((best[to].From, path.Pop().To));
            else path.Push((best[to].From, to));
        }
        foreach (var (from, to) in path) Write(text[from..to], found);

        void Offer(int from, int to, double score, int id)
        {
            if (best[to].From < 0 || score > best[to].Score) best[to] = (score, from, id);
        }
    }

    /// <summary>The pieces that a text goes on with, shortest first: in the sorted vocabulary those with a common beginning stand side by side.</summary>
    private IEnumerable<(int Length, int Id)> PiecesAt(string text, int at)
    {
        if (!byLetter.TryGetValue(text[at], out var range)) yield break;
        var (from, to) = range;
        for (var length = 1; from < to; length++)
        {
            if (sorted[from].Length == length) yield return (length, sortedIds[from++]);
            if (at + length >= text.Length) yield break;
            from = Bound(from, to, length, text[at + length]);
            to = Bound(from, to, length, text[at + length] + 1);
        }
    }

    /// <summary>The first piece of a range whose letter at a place is at least the given one.</summary>
    private int Bound(int from, int to, int place, int letter)
    {
        while (from < to)
            if ((from + to) / 2 is var middle && sorted[middle][place] < letter) from = middle + 1;
            else to = middle;
        return from;
    }

    private void Write(string piece, List<int> found)
    {
        if (ids.TryGetValue(piece, out var id)) found.Add(id);
        else if (!TryWriteBytes(piece, found)) found.Add(file.Unknown);
    }

    private static CheckpointException Bad(string what) => new(CheckpointErrors.BadConfig, $"The tokenizer's {what}.");
}
