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

    [Fact]
    public async Task The_longest_message_fits_in_every_script()
    {
        // The .NET client's JSON spells an emoji in twelve bytes, so the last one needs MessagePack under the 64 KiB of a message.
        await using var client = await Server.ConnectAsync(messagePack: true);
        var conversation = await client.StartAsync();
        foreach (var (message, text) in new[] { ("m1", new string('x', 20_000)), ("m2", new string('龙', 20_000)), ("m3", string.Concat(Enumerable.Repeat("🐉", 10_000))) })
        {
            await client.Send(conversation, message, text).AllAsync();
            Assert.Equal(text, (string)(await client.HistoryAsync(conversation))[^2]["text"]!);
        }
    }

    [Fact]
    public async Task A_comment_has_two_thousand_characters_at_most()
    {
        await using var client = await Server.ConnectAsync();
        var conversation = await client.StartAsync();
        var reply = (await client.Send(conversation, "m", "hi").AllAsync())[0].ReplyId;

        await client.InvokeAsync("Rate", conversation, reply, null, new string('c', 2000));
        Assert.StartsWith("too_large: ", await ChatClient.ErrorOfAsync(() => client.InvokeAsync("Rate", conversation, reply, "up", new string('c', 2001))));
    }

    [Fact]
    public async Task Unknown_fields_are_ignored()
    {
        await using var client = await Server.ConnectAsync();
        var conversation = await client.StartAsync(new { mood = "good" });

        var events = await client.StreamAsync("Send", new { conversationId = conversation, messageId = "m", text = "hi", replyTo = (string?)null, options = new { colour = "blue" }, extra = 1 }).AllAsync();

        Assert.Equal("finished", events[^1].Type);
    }
}
