using System.Text.Json.Nodes;
using Chat.Training.Data;
using Chat.Training.Methods;

namespace Chat.Training.Evaluation;

/// <summary>A prompt with the reply it got.</summary>
public sealed record Reply(Prompt Prompt, string Text);

/// <summary>What a model scores. Losses are token means in nats over the held-out dialogue.</summary>
public sealed record Scores(
    HeldOutLosses HeldOut, IReadOnlyDictionary<string, double> CharacterF1, IReadOnlyDictionary<string, IReadOnlyList<double>> Distinct, IReadOnlyList<Reply> Replies)
{
    /// <summary>Replies in the language of their prompt.</summary>
    public double LanguageAgreement => Replies.Count == 0 ? 0 : (double)Replies.Count(r => TextMetrics.IsIn(r.Text, r.Prompt.Language)) / Replies.Count;

    /// <summary>Prompts of the kind couplet answered by a line of the same length.</summary>
    public double CoupletForm => Replies.Where(r => r.Prompt.Kind == "couplet").Select(r => TextMetrics.MatchesCouplet(r.Prompt.Text, r.Text) ? 1.0 : 0.0).DefaultIfEmpty(0).Average();

    public JsonObject ToJson()
    {
        static JsonNode Round(double value) => JsonValue.Create(Math.Round(value, 4));
        static JsonObject Table(IReadOnlyDictionary<string, double> values) => new(values.Select(v => KeyValuePair.Create(v.Key, (JsonNode?)Round(v.Value))));
        return new JsonObject
        {
            ["heldOutLoss"] = Table(HeldOut.Loss),
            ["contextGain"] = Table(HeldOut.ContextGain),
            ["perplexity"] = new JsonObject(HeldOut.Loss.Select(v => KeyValuePair.Create(v.Key, (JsonNode?)Round(Math.Exp(v.Value))))),
            ["characterF1"] = Table(CharacterF1),
            ["distinct1to4"] = new JsonObject(Distinct.Select(v => KeyValuePair.Create(v.Key, (JsonNode?)new JsonArray([.. v.Value.Select(Round)])))),
            ["languageAgreement"] = Round(LanguageAgreement),
            ["coupletForm"] = Round(CoupletForm),
            ["prompts"] = Replies.Count,
        };
    }
}

/// <summary>The scores of a card: losses on a model's weights, everything else on what it says through the same engine that serves it.</summary>
public static class Evaluator
{
    /// <param name="answers">The model's own, to the references.</param>
    /// <param name="replies">The model's, to the prompts.</param>
    public static Scores Score(HeldOutLosses losses, IReadOnlyList<(string Corpus, Document Document, int Turn)> references, IReadOnlyList<string> answers, IReadOnlyList<Prompt> prompts, IReadOnlyList<string> replies)
    {
        var f1 = references.Zip(answers).GroupBy(p => p.First.Corpus)
            .ToDictionary(g => g.Key, g => g.Average(p => TextMetrics.CharacterF1(p.Second, p.First.Document.Turns[p.First.Turn])), StringComparer.Ordinal);
        var distinct = references.Zip(answers).GroupBy(p => p.First.Corpus)
            .ToDictionary(g => g.Key, g => (IReadOnlyList<double>)[.. Enumerable.Range(1, 4).Select(n => TextMetrics.Distinct(g.Select(p => p.Second), n))], StringComparer.Ordinal);
        return new Scores(losses, f1, distinct, [.. prompts.Zip(replies, (p, r) => new Reply(p, r))]);
    }

    /// <summary>Replies of held-out dialogue, evenly spread, as many a corpus.</summary>
    public static IEnumerable<(string Corpus, Document Document, int Turn)> References(string corpus, IEnumerable<Document> heldOut, int count)
    {
        var all = heldOut.SelectMany(d => d.Replies().Select(turn => (corpus, d, turn))).ToArray();
        return Enumerable.Range(0, Math.Min(count, all.Length)).Select(i => all[i * all.Length / Math.Min(count, all.Length)]);
    }
}
