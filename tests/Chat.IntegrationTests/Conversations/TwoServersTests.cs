using System.Text.Json.Nodes;

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
    public async Task A_reader_on_another_server_keeps_a_reply_alive_and_when_nobody_is_left_it_is_stopped()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var writer = await ChatServer.StartAsync(Store.Redis, redis, settings: ("Replies:NoReaderSeconds", "5"));
        await using var other = await ChatServer.StartAsync(Store.Redis, redis);
        await using var there = await other.ConnectAsync();
        string conversation, reply;
        Hold hold;
        await using (var here = await writer.ConnectAsync()) (conversation, reply, _, hold) = await BeginAsync(writer, here);
        await using var store = await writer.OpenStoreAsync();
        var database = store.GetDatabase();
        var device = await other.ConnectAsync();
        var along = device.Attach(conversation, reply, 0).AllAsync();
        _ = along.ContinueWith(t => t.Exception, TaskScheduler.Default);

        var lease = TimeSpan.Zero;
        var heartbeats = 0;      // one a second, each with a look for readers
        await Until.TrueAsync(async () =>
        {
            var left = await database.KeyTimeToLiveAsync($"chat:{{{conversation}}}:lease") ?? TimeSpan.Zero;
            if (left > lease) heartbeats++;
            lease = left;
            return heartbeats == 8;
        });
        var shown = (await there.HistoryAsync(conversation))[1];
        Assert.Equal("running", (string)shown["state"]!);
        hold.LetPast(11);
        await Until.TrueAsync(async () => ((string)(await there.HistoryAsync(conversation))[1]["text"]!).Length > ((string)shown["text"]!).Length);
        Assert.False(along.IsCompleted);
        await device.DisposeAsync();

        await Until.TrueAsync(async () => (string)(await there.HistoryAsync(conversation))[1]["state"]! == "stopped");
        Assert.Equal(0, writer.Models.Running);
    }

    [Fact]
    public async Task A_running_reply_is_listed_and_its_log_says_how_far_the_model_was()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var server = await ChatServer.StartAsync(Store.Redis, redis, settings: ("Safety:Words:0", "sevenths"));
        await using var client = await server.ConnectAsync();
        await using var store = await server.OpenStoreAsync();
        var database = store.GetDatabase();
        var (conversation, reply, heard, hold) = await BeginAsync(server, client);

        Assert.Equal([$"{conversation}/{reply}"], (await database.SortedSetRangeByRankAsync("chat:running")).Select(m => (string)m!));
        hold.LetGo();
        var events = await heard;

        await Until.TrueAsync(async () => !await database.KeyExistsAsync("chat:running"));
        var logged = (await database.ListRangeAsync($"chat:{{{conversation}}}:log:{reply}")).Skip(1).Select(e => JsonNode.Parse((string)e!)!).ToArray();
        var seed = (long)logged[0]["progress"]!["seed"]!;
        var (steps, tokens) = (logged.Select(e => (int)e["progress"]!["step"]!).ToArray(), logged.Select(e => (int)e["progress"]!["tokens"]!).ToArray());
        Assert.All(logged, e => Assert.Equal(seed, (long)e["progress"]!["seed"]!));
        Assert.Equal(steps.Order(), steps);
        Assert.All(steps.Zip(tokens), pair => Assert.InRange(pair.Second, 0, pair.First));
        Assert.Equal(((int)events[^1].Raw["usage"]!["completionTokens"]!, (int)events[^1].Raw["usage"]!["completionTokens"]!), (steps[^1], tokens[^1]));
        Assert.True(tokens[0] < steps[^1]);
        Assert.All(events, e => Assert.DoesNotContain("progress", e.Raw.Select(p => p.Key)));
    }

    [Fact]
    public async Task A_reply_whose_process_died_is_interrupted_though_nobody_reads_it()
    {
        await using var redis = await RedisServer.StartAsync();
        var folder = Directory.CreateTempSubdirectory("chat-test-");
        await using (var process = await ChatProcess.StartAsync(folder.FullName, redis.Configuration))
        {
            await using var client = await process.ConnectAsync();
            await foreach (var _ in client.Send(await client.StartAsync(), "m", "hi", options: new { decoding = new { minTokens = 60 } }))
            {
                process.Kill();
                break;
            }
        }
        await using var server = await ChatServer.StartAsync(Store.Redis, redis);
        await using var store = await server.OpenStoreAsync();
        await Until.TrueAsync(async () => !await store.GetDatabase().KeyExistsAsync("chat:running"));

        var turns = Assert.Single(await server.KeysAsync("*:turns"));
        Assert.DoesNotContain(await store.GetDatabase().HashValuesAsync(turns), turn => (string?)JsonNode.Parse((string)turn!)!["state"] == "running");
        folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_tenants_conversations_are_kept_as_long_as_its_policy_says()
    {
        await using var server = await ChatServer.StartAsync(Store.Redis, settings: [.. Tokens.Settings, ("Retention:Days", "30"), ("Retention:Tenants:acme", "2"), ("Retention:Tenants:museum", "0")]);
        await using var store = await server.OpenStoreAsync();
        foreach (var (tenant, days) in new[] { ("", 30), ("acme", 2), ("museum", 0) })
        {
            await using var client = await server.ConnectAsync(token: Tokens.For("ann", tenant: tenant));
            var conversation = await client.StartAsync();
            var reply = (await client.Send(conversation, "m", "hello").AllAsync())[0].ReplyId;
            await client.InvokeAsync("Rate", conversation, reply, "up", null);
            await client.StreamAsync("Regenerate", conversation, reply, "r", null).AllAsync();

            string[] keys = [.. await server.KeysAsync($"*{conversation}*"), .. await server.KeysAsync($"*{{{tenant}/ann}}*")];
            Assert.InRange(keys.Length, 9, 12);
            foreach (var key in keys.Where(k => !k.Contains(":log:", StringComparison.Ordinal)))
            {
                var left = await store.GetDatabase().KeyTimeToLiveAsync(key);
                if (days == 0) Assert.Null(left);
                else Assert.InRange(left ?? TimeSpan.Zero, TimeSpan.FromDays(days) - TimeSpan.FromHours(1), TimeSpan.FromDays(days));
            }
        }
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
