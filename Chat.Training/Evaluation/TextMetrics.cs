using Chat.Training.Data.Extraction;

namespace Chat.Training.Evaluation;

/// <summary>Figures over replies as text. Characters are UTF-16 units; whitespace does not count.</summary>
public static class TextMetrics
{
    /// <summary>F1 of two texts as bags of characters: EVA's unigram F1. 0 where one of them is empty.</summary>
    public static double CharacterF1(string reply, string reference)
    {
        var (a, b) = (Characters(reply), Characters(reference));
        if (a.Length == 0 || b.Length == 0) return 0;
        var left = b.GroupBy(c => c).ToDictionary(g => g.Key, g => g.Count());
        var common = 0;
        foreach (var c in a)
        {
            if (left.GetValueOrDefault(c) == 0) continue;
            left[c]--;
            common++;
        }
        return 2.0 * common / (a.Length + b.Length);
    }

    /// <summary>Distinct-n (Li et al., arXiv 1510.03055): different n-grams of characters over all n-grams of all replies; 0 when there is none.</summary>
    public static double Distinct(IEnumerable<string> replies, int n)
    {
        var (all, different) = (0, new HashSet<string>(StringComparer.Ordinal));
        foreach (var text in replies.Select(r => new string(Characters(r))))
        {
            for (var i = 0; i + n <= text.Length; i++, all++) different.Add(text.Substring(i, n));
        }
        return all == 0 ? 0 : (double)different.Count / all;
    }

    /// <summary>Whether a reply is in the language of its question: Han or not.</summary>
    public static bool IsIn(string reply, string language) => language == "zh" ? TextCleaning.HanShare(reply) > 0.5 : reply.Any(char.IsLetter) && TextCleaning.HanShare(reply) == 0;

    /// <summary>Whether a reply answers a line of verse with one of the same number of Han characters.</summary>
    public static bool MatchesCouplet(string upper, string reply) =>
        reply.Count(TextCleaning.IsHan) == upper.Count(TextCleaning.IsHan) && reply.Trim().All(c => TextCleaning.IsHan(c) || char.IsPunctuation(c));

    private static char[] Characters(string text) => [.. text.Where(c => !char.IsWhiteSpace(c))];
}
