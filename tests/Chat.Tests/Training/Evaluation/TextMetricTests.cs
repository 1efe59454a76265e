using System.Text.Json.Nodes;
using Chat.Domain.Plugins;
using Chat.Training.Evaluation.Metrics;
using CsCheck;

namespace Chat.Tests.Training.Evaluation;

public class TextMetricTests
{
    private static readonly PluginCatalog Plugins = new(typeof(ITextMetric).Assembly);

    public static TheoryData<string> Metrics => [.. Plugins.OfKind("metric").Select(p => p.Name)];

    private static Response Said(string text, string language = "en", string[]? references = null, string[]? context = null) => new(text, references ?? [], language, context ?? []);

    private static double Value(string metric, string figure, params Response[] responses) =>
        Plugins.Create<ITextMetric>(metric).Prepare(responses).Single(m => m.Name == figure).Value(Bootstrap.All(responses.Length));

    private static double Value(string metric, params Response[] responses) => Value(metric, metric, responses);

    [Fact]
    public void Stems_are_nltks()
    {
        var pairs = File.ReadLines(Golden.At("evaluation/porter.txt")).Where(line => line[0] != '#').Select(line => line.Split(' ')).ToArray();

        Assert.True(pairs.Length > 1200);
        Assert.Equal(pairs.Select(p => p[1]), pairs.Select(p => PorterStemmer.Stem(p[0])));
    }

    [Fact]
    public void Rouge_l_and_bleu_are_the_references()
    {
        var golden = Golden.Read("evaluation/overlap.json");
        var cases = golden["cases"]!.AsArray().Select(c => (Response: Read(c!), Rouge: (double)c!["rougeL"]!, Bleu: (double)c["bleu"]!)).ToArray();

        foreach (var (response, rouge, bleu) in cases)
        {
            Assert.Equal(rouge, Value("rouge-l", response), 12);
            Assert.Equal(bleu, Value("sentence-bleu-4", response), 12);
        }
        foreach (var corpus in golden["corpora"]!.AsArray())
            Assert.Equal((double)corpus!["bleu"]!, Value("bleu-4", [.. cases.Select(c => c.Response).Where(r => r.Language == (string)corpus["language"]!)]), 12);

        static Response Read(JsonNode c) => Said((string)c["text"]!, (string)c["language"]!, [.. c["references"]!.AsArray().Select(r => (string)r!)]);
    }

    [Fact]
    public void Rouge_l_of_rouge_scores_own_example() =>
        Assert.Equal(0.5882352941176471, Value("rouge-l", Said("The quick brown dog jumps on the log.", references: ["The quick brown fox jumps over the lazy dog"])), 12);

    [Fact]
    public void Responses_without_references_do_not_count()
    {
        var hit = Said("one two three four", references: ["one two three four"]);

        foreach (var metric in (string[])["rouge-l", "bleu-4", "sentence-bleu-4", "character-f1"]) Assert.Equal(1, Value(metric, hit, Said("something else")), 12);
    }

    [Fact]
    public void Distinct_counts_words_of_English_and_characters_of_Chinese()
    {
        Assert.Equal(3.0 / 4, Value("distinct", "distinct-1", Said("a b"), Said("b c")), 12);
        Assert.Equal(2.0 / 4, Value("distinct", "distinct-1", Said("哈哈哈嗨", "zh")), 12);
        Assert.Equal(2.0 / 3, Value("distinct", "distinct-2", Said("哈哈哈嗨", "zh")), 12);
        Assert.Equal(1, Value("distinct", "distinct-4", Said("哈哈哈嗨", "zh")), 12);
    }

    [Fact]
    public void Evas_distinct_leaves_each_last_gram_out()
    {
        Assert.Equal(0, Value("distinct-eva", "distinct-eva-4", Said("一二三四", "zh")));
        Assert.Equal(1.0 / 2, Value("distinct-eva", "distinct-eva-2", Said("哈哈哈嗨", "zh")), 12);
        Assert.Equal(2.0 / 3, Value("distinct-eva", "distinct-eva-1", Said("aab b", "en")), 12);       // a a b of «aabb»
    }

    [Fact]
    public void Repetition_within_a_reply_and_of_its_context()
    {
        Assert.Equal(3.0 / 5, Value("self-repetition", Said("x y x y x y x"), Said("a b")), 12);           // xyx yxy xyx yxy xyx
        Assert.Equal(0, Value("self-repetition", Said("a b c d e"), Said("a b")), 12);
        Assert.Equal(0.5, Value("self-repetition", "context-repetition", Said("今天天好", "zh", context: ["我今天天气"])), 12);
    }

    [Fact]
    public void Length_is_a_mean() => Assert.Equal(3, Value("length", Said("Well, no."), Said("你好", "zh")), 12);

    [Theory, MemberData(nameof(Metrics))]
    public void Every_metric_is_in_range_blind_to_order_and_safe_on_nothing(string name)
    {
        var metric = Plugins.Create<ITextMetric>(name);
        foreach (var measure in metric.Prepare([])) Assert.Equal(0, measure.Value([]));

        var word = Gen.Int[0, 7].Select(i => ((string[])["the", "cat", "sat", "on", "mats", "。", "好", ""])[i]);
        var text = word.Array[0, 9].Select(words => string.Join(' ', words));
        var response = Gen.Select(text, text.Array[0, 3], Gen.Bool.Select(b => b ? "en" : "zh"), text.Array[0, 2], (t, r, l, c) => new Response(t, r, l, c));
        response.Array[1, 8].Sample(responses =>
        {
            var indices = Bootstrap.All(responses.Length);
            foreach (var measure in metric.Prepare(responses))
            {
                var value = measure.Value(indices);
                Assert.True(value >= 0 && (value <= 1 + 1e-12 || name == "length"), $"{measure.Name}: {value}");
                Assert.Equal(value, measure.Value([.. indices.Reverse()]), 12);
            }
        }, iter: 200, seed: "0000000000000");
    }
}
