using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.Conversations;

public sealed class HubOverGarnetTests(GarnetServer shared) : HubTests(shared), IClassFixture<GarnetServer>;

public sealed class HubOverRedisTests(RedisBackedServer shared) : HubTests(shared), IClassFixture<RedisBackedServer>;

/// <summary>The contract's hub part, read from outside.</summary>
public abstract class HubTests(SharedServer shared)
{
    private ChatServer Server => shared.Server;

    [Theory, InlineData(false), InlineData(true)]
    public async Task A_reply_streams_from_started_to_finished_in_sequence(bool messagePack)
    {
        await using var client = await Server.ConnectAsync(messagePack);
        var info = (await client.InvokeAsync("StartConversation", [null]))!.AsObject();
        var conversation = (string)info["conversationId"]!;

        var events = await client.Send(conversation, "m1", "Hello there", options: new { decoding = new { seed = 7, temperature = 0.5 } }).AllAsync();

        Assert.Equal(["conversationId", "createdAt", "title"], info.Select(p => p.Key).Order());
        Assert.Equal(Enumerable.Range(1, events.Count).Select(i => (long)i), events.Select(e => e.Sequence));
        Assert.Equal("started", events[0].Type);
        Assert.All(events[1..^1], e => Assert.Equal("delta", e.Type));
        Assert.Equal(("finished", "stop"), (events[^1].Type, events[^1].FinishReason));
        Assert.Equal("Hello there".Length, (int)events[^1].Raw["usage"]!["promptTokens"]!);
        Assert.True((int)events[^1].Raw["usage"]!["completionTokens"]! > 0);
        Assert.Single(events.Select(e => e.ReplyId).Distinct());

        var turns = await client.HistoryAsync(conversation);
        Assert.Equal(["createdAt", "id", "replyTo", "role", "state", "text"], turns[0].Select(p => p.Key).Order());
        Assert.Equal([("m1", "user", "Hello there", "stop"), (events[0].ReplyId, "assistant", events.Text(), "stop")],
            turns.Select(t => ((string)t["id"]!, (string)t["role"]!, (string)t["text"]!, (string)t["state"]!)));
        Assert.Null(turns[0]["replyTo"]);
        Assert.Equal("m1", (string)turns[1]["replyTo"]!);
    }

    [Fact]
    public async Task The_same_seed_gives_the_same_words_in_json_and_message_pack()
    {
        await using var json = await Server.ConnectAsync();
        await using var pack = await Server.ConnectAsync(messagePack: true);
        object options = new { decoding = new { seed = 11 } };

        var one = await json.Send(await json.StartAsync(), "m", "same", options: options).AllAsync();
        var two = await pack.Send(await pack.StartAsync(), "m", "same", options: options).AllAsync();

        Assert.NotEqual("", one.Text());
        Assert.Equal(one.Text(), two.Text());
        Assert.Equal(one[^1].Raw.Select(p => p.Key), two[^1].Raw.Select(p => p.Key));
    }
}
