using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Chat.Domain.Safety;
using Chat.Safety;

namespace Chat.Tests.Safety;

/// <summary>Spans and near misses of tests/Golden/safety.</summary>
public class SafetyGoldenTests
{
    private static readonly string Folder = Path.Combine(Path.GetDirectoryName(Here())!, "..", "..", "Golden", "safety");

    private static IEnumerable<JsonNode> Lines(string file) => File.ReadLines(Path.Combine(Folder, file)).Select(line => JsonNode.Parse(line)!);

    private static string Here([CallerFilePath] string path = "") => path;

    [Theory]
    [InlineData("cn_mobile"), InlineData("email")]
    public void Every_span_is_exact_and_no_near_miss_hits(string type)
    {
        var spans = new List<(int, int)>();
        var policy = new SafetyPolicy([type == "email" ? new EmailFilter() : new PhoneFilter()], audit: record => spans.Add((record.Finding.Start, record.Finding.End)));
        var lines = Lines("pii.jsonl").Where(line => (string)line["type"]! == type).ToList();

        Assert.True(lines.Count > 70);
        Assert.All(lines, line =>
        {
            spans.Clear();
            policy.Check((string)line["text"]!, "test");
            Assert.Equal((bool)line["label"]! ? [((int)line["start"]!, (int)line["end"]!)] : [], spans);
        });
    }

    [Fact]
    public void Clean_sentences_pass_every_shipped_filter_untouched()
    {
        var policy = new SafetyPolicy([new WordFilter(), new EmailFilter(), new PhoneFilter()]);
        var lines = Lines("clean.jsonl").ToList();

        Assert.Equal(776, lines.Count);
        Assert.All(lines, line => Assert.Empty(policy.Check((string)line["text"]!, "test").Findings));
    }
}
