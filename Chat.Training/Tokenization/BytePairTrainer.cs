using System.Runtime.InteropServices;
using System.Text;

namespace Chat.Training.Tokenization;

/// <summary>A trained byte-level vocabulary: the 256 bytes, then one token a merge, in order of rank.</summary>
/// <param name="Merges">Pairs of symbol numbers; symbol 256+i is the i-th merge.</param>
public sealed record BytePairs(IReadOnlyList<(int Left, int Right)> Merges)
{
    /// <summary>Bytes of each symbol.</summary>
    public IReadOnlyList<byte[]> Symbols()
    {
        var symbols = new List<byte[]>(Enumerable.Range(0, 256).Select(b => new[] { (byte)b }));
        foreach (var (left, right) in Merges) symbols.Add([.. symbols[left], .. symbols[right]]);
        return symbols;
    }
}

/// <summary>
/// Byte-pair encoding (Sennrich et al. 2016): again and again the commonest pair of neighbours becomes a symbol. Pair counts are kept
/// up to date word by word, so a merge costs what it touches; ties go to the smaller pair, so the result depends on the counts alone.
/// </summary>
public sealed class BytePairTrainer
{
    private readonly Dictionary<string, int> counts = new(StringComparer.Ordinal);

    /// <summary>Counts the words of a text.</summary>
    public void Add(string text)
    {
        var lookup = counts.GetAlternateLookup<ReadOnlySpan<char>>();
        foreach (var word in PreTokenizer.Words(text))
            CollectionsMarshal.GetValueRefOrAddDefault(lookup, text.AsSpan(word.Index, word.Length), out _)++;
    }

    /// <param name="merges">How many symbols to make; fewer when no pair is left twice.</param>
    public BytePairs Train(int merges, IProgress<int>? progress = null)
    {
        var words = counts.OrderBy(p => p.Key, StringComparer.Ordinal)
            .Select(p => (Symbols: Encoding.UTF8.GetBytes(p.Key).Select(b => (int)b).ToList(), Count: (long)p.Value)).ToArray();
        var pairs = new Dictionary<(int, int), long>();
        var places = new Dictionary<(int, int), HashSet<int>>();
        for (var w = 0; w < words.Length; w++) Account(words[w].Symbols, words[w].Count, w, pairs, places);

        var queue = new PriorityQueue<(int, int), (long, int, int)>();
        void Offer((int Left, int Right) pair) => queue.Enqueue(pair, (-pairs[pair], pair.Left, pair.Right));
        foreach (var pair in pairs.Keys) Offer(pair);

        var result = new List<(int, int)>(merges);
        while (result.Count < merges && queue.TryDequeue(out var best, out var priority))
        {
            var count = pairs.GetValueOrDefault(best);
            if (count != -priority.Item1)
            {
                if (count > 0) Offer(best);                      // stale entry: a merge took some of its places
                continue;
            }
            if (count < 2) break;

            var symbol = 256 + result.Count;
            result.Add(best);
            var touched = new HashSet<(int, int)>();
            foreach (var w in places[best].ToArray())
            {
                var (symbols, weight) = words[w];
                Account(symbols, -weight, w, pairs, places, touched);
                Replace(symbols, best, symbol);
                Account(symbols, weight, w, pairs, places, touched);
            }
            pairs.Remove(best);
            places.Remove(best);
            foreach (var pair in touched.Where(p => p.Item1 == symbol || p.Item2 == symbol)) if (pairs.GetValueOrDefault(pair) > 0) Offer(pair);
            progress?.Report(result.Count);
        }
        return new BytePairs(result);
    }

    private static void Account(List<int> symbols, long count, int word, Dictionary<(int, int), long> pairs, Dictionary<(int, int), HashSet<int>> places, HashSet<(int, int)>? touched = null)
    {
        for (var i = 0; i + 1 < symbols.Count; i++)
        {
            var pair = (symbols[i], symbols[i + 1]);
            CollectionsMarshal.GetValueRefOrAddDefault(pairs, pair, out _) += count;
            touched?.Add(pair);
            if (count > 0) (CollectionsMarshal.GetValueRefOrAddDefault(places, pair, out _) ??= []).Add(word);
        }
    }

    private static void Replace(List<int> symbols, (int Left, int Right) pair, int symbol)
    {
        var kept = 0;
        for (var i = 0; i < symbols.Count; i++, kept++)
        {
            var match = i + 1 < symbols.Count && symbols[i] == pair.Left && symbols[i + 1] == pair.Right;
            symbols[kept] = match ? symbol : symbols[i];
            if (match) i++;
        }
        symbols.RemoveRange(kept, symbols.Count - kept);
    }
}
