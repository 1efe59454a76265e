using System.Text.Json.Nodes;
using Chat.GoldenRunner;

namespace Chat.Tests.Architectures;

/// <summary>Values of the reference implementation, computed through the golden runner's own operation.</summary>
public class GoldenForwardTests
{
    [Theory]
    [InlineData("m1", null)]
    [InlineData("m1", "megatron")]
    [InlineData("m2", null)]
    public void Forward_passes_agree_with_the_reference(string model, string? weights)
    {
        var golden = Golden.Read($"eva/models/{model}/forward.json")["cases"]!.AsArray();
        var answers = Forward.Run(new Arguments("forward", Golden.At($"eva/models/{model}"), "", weights), Stripped(golden))["cases"]!.AsArray();
        Assert.Equal(golden.Count, answers.Count);
        foreach (var (one, answer) in golden.Zip(answers))
        {
            Assert.Null(answer!["error"]);
            foreach (var (key, expected) in one!["expected"]!.AsObject().Where(pair => answer[pair.Key] is not null)) Compare(key, expected!, answer[key]!, $"{one["id"]} {key}");
        }
    }

    [Fact]
    public void Buckets_agree_with_the_reference()
    {
        var golden = Golden.Read("eva/buckets.json").AsObject();
        var input = new JsonObject { ["distance_key_minus_query"] = golden["distance_key_minus_query"]!.DeepClone(), ["max_distance"] = 128, ["sizes"] = new JsonArray(16, 32, 64) };
        var answer = Buckets.Run(new Arguments("buckets", "", "", null), input);
        var tables = golden.Where(pair => pair.Key.StartsWith("encoder_", StringComparison.Ordinal) || pair.Key.StartsWith("decoder_", StringComparison.Ordinal)).ToArray();
        Assert.NotEmpty(tables);
        foreach (var (name, table) in tables) Assert.Equal(table!.ToJsonString(), answer[name]!.ToJsonString());
    }

    private static JsonObject Stripped(JsonArray golden) => new()
    {
        ["cases"] = new JsonArray([.. golden.Select(node =>
        {
            var one = node!.DeepClone().AsObject();
            var expected = one["expected"]!.AsObject();
            foreach (var rows in new[] { "enc_rows", "logit_rows" })
                if (expected[rows] is { } list) one[rows] = list.DeepClone();
            one["want"] = new JsonArray([.. expected.Select(pair => pair.Key).Where(key => key is not ("enc_rows" or "logit_rows" or "pad_embedding_gradient_l2")).Select(key => (JsonNode)key)]);
            one.Remove("expected");
            return (JsonNode)one;
        })]),
    };

    private static void Compare(string key, JsonNode expected, JsonNode actual, string where)
    {
        if (key.StartsWith("loss", StringComparison.Ordinal)) Golden.Close(expected, actual, 1e-5, 0, where);
        else if (key != "gradients") Golden.Close(expected, actual, 5e-5, 1e-5, where);
        else
        {
            Assert.Equal(expected.AsObject().Select(pair => pair.Key).Order(), actual.AsObject().Select(pair => pair.Key).Order());
            foreach (var (name, gradient) in expected.AsObject())
            {
                Golden.Close(gradient!["l2"], actual[name]!["l2"], 1e-6, 1e-4, $"{where} {name} l2");
                Golden.Close(gradient["first"], actual[name]!["first"], 2e-5, 1e-4, $"{where} {name} first");
            }
        }
    }
}
