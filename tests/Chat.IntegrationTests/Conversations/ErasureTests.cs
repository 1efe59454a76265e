using System.Text;

namespace Chat.IntegrationTests.Conversations;

/// <summary>What is erased leaves the disk of the embedded store too, and takes nothing else along.</summary>
public sealed class ErasureTests
{
    private const string Erased = "speak friend and be forgotten", Kept = "speak friend and be remembered";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]     // it is killed before it came to it, and goes on at the next start
    public async Task Erased_text_leaves_the_disk_and_all_else_survives_a_kill(bool isKilledBefore)
    {
        var folder = Directory.CreateTempSubdirectory("chat-test-").FullName;
        try
        {
            string erased, kept;
            await using (var process = await ChatProcess.StartAsync(folder, redis: null, ("Data__ErasedTextSeconds", isKilledBefore ? "3600" : "1")))
            {
                await using var client = await process.ConnectAsync();
                (erased, kept) = (await SayAsync(client, Erased), await SayAsync(client, Kept));
                Assert.True(IsOnDisk(folder, Erased));

                using var http = new HttpClient { BaseAddress = process.Address };
                using var deleted = await http.DeleteAsync($"/api/conversations/{erased}");
                Assert.True(deleted.IsSuccessStatusCode);
                if (!isKilledBefore) await Until.TrueAsync(() => !IsOnDisk(folder, Erased));
                process.Kill();
            }
            await using (var process = await ChatProcess.StartAsync(folder, redis: null, ("Data__ErasedTextSeconds", "1")))
            {
                await Until.TrueAsync(() => !IsOnDisk(folder, Erased));
                await using var client = await process.ConnectAsync();
                Assert.Equal(Kept, (string)(await client.HistoryAsync(kept))[0]["text"]!);
                Assert.Equal("finished", (await client.Send(kept, "m2", "and on").AllAsync())[^1].Type);
                process.Kill();
            }
            Assert.True(IsOnDisk(folder, Kept));
            await using (var process = await ChatProcess.StartAsync(folder, redis: null))
            {
                await using var client = await process.ConnectAsync();
                Assert.Equal(4, (await client.HistoryAsync(kept)).Count);
                Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(() => client.HistoryAsync(erased)));
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<string> SayAsync(ChatClient client, string text)
    {
        var conversation = await client.StartAsync();
        await client.Send(conversation, "m", text, options: new { decoding = new { maxTokens = 4 } }).AllAsync();
        return conversation;
    }

    private static bool IsOnDisk(string folder, string text) => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Any(file =>
    {
        try
        {
            using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            var bytes = new byte[stream.Length];
            return bytes.AsSpan(0, stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false)).IndexOf(Encoding.ASCII.GetBytes(text)) >= 0;
        }
        catch (IOException) { return false; }     // gone just now, or the lock
    });
}
