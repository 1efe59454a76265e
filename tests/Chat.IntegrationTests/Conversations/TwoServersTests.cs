namespace Chat.IntegrationTests.Conversations;

/// <summary>Two gateways on one Redis, and what is left when one of them, or the store, dies.</summary>
public sealed class TwoServersTests
{
    private const string Words = "one two three four five six seven eight nine ten";

    [Fact]
    public async Task A_reply_is_read_stopped_and_continued_from_another_server()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var writer = await ChatServer.StartAsync(Store.Redis, redis);
        await using var other = await ChatServer.StartAsync(Store.Redis, redis);
        await using var here = await writer.ConnectAsync();
        await using var there = await other.ConnectAsync(messagePack: true);
        var (conversation, reply, first, hold) = await BeginAsync(writer, here);

        var along = there.Attach(conversation, reply, 0).AllAsync();
        hold.LetPast(11);
        Assert.StartsWith("busy: ", await ChatClient.ErrorOfAsync(there.Send(conversation, "m2", "too early")));
        await there.StopAsync(conversation, reply);

        var heard = await first;
        Assert.Equal(("finished", "stopped"), (heard[^1].Type, heard[^1].FinishReason));
        Assert.Equal(heard.Select(e => (e.Type, e.Sequence, e.Text)), (await along).Select(e => (e.Type, e.Sequence, e.Text)));
        Assert.Equal(heard.Text(), (string)(await there.HistoryAsync(conversation))[1]["text"]!);
        Assert.Equal("finished", (await there.Send(conversation, "m2", "now here").AllAsync())[^1].Type);
    }

    [Fact]
    public async Task A_shutdown_ends_a_running_reply_as_interrupted_and_the_message_can_be_sent_again()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var other = await ChatServer.StartAsync(Store.Redis, redis);
        await using var there = await other.ConnectAsync();
        string conversation;
        await using (var writer = await ChatServer.StartAsync(Store.Redis, redis))
        {
            await using var here = await writer.ConnectAsync();
            (conversation, _, var heard, _) = await BeginAsync(writer, here);
            _ = heard.ContinueWith(t => t.Exception, TaskScheduler.Default);
        }

        var turn = (await there.HistoryAsync(conversation))[1];
        var text = (string)turn["text"]!;
        Assert.Equal("interrupted", (string)turn["state"]!);
        Assert.StartsWith(text, Words, StringComparison.Ordinal);
        var replay = await there.Attach(conversation, (string)turn["id"]!, 0).AllAsync();
        Assert.Equal((text, "error"), (replay.Text(), replay[^1].Type));
        var again = await there.Send(conversation, "m", "hi").AllAsync();
        Assert.NotEqual((string)turn["id"]!, again[0].ReplyId);
        Assert.Equal("finished", again[^1].Type);
        Assert.Equal(3, (await there.HistoryAsync(conversation)).Count);
    }

    [Fact]
    public async Task A_reply_whose_writer_lost_its_lease_to_another_writes_nothing_more()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var server = await ChatServer.StartAsync(Store.Redis, redis);
        await using var client = await server.ConnectAsync();
        var (conversation, reply, heard, hold) = await BeginAsync(server, client);
        await using var store = await server.OpenStoreAsync();
        var database = store.GetDatabase();
        var length = await database.ListLengthAsync($"chat:{{{conversation}}}:log:{reply}");

        await database.StringIncrementAsync($"chat:{{{conversation}}}:fence");
        hold.LetGo();
        await Until.TrueAsync(() => server.Models.Running == 0);

        Assert.Equal(length, (await database.ListRangeAsync($"chat:{{{conversation}}}:log:{reply}")).TakeWhile(e => !((string)e!).Contains("\"error\"")).Count());
        Assert.Equal("error", (await heard)[^1].Type);
        Assert.Equal("interrupted", (string)(await client.HistoryAsync(conversation))[1]["state"]!);
    }

    [Fact]
    public async Task While_the_store_is_away_calls_are_busy_and_a_running_reply_goes_on_when_it_is_back()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var server = await ChatServer.StartAsync(Store.Redis, redis);
        await using var client = await server.ConnectAsync();
        var (conversation, _, heard, hold) = await BeginAsync(server, client);

        redis.Kill();
        hold.LetGo();
        Assert.StartsWith("busy: The conversation store does not answer", await ChatClient.ErrorOfAsync(() => client.StartAsync()));
        await redis.RestartAsync();

        var events = await heard;
        Assert.Equal((Words, "finished"), (events.Text(), events[^1].Type));
        Assert.Equal(Enumerable.Range(1, events.Count).Select(i => (long)i), events.Select(e => e.Sequence));
        Assert.Equal(Words, (string)(await client.HistoryAsync(conversation))[1]["text"]!);
    }

    [Fact]
    public async Task A_reply_that_nobody_reads_is_stopped()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: ("Replies:NoReaderSeconds", "0.2"));
        server.Models.BeforeToken = (_, token, cancellation) => token < 4 ? Task.CompletedTask : Task.Delay(Timeout.Infinite, cancellation);
        await using var client = await server.ConnectAsync();
        var conversation = await client.StartAsync();

        await using (var device = await server.ConnectAsync())
        {
            await foreach (var item in device.Send(conversation, "m", "hi"))
                if (item.Type == "delta") break;
        }

        await Until.TrueAsync(async () => (string)(await client.HistoryAsync(conversation))[1]["state"]! == "stopped");
        Assert.Equal(0, server.Models.Running);
    }

    [Fact]
    public async Task Without_its_log_a_reply_is_not_attached_to_but_its_message_still_gives_its_text()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var server = await ChatServer.StartAsync(Store.Redis, redis);
        await using var client = await server.ConnectAsync();
        var conversation = await client.StartAsync();
        var first = await client.Send(conversation, "m", "hello").AllAsync();
        await using var store = await server.OpenStoreAsync();
        var log = $"chat:{{{conversation}}}:log:{first[0].ReplyId}";

        Assert.InRange((await store.GetDatabase().KeyTimeToLiveAsync(log))!.Value, TimeSpan.FromHours(23), TimeSpan.FromHours(24));
        await store.GetDatabase().KeyDeleteAsync(log);

        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(client.Attach(conversation, first[0].ReplyId, 0)));
        var again = await client.Send(conversation, "m", "hello").AllAsync();
        Assert.Equal(["started", "delta", "finished"], again.Select(e => e.Type));
        Assert.Equal([1L, 2L, 3L], again.Select(e => e.Sequence));
        Assert.Equal(first.Text(), again.Text());
        Assert.Equal(first[^1].Raw["usage"]!.ToJsonString(), again[^1].Raw["usage"]!.ToJsonString());
    }

    /// <summary>A reply of <see cref="Words"/> of which some are shown and the rest is held back.</summary>
    private static async Task<(string Conversation, string Reply, Task<List<WireEvent>> Heard, Hold Hold)> BeginAsync(ChatServer server, ChatClient client)
    {
        server.Say("hi", Words);
        var hold = server.HoldAt("hi", 8);
        var conversation = await client.StartAsync();
        var heard = client.Send(conversation, "m", "hi").AllAsync();
        await Until.TrueAsync(async () => await client.HistoryAsync(conversation) is [_, var t] && ((string)t["text"]!).Length > 10);
        return (conversation, (string)(await client.HistoryAsync(conversation))[1]["id"]!, heard, hold);
    }
}
