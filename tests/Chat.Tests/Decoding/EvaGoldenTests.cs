using System.Text.Json.Nodes;
using Chat.Models.Decoding;
using Chat.Models.Decoding.Rules;
using Chat.Models.Engine;

namespace Chat.Tests.Decoding;

/// <summary>The score chain against the numbers of the reference implementation (tests/Golden/eva/processors.json).</summary>
public sealed class EvaGoldenTests
{
    private static readonly JsonNode Processors = Golden.Read("eva/processors.json");

    public static TokenTable Tokens { get; } = TokenTable.FromVocabulary(
        File.ReadAllText(Golden.At("eva/vocab.txt")).Split('\n')[..64], ServedModel.Antonyms(Golden.At("eva/antonyms.json")));

    public static TheoryData<string> ChainIds => [.. Processors["chain"]!.AsArray().Select(c => (string)c!["id"]!)];

    [Theory]
    [MemberData(nameof(ChainIds))]
    public void Chain_gives_the_references_scores(string id)
    {
        var golden = Processors["chain"]!.AsArray().Single(c => (string)c!["id"]! == id)!;
        var scores = Floats(golden["logits"]!);
        var shared = new HashSet<int>();
        var chain = new EvaChain(Options(golden["params"]!, (string)golden["kind"]! == "log_probs"), Tokens, Ints(golden["context_ids"]!), shared);
        chain.AddAntonyms([]);

        chain.Apply(scores, []);

        Assert.Equal(Ints(golden["banned_ngram_ids"]!), chain.BannedNgrams);
        Assert.Equal(Ints(golden["banned_antonym_ids"]!), shared.Order());
        Close(Floats(golden["scores"]!), scores, 1e-4);
        foreach (var filter in golden["filters"]!.AsArray())
        {
            var kept = scores.ToArray();
            EvaChain.Filter(kept, (int)filter!["top_k"]!, (double)filter["top_p"]!);
            var ids = Enumerable.Range(0, kept.Length).Where(i => kept[i] > -9999).ToArray();
            Assert.Equal(Ints(filter["kept_ids"]!), ids);
            Scores.LogSoftmax(kept);
            Close(Floats(filter["probs"]!), [.. ids.Select(i => MathF.Exp(kept[i]))], 1e-5);
        }
    }

    [Fact]
    public void Antonyms_are_banned_for_each_row_or_for_all_as_the_reference_does()
    {
        foreach (var golden in Processors["antonym_rows"]!.AsArray())
        {
            var rows = golden!["context_rows"]!.AsArray().Select(r => Ints(r!)).ToArray();

            var each = rows.Select(r => AntonymRule.Banned(Tokens, r, []).ToArray());

            Assert.Equal(golden["banned_ids_per_row"]!.AsArray().Select(r => Ints(r!)), each);
            Assert.All(golden["banned_ids_compat_shared"]!.AsArray(), r => Assert.Equal(each.SelectMany(b => b).Distinct().Order(), Ints(r!)));
        }
    }

    [Fact]
    public void Beam_sampling_in_compat_form_keeps_the_references_candidates()
    {
        foreach (var golden in Processors["beam_sample"]!.AsArray())
        {
            var parameters = golden!["params"]!;
            var options = new BeamOptions { Temperature = (double)parameters["temperature"]!, TopP = (double)parameters["top_p"]!, TopK = (int)parameters["top_k"]! };
            var all = new List<float>();
            for (var beam = 0; beam < 4; beam++)
            {
                var row = Floats(golden["logits"]![beam]!);
                new EvaChain(Options(parameters, logProbabilities: true), Tokens, Ints(golden["context_rows"]![beam]!), []).Apply(row, []);
                Close(Floats(golden["chain_scores"]![beam]!), row, 1e-4);
                EvaSearch.Accumulate(row, (float)golden["beam_scores"]![beam]!, options, sample: true);
                all.AddRange(row);
            }
            var a = all.ToArray();
            var q = all.ToArray();
            Scores.LogSoftmax(q);
            var kept = Enumerable.Range(0, q.Length).Where(i => MathF.Exp(q[i]) > 0).ToArray();

            Assert.Equal(Ints(golden["kept_flat_ids"]!), kept);
            Close(Floats(golden["kept_cumulative"]!), [.. kept.Select(i => a[i])], 1e-4);
            Close(Floats(golden["kept_probs"]!), [.. kept.Select(i => MathF.Exp(q[i]))], 1e-5);
        }
    }

    // The golden rows give the reply's length apart from its ids: only «too short or not» matters.
    private static EvaChainOptions Options(JsonNode p, bool logProbabilities) => new()
    {
        Temperature = (double)p["temperature"]!,
        RepetitionPenalty = (double)p["repetition_penalty"]!,
        NoRepeatNgram = (int)p["no_repeat_ngram_size"]!,
        MinTokens = (int)p["cur_len"]! < (int)p["min_length"]! ? 1 : 0,
        BanUnknown = (bool?)p["ban_unk"] ?? false,
        Antonyms = (bool)p["antonym"]!,
        LogProbabilities = logProbabilities,
    };

    private static int[] Ints(JsonNode list) => [.. list.AsArray().Select(x => (int)x!)];
    private static float[] Floats(JsonNode list) => [.. list.AsArray().Select(x => (float)x!)];

    private static void Close(float[] expected, float[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++) Assert.True(Math.Abs(expected[i] - actual[i]) <= tolerance, $"[{i}] expected {expected[i]}, got {actual[i]}.");
    }
}
