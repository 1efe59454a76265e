using System.Text;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>
/// BPE over SentencePiece's pieces as Hugging Face's tokenizers compute it: a text falls into characters, one without a piece into tokens of bytes, and as long as two neighbours have a merge, the
/// best ranked one is made, leftmost first. A text is often one word of any length, so the next merge comes from a heap: n·log n for n characters. Text never spells a special token. Thread-safe and immutable.
/// </summary>
public sealed class PieceMergeTokenizer : PieceTokenizer
{
    private readonly PieceMergeFile file;
    private readonly Dictionary<string, int> ids;                                           // pieces that text may become
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> idsOfSpans;
    private readonly Dictionary<(int Left, int Right), (int Rank, int Id)> merges = [];
    private readonly int? unknown;

    /// <exception cref="CheckpointException"><c>bad_config</c>: an id twice, or a merge or an unknown token that is not in the vocabulary.</exception>
    public PieceMergeTokenizer(PieceMergeFile file, SpecialTokens special) : base(file.Rules, [.. file.Vocabulary.Select(entry => (entry.Key, entry.Value))], special)
    {
        this.file = file;
        if (file.Vocabulary.GroupBy(entry => entry.Value).FirstOrDefault(group => group.Count() > 1) is { } twice) throw TokenizerJson.Bad($"gives the id {twice.Key} twice: {string.Join(", ", twice.Select(entry => $"'{entry.Key}'"))}");
        if (file.Unknown is not null) unknown = file.Vocabulary.TryGetValue(file.Unknown, out var id) ? id : throw TokenizerJson.Bad($"has the unknown token '{file.Unknown}', which is not in its vocabulary");
        foreach (var (rank, (left, right)) in file.Merges.Index())
            merges[(Known(left, left, right), Known(right, left, right))] = (rank, Known(left + right, left, right));      // of a pair twice the last counts
        ids = file.Vocabulary.Where(entry => !IsSpecial(entry.Value)).ToDictionary(StringComparer.Ordinal);
        idsOfSpans = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        TakeBytes(ids);
        foreach (var (pair, made) in merges)
            if (IsSpecial(made.Id)) merges.Remove(pair);

        int Known(string name, string left, string right) => file.Vocabulary.TryGetValue(name, out var known) ? known : throw TokenizerJson.Bad($"has the merge of '{left}' and '{right}', which does not make one known token of two");
    }

    private protected override void Segment(string text, List<int> found)
    {
        if (file.IgnoreMerges && ids.TryGetValue(text, out var whole))
        {
            found.Add(whole);
            return;
        }
        var symbols = Symbols(text);                                                        // −1: merged into one before it
        int[] next = [.. Enumerable.Range(1, symbols.Count)], previous = [.. Enumerable.Range(-1, symbols.Count)];
        var open = new PriorityQueue<(int At, int Id), (int Rank, int At)>(symbols.Count);
        for (var at = 0; at < symbols.Count - 1; at++) Offer(at);
        while (open.TryDequeue(out var merge, out _))
        {
            var (at, id) = merge;
            // Something of the pair may have been merged meanwhile.
            if (symbols[at] < 0 || next[at] == symbols.Count || !merges.TryGetValue((symbols[at], symbols[next[at]]), out var made) || made.Id != id) continue;
            (symbols[at], symbols[next[at]], next[at]) = (id, -1, next[next[at]]);
            if (next[at] < symbols.Count) previous[next[at]] = at;
            if (previous[at] >= 0) Offer(previous[at]);
            if (next[at] < symbols.Count) Offer(at);
        }
        for (var at = 0; at < symbols.Count; at = next[at]) found.Add(symbols[at]);

        void Offer(int at)
        {
            if (merges.TryGetValue((symbols[at], symbols[next[at]]), out var made)) open.Enqueue((at, made.Id), (made.Rank, at));
        }
    }

    private List<int> Symbols(string text)
    {
        var symbols = new List<int>(text.Length);
        var unknowns = 0;                                                                   // not written yet
        for (var at = 0; at < text.Length;)
        {
            Rune.DecodeFromUtf16(text.AsSpan(at), out _, out var units);
            if (idsOfSpans.TryGetValue(text.AsSpan(at, units), out var id))
            {
                WriteUnknown();
                symbols.Add(id);
            }
            // As there: what is unknown is written behind the bytes that follow it. Only vocabularies that lack some bytes can tell.
            else if (!TryWriteBytes(text.Substring(at, units), symbols) && unknown is not null) unknowns++;
            at += units;
        }
        WriteUnknown();
        return symbols;

        void WriteUnknown()
        {
            if (unknowns > 0) symbols.AddRange(Enumerable.Repeat(unknown!.Value, file.FusesUnknown ? 1 : unknowns));
            unknowns = 0;
        }
    }
}
