using System.Text.Json.Nodes;
using Chat.GoldenRunner;

namespace Chat.Tests.Tokenizers;

/// <summary>Runs a folder's tokenize.json through the golden runner.</summary>
internal static class TokenizeGolden
{
    public static void Agrees(string folder)
    {
        var golden = Golden.Read($"{folder}/tokenize.json")["cases"]!.AsArray();
        var answers = Tokenize.Run(new Arguments("tokenize", Golden.At(folder), "", null), new JsonObject { ["cases"] = golden.DeepClone() })["cases"]!.AsArray();
        Assert.NotEmpty(golden);
        Assert.Equal(golden.Count, answers.Count);
        foreach (var (one, answer) in golden.Zip(answers))
            foreach (var (key, expected) in one!["expected"]!.AsObject()) Assert.Equal($"{one["id"]} {expected!.ToJsonString()}", $"{one["id"]} {answer![key]?.ToJsonString()}");
    }
}
