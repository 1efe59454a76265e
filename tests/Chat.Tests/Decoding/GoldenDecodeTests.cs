using System.Text.Json.Nodes;
using Chat.GoldenRunner;

namespace Chat.Tests.Decoding;

/// <summary>Whole decodes on the golden models, through the operations that further golden values are run with.</summary>
public sealed class GoldenDecodeTests
{
    [Theory]
    [InlineData("m1")]
    [InlineData("m2")]
    public void Decodes_are_the_references(string model)
    {
        var folder = Golden.At($"eva/models/{model}");
        var golden = Golden.Read($"eva/models/{model}/decode.json");

        var answers = Decode.Run(new("decode", folder, "", null), golden)["cases"]!.AsArray();

        foreach (var (one, answer) in golden["cases"]!.AsArray().Zip(answers))
        {
            var (id, expected) = ((string)one!["id"]!, one["expected"]!);
            foreach (var key in new[] { "best_ids", "best_text", "finished" })
                if (expected[key] is { } value) Assert.True(JsonNode.DeepEquals(value, answer![key]), $"{id} {key}: {answer[key]?.ToJsonString()}");
            if (expected["pool"] is not JsonArray pools) continue;
            foreach (var (pool, actual) in pools.Zip(answer!["pool"]!.AsArray()))
            {
                Assert.Equal(pool!.AsArray().Select(h => h!["ids"]!.ToJsonString()), actual!.AsArray().Select(h => h!["ids"]!.ToJsonString()));
                Golden.Close(new JsonArray([.. pool.AsArray().Select(h => h!["score"]!.DeepClone())]), new JsonArray([.. actual.AsArray().Select(h => h!["score"]!.DeepClone())]), 1e-4, 0, id);
            }
        }
    }

    [Theory]
    [InlineData("m1")]
    [InlineData("m2")]
    public void Compat_beams_are_equal_and_their_number_does_not_matter(string model)
    {
        var folder = Golden.At($"eva/models/{model}");
        var cases = new JsonObject { ["cases"] = new JsonArray([.. Golden.Read($"eva/models/{model}/decode.json")["cases"]!.AsArray().Where(c => (string)c!["mode"]! == "beam_compat").Select(c => c!.DeepClone())]) };
        var four = Decode.Run(new("decode", folder, "", null), cases)["cases"]!.AsArray();
        foreach (var one in cases["cases"]!.AsArray()) one!["params"]!["num_beams"] = 1;

        var single = Decode.Run(new("decode", folder, "", null), cases)["cases"]!.AsArray();

        Assert.NotEmpty(four);
        foreach (var (a, b) in four.Zip(single))
        {
            Assert.Equal(a!["best_ids"]!.ToJsonString(), b!["best_ids"]!.ToJsonString());
            Assert.All(a["pool"]!.AsArray(), pool => Assert.Single(pool!.AsArray().Select(h => h!["ids"]!.ToJsonString()).Distinct()));
        }
    }
}
