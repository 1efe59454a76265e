using System.Text;

namespace Chat.Training.Tokenization;

/// <summary>
/// The encoder of the data pipeline: applies merges by rank and remembers each word it has seen, since corpora repeat words.
/// Gives the same ids as the product's tokenizer reading the written file (a test holds that). Not thread-safe.
/// </summary>
public sealed class BytePairEncoder
{
    private const int RememberedWords = 500_000;

    private readonly Dictionary<(int, int), int> ranks;
    private readonly Dictionary<string, int[]> remembered = new(StringComparer.Ordinal);

    public BytePairEncoder(BytePairs pairs) =>
        ranks = pairs.Merges.Select((pair, rank) => (pair, rank)).ToDictionary(p => p.pair, p => p.rank);

    public int VocabularySize => TokenizerFile.Specials.Count + 256 + ranks.Count;

    public void Encode(string text, List<int> ids)
    {
        var lookup = remembered.GetAlternateLookup<ReadOnlySpan<char>>();
        foreach (var word in PreTokenizer.Words(text))
        {
            var span = text.AsSpan(word.Index, word.Length);
            if (!lookup.TryGetValue(span, out var tokens))
            {
                tokens = Merge(span);
                if (remembered.Count < RememberedWords) lookup[span] = tokens;
            }
            ids.AddRange(tokens);
        }
    }

    public int[] Encode(string text)
    {
        var ids = new List<int>();
        Encode(text, ids);
        return [.. ids];
    }

    private int[] Merge(ReadOnlySpan<char> word)
    {
        var bytes = new byte[Encoding.UTF8.GetMaxByteCount(word.Length)];
        var symbols = new List<int>();
        foreach (var b in bytes.AsSpan(0, Encoding.UTF8.GetBytes(word, bytes))) symbols.Add(b);
        while (true)
        {
            var best = int.MaxValue;
            var at = -1;
            for (var i = 0; i + 1 < symbols.Count; i++)
            {
                if (ranks.TryGetValue((symbols[i], symbols[i + 1]), out var rank) && rank < best) (best, at) = (rank, i);
            }
            if (at < 0) break;
            symbols[at] = 256 + best;
            symbols.RemoveAt(at + 1);
        }
        return [.. symbols.Select(s => s + TokenizerFile.Specials.Count)];
    }
}
