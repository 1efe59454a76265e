using System.Text.Json.Nodes;
using Chat.Models.Decoding;
using Chat.Models.Decoding.Rules;
using Chat.Models.Engine;

namespace Chat.GoldenRunner;

/// <summary>Score processing on single rows: chain and filters, antonym bans of a call, one step of «beam + sampling».</summary>
internal static class Chain
{
    public static JsonNode Run(Arguments arguments, JsonNode input)
    {
        var tokens = Vocabulary(arguments.Model, Path.Combine(arguments.Model, ServedModel.AntonymsFileName));
        return new JsonObject
        {
            ["chain"] = Cases.Each(input, "chain", one => OneRow(one, tokens)),
            ["antonym_rows"] = Cases.Each(input, "antonym_rows", one => Antonyms(one, tokens)),
            ["beam_sample"] = Cases.Each(input, "beam_sample", one => BeamSample(one, tokens)),
        };
    }

    public static TokenTable Vocabulary(string folder, string antonyms) =>
        TokenTable.FromVocabulary([.. File.ReadLines(Path.Combine(folder, "vocab.txt")).Select(line => line.Trim())], ServedModel.Antonyms(antonyms));

    private static JsonObject OneRow(JsonObject one, TokenTable tokens)
    {
        var scores = Floats(one["logits"]);
        var banned = new HashSet<int>();
        var chain = new EvaChain(Options(one["params"]!, (string)one["kind"]! == "log_probs"), tokens, one["context_ids"].Ints(), banned);
        chain.AddAntonyms([]);
        chain.Apply(scores, []);
        return new()
        {
            ["scores"] = Cases.Numbers(scores),
            ["banned_ngram_ids"] = Cases.Numbers(chain.BannedNgrams),
            ["banned_antonym_ids"] = Cases.Numbers(banned.Order()),
            ["filters"] = new JsonArray([.. (one["filters"]?.AsArray() ?? []).Select(filter => (JsonNode)Filter(scores, (int)filter!["top_k"]!, (double)filter["top_p"]!))]),
        };
    }

    private static JsonObject Filter(float[] scores, int topK, double topP)
    {
        var left = scores.ToArray();
        EvaChain.Filter(left, topK, topP);
        int[] kept = [.. Enumerable.Range(0, left.Length).Where(id => left[id] > -9999)];
        Scores.LogSoftmax(left);
        return new() { ["top_k"] = topK, ["top_p"] = topP, ["kept_ids"] = Cases.Numbers(kept), ["probs"] = Cases.Numbers(kept.Select(id => MathF.Exp(left[id]))) };
    }

    private static JsonObject Antonyms(JsonObject one, TokenTable tokens)
    {
        var each = one["context_rows"].Rows().Select(row => AntonymRule.Banned(tokens, row, [])).ToArray();
        var shared = each.SelectMany(banned => banned).Distinct().Order().ToArray();
        return new()
        {
            ["banned_ids_per_row"] = new JsonArray([.. each.Select(banned => (JsonNode)Cases.Numbers(banned))]),
            ["banned_ids_compat_shared"] = new JsonArray([.. each.Select(_ => (JsonNode)Cases.Numbers(shared))]),
        };
    }

    private static JsonObject BeamSample(JsonObject one, TokenTable tokens)
    {
        var parameters = one["params"]!;
        var (sums, contexts) = (Floats(one["beam_scores"]), one["context_rows"].Rows());
        var rows = one["logits"]!.AsArray().Select(Floats).ToArray();
        var banned = new HashSet<int>();
        EvaChain[] chains = [.. contexts.Select(context => new EvaChain(Options(parameters, logProbabilities: true), tokens, context, banned))];
        foreach (var chain in chains) chain.AddAntonyms([]);
        for (var beam = 0; beam < rows.Length; beam++) chains[beam].Apply(rows[beam], []);
        var scores = new JsonArray([.. rows.Select(row => (JsonNode)Cases.Numbers(row))]);

        // Top-p of 0 and of 1 both mean off; the options record knows 1.
        var options = new BeamOptions { Temperature = (double)parameters["temperature"]!, TopK = (int?)parameters["top_k"] ?? 0, TopP = (double?)parameters["top_p"] is > 0 and var p ? p : 1 };
        for (var beam = 0; beam < rows.Length; beam++) EvaSearch.Accumulate(rows[beam], sums[beam], options, sample: true);
        float[] sum = [.. rows.SelectMany(row => row)], probabilities = [.. sum];
        Scores.LogSoftmax(probabilities);
        int[] kept = [.. Enumerable.Range(0, sum.Length).Where(at => MathF.Exp(probabilities[at]) > 0)];
        return new()
        {
            ["chain_scores"] = scores,
            ["kept_flat_ids"] = Cases.Numbers(kept),
            ["kept_cumulative"] = Cases.Numbers(kept.Select(at => sum[at])),
            ["kept_probs"] = Cases.Numbers(kept.Select(at => MathF.Exp(probabilities[at]))),
        };
    }

    // A row's ids come as one list and the reply's length beside it: all that the length decides is whether the reply may end.
    private static EvaChainOptions Options(JsonNode parameters, bool logProbabilities) => new()
    {
        Temperature = (double)parameters["temperature"]!,
        RepetitionPenalty = (double)parameters["repetition_penalty"]!,
        NoRepeatNgram = (int)parameters["no_repeat_ngram_size"]!,
        MinTokens = (int)parameters["cur_len"]! < (int)parameters["min_length"]! ? 1 : 0,
        BanUnknown = (bool?)parameters["ban_unk"] ?? false,
        Antonyms = (bool?)parameters["antonym"] ?? false,
        LogProbabilities = logProbabilities,
    };

    private static float[] Floats(JsonNode? node) => [.. node!.AsArray().Select(value => (float)value!)];
}
