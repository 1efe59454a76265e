using System.Text.Json.Nodes;
using Chat.GoldenRunner;

namespace Chat.Tests.Architectures;

/// <summary>Values of tiny models in Hugging Face's layout, computed through the golden runner's own operation.</summary>
public class GoldenFamilyTests
{
    [Theory]
    [InlineData("gpt2_a")]
    [InlineData("llama_a")]
    [InlineData("qwen2_a")]
    [InlineData("t5_a")]
    [InlineData("bert_a")]
    [InlineData("bert_a", Arguments.Kernels)]
    public void Forward_passes_agree_with_the_reference(string model, string runner = Arguments.Torch)
    {
        var folder = $"families/models/{model}";
        var golden = Golden.Read($"{folder}/forward.json")["cases"]!.AsArray();
        var answers = Forward.Run(new Arguments("forward", Golden.At(folder), "", null, runner), Stripped(golden))["cases"]!.AsArray();
        Assert.Equal(golden.Count, answers.Count);
        foreach (var (one, answer) in golden.Zip(answers))
        {
            Assert.Null(answer!["error"]);
            foreach (var (key, value) in one!["expected"]!.AsObject())
            {
                var expected = value is JsonValue word && word.TryGetValue<string>(out var text) && text == "as_logits" ? one["expected"]!["logits"] : value;
                var (absolute, relative) = key switch
                {
                    "greedy_ids" => (0, 0),
                    "loss" or "loss_rows" => (2e-5, 0),
                    "embedding" => (1e-5, 0),
                    _ => ((double?)one["tol"] ?? 5e-5, 1e-5),
                };
                Golden.Close(expected, answer[key], absolute, relative, $"{model} {runner} {one["id"]} {key}");
            }
        }
    }

    private static JsonObject Stripped(JsonArray golden) => new()
    {
        ["cases"] = new JsonArray([.. golden.Select(node =>
        {
            var one = node!.DeepClone().AsObject();
            one["want"] = new JsonArray([.. one["expected"]!.AsObject().Select(pair => (JsonNode)pair.Key)]);
            one.Remove("expected");
            return (JsonNode)one;
        })]),
    };
}
