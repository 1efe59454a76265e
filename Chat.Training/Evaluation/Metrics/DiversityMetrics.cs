using Chat.Domain.Plugins;

namespace Chat.Training.Evaluation.Metrics;

/// <summary>
/// Different n-grams over all n-grams of all replies, n = 1 to 4: words and marks of English, characters of other languages. With n = 4 it is
/// MiniLLM's Dist-4. It falls with the amount of text, so compare equal numbers of replies; random text scores high, so never read it alone.
/// </summary>
[Plugin("distinct", Paper = "arXiv:1510.03055", Summary = "Different n-grams over all n-grams of all replies, n = 1 to 4")]
public sealed class Distinct : ITextMetric
{
    public IReadOnlyList<Measure> Prepare(IReadOnlyList<Response> responses)
    {
        var tokens = responses.Select(r => MetricTokens.Plain(r.Text, r.Language)).ToArray();
        return [.. Enumerable.Range(1, 4).Select(n => Ratio($"distinct-{n}", tokens, n, leaveOut: 0))];
    }

    /// <param name="leaveOut">N-grams at the end of each text that are not counted.</param>
    internal static Measure Ratio(string name, string[][] tokens, int n, int leaveOut)
    {
        var numbers = new Dictionary<string, int>(StringComparer.Ordinal);
        var grams = tokens.Select(t => Enumerable.Range(0, Math.Max(0, t.Length - n + 1 - leaveOut)).Select(i =>
        {
            var gram = string.Join('\0', t, i, n);
            if (!numbers.TryGetValue(gram, out var number)) numbers[gram] = number = numbers.Count;
            return number;
        }).ToArray()).ToArray();
        return new Measure(name, units =>
        {
            var seen = new bool[numbers.Count];
            var (all, different) = (0, 0);
            foreach (var unit in units)
            {
                all += grams[unit].Length;
                foreach (var gram in grams[unit])
                {
                    if (seen[gram]) continue;
                    seen[gram] = true;
                    different++;
                }
            }
            return all == 0 ? 0 : (double)different / all;
        }, Centred: true);
    }
}

/// <summary>
/// Distinct as the code of EVA and CPM-2 has it, for comparison with their tables: characters in every language, and each reply's last n-gram is left out
/// (their loop ends one too early), so that a reply of n characters counts nothing.
/// </summary>
[Plugin("distinct-eva", Paper = "arXiv:2108.01547", Summary = "Distinct by characters without each reply's last n-gram, as EVA's code counts, n = 1 to 4")]
public sealed class DistinctEva : ITextMetric
{
    public IReadOnlyList<Measure> Prepare(IReadOnlyList<Response> responses)
    {
        var tokens = responses.Select(r => MetricTokens.Characters(r.Text)).ToArray();
        return [.. Enumerable.Range(1, 4).Select(n => Distinct.Ratio($"distinct-eva-{n}", tokens, n, leaveOut: 1))];
    }
}

/// <summary>Share of a reply's 3-grams that stood earlier in it, and of those that stand in its context: loops and parroting. Replies under three tokens do not count.</summary>
[Plugin("self-repetition", Summary = "Share of 3-grams that stood earlier in the reply (self-repetition), or in its context (context-repetition)")]
public sealed class SelfRepetition : ITextMetric
{
    private const int N = 3;

    public IReadOnlyList<Measure> Prepare(IReadOnlyList<Response> responses) =>
    [
        new("self-repetition", Statistics.Mean(responses, r => Share(Grams(r.Text, r.Language), new HashSet<string>(StringComparer.Ordinal), grows: true))),
        new("context-repetition", Statistics.Mean(responses, r => Share(Grams(r.Text, r.Language), r.Context.SelectMany(turn => Grams(turn, r.Language)).ToHashSet(StringComparer.Ordinal), grows: false))),
    ];

    private static double? Share(string[] grams, HashSet<string> known, bool grows) =>
        grams.Length == 0 ? null : (double)grams.Count(gram => grows ? !known.Add(gram) : known.Contains(gram)) / grams.Length;

    private static string[] Grams(string text, string language)
    {
        var tokens = MetricTokens.Plain(text, language);
        return [.. Enumerable.Range(0, Math.Max(0, tokens.Length - N + 1)).Select(i => string.Join('\0', tokens, i, N))];
    }
}

/// <summary>Mean length of a reply in words and marks of English, characters of other languages; not in [0, 1].</summary>
[Plugin("length", Summary = "Mean length of a reply: words of English, characters of other languages")]
public sealed class Length : ITextMetric
{
    public IReadOnlyList<Measure> Prepare(IReadOnlyList<Response> responses) => [new("length", Statistics.Mean(responses, r => MetricTokens.Plain(r.Text, r.Language).Length))];
}
