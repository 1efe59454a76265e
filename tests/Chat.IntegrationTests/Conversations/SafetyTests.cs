using StackExchange.Redis;

namespace Chat.IntegrationTests.Conversations;

/// <summary>The safety gate in a conversation's way: what is forbidden reaches neither client nor store, and says so.</summary>
public sealed class SafetyTests : IAsyncLifetime
{
    private RedisServer redis = null!;
    private ChatServer server = null!;
    private ChatClient client = null!;

    public async ValueTask InitializeAsync()
    {
        redis = await RedisServer.StartAsync();
        server = await ChatServer.StartAsync(Store.Redis, redis, settings: [("Safety:Words:0", "forbidden"), ("Safety:Words:1", "禁语"), ("Safety:Masked:0", "darn")]);
        client = await server.ConnectAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await client.DisposeAsync();
        await server.DisposeAsync();
        await redis.DisposeAsync();
    }

    [Theory]
    [InlineData("The word is forbidden here.", "The word is ")]
    [InlineData("这个词是禁语，不能说。", "这个词是")]
    public async Task A_reply_ends_before_the_forbidden_word_and_the_rest_is_nowhere(string said, string shown)
    {
        server.Models.Script = _ => said;
        var conversation = await client.StartAsync();

        var events = await client.Send(conversation, "m1", "say it").AllAsync();

        Assert.Equal(("started", "refused"), (events[0].Type, events[^1].Type));
        Assert.Equal(shown, events.Text());
        var reply = (await client.HistoryAsync(conversation))[^1];
        Assert.Equal(("refused", shown), ((string)reply["state"]!, (string)reply["text"]!));
        Assert.Equal(events.Select(e => e.Raw.ToJsonString()), (await client.Attach(conversation, events[0].ReplyId, 0).AllAsync()).Select(e => e.Raw.ToJsonString()));
        Assert.DoesNotContain(await StoredAsync(), text => text.Contains("forbidden", StringComparison.Ordinal) || text.Contains("禁语", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Personal_data_in_a_reply_is_masked_wherever_the_tokens_are_cut()
    {
        server.Models.Script = _ => "Call 13800138000 or write to jo.doe@example.com, darn it.";
        var conversation = await client.StartAsync();

        var events = await client.Send(conversation, "m1", "how").AllAsync();

        Assert.Equal("finished", events[^1].Type);
        Assert.Equal("Call [phone] or write to [email], *** it.", events.Text());
        Assert.DoesNotContain(await StoredAsync(), text => text.Contains("0138", StringComparison.Ordinal) || text.Contains("jo.d", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_refused_message_is_a_stored_turn_and_never_reaches_the_model()
    {
        var conversation = await client.StartAsync();

        var events = await client.Send(conversation, "m1", "this is forbidden").AllAsync();

        Assert.Equal(["started", "refused"], events.Select(e => e.Type));
        Assert.Empty(server.Models.Requests);
        Assert.Equal([("user", "stop"), ("assistant", "refused")], (await client.HistoryAsync(conversation)).Select(t => ((string)t["role"]!, (string)t["state"]!)));
    }

    [Fact]
    public async Task The_model_reads_a_masked_message_and_the_user_their_own_words()
    {
        var conversation = await client.StartAsync();

        await client.Send(conversation, "m1", "I am at 13800138000, darn").AllAsync();
        await client.Send(conversation, "m2", "remember?").AllAsync();

        Assert.All(server.Models.Requests, request => Assert.Equal("I am at [phone], ***", request.Messages[0].Text));
        Assert.Equal(2, server.Models.Requests.Count);
        Assert.Equal("I am at 13800138000, darn", (string)(await client.HistoryAsync(conversation))[0]["text"]!);
    }

    /// <summary>Every value of every key, as text.</summary>
    private async Task<List<string>> StoredAsync()
    {
        await using var connection = await ConnectionMultiplexer.ConnectAsync(redis.Configuration);
        var database = connection.GetDatabase();
        var values = new List<string>();
        await foreach (var key in connection.GetServers()[0].KeysAsync())
        {
            values.Add(key.ToString());
            RedisValue[] found = await database.KeyTypeAsync(key) switch
            {
                RedisType.None => [],     // expired since it was listed
                RedisType.String => [await database.StringGetAsync(key)],
                RedisType.List => await database.ListRangeAsync(key),
                RedisType.Set => await database.SetMembersAsync(key),
                RedisType.SortedSet => await database.SortedSetRangeByRankAsync(key),
                RedisType.Hash => [.. (await database.HashGetAllAsync(key)).SelectMany(e => new[] { e.Name, e.Value })],
                var other => throw new InvalidOperationException($"{key} is a {other}."),
            };
            values.AddRange(found.Select(v => v.ToString()));
        }
        Assert.NotEmpty(values);
        return values;
    }
}
