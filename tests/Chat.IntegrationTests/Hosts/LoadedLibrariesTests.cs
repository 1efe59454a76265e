using Chat.IntegrationTests.Conversations;

namespace Chat.IntegrationTests.Hosts;

/// <summary>What the product's own process has in its memory after it talked.</summary>
public sealed class LoadedLibrariesTests
{
    private static readonly object Options = new { decoding = new { strategy = "greedy", maxTokens = 12 } };

    [Fact]
    public async Task A_gateway_on_CPU_talks_without_libtorch_and_with_it_when_asked_to()
    {
        var (words, libraries) = await TalkAsync(("Models__Weights", "exact"));
        var (torchWords, torchLibraries) = await TalkAsync(("Models__Runner", "torch"));

        Assert.DoesNotContain(libraries, IsTorch);
        Assert.Contains(torchLibraries, IsTorch);
        Assert.NotEqual("", words);
        Assert.Equal(torchWords, words);
    }

    private static bool IsTorch(string path) => path.Contains("torch", StringComparison.OrdinalIgnoreCase) && !path.EndsWith("TorchSharp.dll", StringComparison.Ordinal)
        || path.Contains("libc10", StringComparison.Ordinal);

    private static async Task<(string Words, IReadOnlySet<string> Libraries)> TalkAsync(params (string, string)[] settings)
    {
        var folder = Directory.CreateTempSubdirectory("chat-libraries-");
        try
        {
            await using var process = await ChatProcess.StartAsync(folder.FullName, redis: null, settings);
            await using var client = await process.ConnectAsync();
            var heard = await client.Send(await client.StartAsync(), "m", "你好吗", options: Options).AllAsync();
            Assert.Equal("finished", heard[^1].Type);
            return (heard.Text(), process.LoadedLibraries());
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
