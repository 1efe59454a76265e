using Chat.Domain.Plugins;

namespace Chat.Training.Evaluation.Metrics;

/// <summary>
/// F1 of the longest common subsequence with the reference that has most in common: MiniLLM's Rouge-L (there times 100). English as rouge_score with its
/// stemmer; other languages by characters.
/// </summary>
[Plugin("rouge-l", Paper = "Lin 2004", Summary = "F1 of the longest common subsequence, best reference; English stemmed, Chinese by characters")]
public sealed class RougeL : ITextMetric
{
    public IReadOnlyList<Measure> Prepare(IReadOnlyList<Response> responses) => [new("rouge-l", Statistics.Mean(responses, Score))];

    /// <returns><c>null</c> without references.</returns>
    public static double? Score(Response response)
    {
        if (response.References.Count == 0) return null;
        var said = MetricTokens.Stemmed(response.Text, response.Language);
        return response.References.Max(reference => F1(said, MetricTokens.Stemmed(reference, response.Language)));
    }

    private static double F1(string[] said, string[] reference) =>
        said.Length == 0 || reference.Length == 0 ? 0 : 2.0 * CommonSubsequence(said, reference) / (said.Length + reference.Length);

    private static int CommonSubsequence(string[] a, string[] b)
    {
        var row = new int[b.Length + 1];
        foreach (var token in a)
        {
            var diagonal = 0;
            for (var j = 0; j < b.Length; j++)
            {
                var above = row[j + 1];
                row[j + 1] = token == b[j] ? diagonal + 1 : Math.Max(above, row[j]);
                diagonal = above;
            }
        }
        return row[^1];
    }
}

/// <summary>F1 as bags of characters: EVA's and CUGE's unigram F1; the best reference.</summary>
[Plugin("character-f1", Paper = "arXiv:2108.01547", Summary = "F1 of reply and reference as bags of characters, best reference")]
public sealed class CharacterF1 : ITextMetric
{
    public IReadOnlyList<Measure> Prepare(IReadOnlyList<Response> responses) =>
        [new("character-f1", Statistics.Mean(responses, r => r.References.Count == 0 ? null : r.References.Max(reference => TextMetrics.CharacterF1(r.Text, reference))))];
}

/// <summary>
/// BLEU-4 (Papineni et al. 2002) of the corpus: clipped n-gram counts and lengths are added up over all responses before the precisions are formed, the
/// closest reference length counts. Words and marks of English with their case, characters of other languages. A precision without a match
/// is smoothed by halving (Chen and Cherry 2014, method 3), and a response shorter than n counts one n-gram: both as nltk, which EVA and CPM-2 call.
/// </summary>
[Plugin("bleu-4", Paper = "Papineni et al. 2002", Summary = "Corpus BLEU to 4-grams, brevity penalty, smoothing method 3 of Chen and Cherry")]
public sealed class Bleu : ITextMetric
{
    private const int Order = 4;

    public IReadOnlyList<Measure> Prepare(IReadOnlyList<Response> responses)
    {
        var counts = responses.Select(Count).ToArray();
        return [new("bleu-4", units =>
        {
            var sum = new long[2 * Order + 2];
            foreach (var unit in units)
                for (var i = 0; i < counts[unit].Length; i++) sum[i] += counts[unit][i];
            return Value(sum);
        })];
    }

    /// <summary>BLEU of one response; 0 where it is empty.</summary>
    public static double Sentence(Response response) => Value(Count(response));

    /// <returns>Matches of 1- to 4-grams, n-grams said, length said, length of the closest reference; nothing without references.</returns>
    private static long[] Count(Response response)
    {
        if (response.References.Count == 0) return [];
        var said = MetricTokens.Plain(response.Text, response.Language);
        var references = response.References.Select(r => MetricTokens.Plain(r, response.Language)).ToArray();
        var counts = new long[2 * Order + 2];
        for (var n = 1; n <= Order; n++)
        {
            var allowed = new Dictionary<string, int>(StringComparer.Ordinal);
            foreach (var reference in references)
                foreach (var (gram, count) in Grams(reference, n)) allowed[gram] = Math.Max(allowed.GetValueOrDefault(gram), count);
            foreach (var (gram, count) in Grams(said, n)) counts[n - 1] += Math.Min(count, allowed.GetValueOrDefault(gram));
            counts[Order + n - 1] = Math.Max(1, said.Length - n + 1);
        }
        counts[^2] = said.Length;
        counts[^1] = references.Select(r => r.Length).OrderBy(length => Math.Abs(length - said.Length)).ThenBy(length => length).First();
        return counts;
    }

    private static Dictionary<string, int> Grams(string[] tokens, int n)
    {
        var grams = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i + n <= tokens.Length; i++)
        {
            var gram = string.Join('\0', tokens, i, n);
            grams[gram] = grams.GetValueOrDefault(gram) + 1;
        }
        return grams;
    }

    private static double Value(long[] counts)
    {
        if (counts.Length == 0 || counts[0] == 0) return 0;
        var (logarithm, halved) = (0.0, 1.0);
        for (var n = 0; n < Order; n++)
        {
            var matches = counts[n] > 0 ? counts[n] : halved /= 2;
            logarithm += Math.Log(matches / counts[Order + n]) / Order;
        }
        var penalty = counts[^2] > counts[^1] ? 1 : Math.Exp(1 - (double)counts[^1] / counts[^2]);
        return penalty * Math.Exp(logarithm);
    }
}

/// <summary>Mean of each response's own BLEU-4, smoothed as the corpus's.</summary>
[Plugin("sentence-bleu-4", Paper = "Papineni et al. 2002", Summary = "Mean over replies of their own smoothed BLEU-4")]
public sealed class SentenceBleu : ITextMetric
{
    public IReadOnlyList<Measure> Prepare(IReadOnlyList<Response> responses) =>
        [new("sentence-bleu-4", Statistics.Mean(responses, r => r.References.Count == 0 ? null : Bleu.Sentence(r)))];
}
