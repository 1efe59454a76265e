namespace Chat.IntegrationTests.Conversations;

/// <summary>Many at once.</summary>
public sealed class CrowdTests
{
    private const int Users = 200;

    [Theory, InlineData(Store.Garnet), InlineData(Store.Redis)]
    public async Task Two_hundred_users_have_two_whole_replies_each(Store store)
    {
        await using var server = await ChatServer.StartAsync(store, settings: ("Limits:Enabled", "false"));
        server.Models.Script = request => string.Concat(Enumerable.Range(0, 20).Select(i => $"{request.Messages[^1].Text} {i}, 你好 "));
        server.Models.BeforeToken = (_, token, cancellation) => token % 20 == 0 ? Task.Delay(5, cancellation) : Task.CompletedTask;

        await Task.WhenAll(Enumerable.Range(0, Users).Select(async user =>
        {
            await using var client = await server.ConnectAsync(messagePack: user % 2 == 1);
            var conversation = await client.StartAsync();
            for (var message = 0; message < 2; message++)
            {
                var text = $"u{user} m{message}";
                var events = await client.Send(conversation, text, text, options: new { decoding = new { maxTokens = 5000 } }).AllAsync();
                Assert.Equal(("finished", "stop"), (events[^1].Type, events[^1].FinishReason));
                Assert.Equal(Enumerable.Range(1, events.Count).Select(i => (long)i), events.Select(e => e.Sequence));
                Assert.Equal(string.Concat(Enumerable.Range(0, 20).Select(i => $"{text} {i}, 你好 ")), events.Text());
            }
            Assert.Equal(4, (await client.HistoryAsync(conversation)).Count);
        }));

        Assert.Equal(0, server.Models.Running);
    }
}
