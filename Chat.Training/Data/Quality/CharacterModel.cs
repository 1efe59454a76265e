using System.Runtime.InteropServices;

namespace Chat.Training.Data.Quality;

/// <summary>
/// A character n-gram language model with interpolated Kneser-Ney smoothing (Chen and Goodman 1999), one discount. It only ranks texts of
/// one corpus by fluency; grams are kept as 64-bit hashes.
/// </summary>
public sealed class CharacterModel(int order = 5)
{
    private const double Discount = 0.75;
    private const char Border = '\u0002';

    private readonly Dictionary<ulong, int>[] grams = [.. Enumerable.Range(0, order + 1).Select(_ => new Dictionary<ulong, int>())];
    private readonly Dictionary<ulong, (int Total, int Types)>[] contexts = [.. Enumerable.Range(0, order + 1).Select(_ => new Dictionary<ulong, (int, int)>())];

    /// <summary>Counts a text. Lower orders count how many different characters stand before a gram.</summary>
    public void Add(string text)
    {
        var padded = Padded(text);
        for (var end = order; end <= padded.Length; end++)
        {
            var isNew = true;
            for (var n = order; n >= 1 && isNew; n--)
            {
                var gram = padded.AsSpan(end - n, n);
                ref var count = ref CollectionsMarshal.GetValueRefOrAddDefault(grams[n], Hash(gram), out var known);
                count++;
                ref var context = ref CollectionsMarshal.GetValueRefOrAddDefault(contexts[n], Hash(gram[..^1]), out _);
                context = (context.Total + 1, context.Types + (known ? 0 : 1));
                isNew = !known;
            }
        }
    }

    /// <summary>Mean log2-probability a character, end included; higher is more fluent.</summary>
    public double MeanLog2(string text)
    {
        var padded = Padded(text);
        var sum = 0.0;
        for (var end = order; end <= padded.Length; end++) sum += Math.Log2(Probability(padded.AsSpan(end - order, order)));
        return sum / (padded.Length - order + 1);
    }

    /// <summary>p(last character | those before it).</summary>
    private double Probability(ReadOnlySpan<char> gram)
    {
        var p = 1.0 / (grams[1].Count + 1);
        for (var n = 1; n <= order; n++)
        {
            var part = gram[^n..];
            if (!contexts[n].TryGetValue(Hash(part[..^1]), out var context)) break;
            var count = grams[n].GetValueOrDefault(Hash(part));
            p = (Math.Max(0, count - Discount) + Discount * context.Types * p) / context.Total;
        }
        return p;
    }

    private string Padded(string text) => new string(Border, order - 1) + text + Border;

    /// <summary>FNV-1a over UTF-16 units.</summary>
    private static ulong Hash(ReadOnlySpan<char> text)
    {
        var hash = 14695981039346656037UL;
        foreach (var c in text) hash = (hash ^ c) * 1099511628211UL;
        return hash;
    }
}
