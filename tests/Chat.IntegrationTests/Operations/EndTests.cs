namespace Chat.IntegrationTests.Operations;

/// <summary>A server that is asked to end ends in order, with the exit code 0, whoever started it.</summary>
public sealed class EndTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("chat-end-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory, InlineData("Ctrl-C"), InlineData("SIGTERM")]
    public async Task What_was_said_is_kept_and_the_process_is_gone(string how)
    {
        string conversation;
        await using (var process = await ChatProcess.StartAsync(folder, redis: null))
        {
            await using var client = await process.ConnectAsync();
            conversation = await client.StartAsync();
            await client.Send(conversation, "m", "hello", options: new { decoding = new { strategy = "greedy", maxTokens = 4 } }).AllAsync();

            Assert.Equal(0, how == "Ctrl-C" ? await process.InterruptAsync() : await process.EndAsync());
            Assert.Contains("Application is shutting down", process.Output, StringComparison.Ordinal);
        }

        await using var again = await ChatProcess.StartAsync(folder, redis: null);
        await using var reader = await again.ConnectAsync();
        Assert.Equal(2, (await reader.HistoryAsync(conversation)).Count);
    }
}
