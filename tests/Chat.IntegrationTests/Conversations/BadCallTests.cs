using System.Text.Json.Nodes;
using Microsoft.AspNetCore.SignalR.Client;

namespace Chat.IntegrationTests.Conversations;

/// <summary>Bad calls of the hub: each a «code: sentence», nothing stored, the connection lives on.</summary>
public sealed class BadCallTests(GarnetServer shared) : IClassFixture<GarnetServer>
{
    public static TheoryData<string, string, string> Sends => new()
    {
        // code, a part of the sentence, the message as JSON with CONVERSATION for a good id
        { "invalid", "text", """{"conversationId":"CONVERSATION","messageId":"m","text":"","replyTo":null,"options":null}""" },
        { "invalid", "text", """{"conversationId":"CONVERSATION","messageId":"m","text":" \n\t ","replyTo":null,"options":null}""" },
        { "invalid", "text", """{"conversationId":"CONVERSATION","messageId":"m","text":null,"replyTo":null,"options":null}""" },
        { "invalid", "text", """{"conversationId":"CONVERSATION","messageId":"m","text":7,"replyTo":null,"options":null}""" },
        { "invalid", "text", """{"conversationId":"CONVERSATION","messageId":"m","text":["a"],"replyTo":null,"options":null}""" },
        { "too_large", "20000", """{"conversationId":"CONVERSATION","messageId":"m","text":"LONG","replyTo":null,"options":null}""" },
        { "invalid", "messageId", """{"conversationId":"CONVERSATION","messageId":"","text":"hi","replyTo":null,"options":null}""" },
        { "invalid", "messageId", """{"conversationId":"CONVERSATION","messageId":null,"text":"hi","replyTo":null,"options":null}""" },
        { "invalid", "messageId", """{"conversationId":"CONVERSATION","messageId":{},"text":"hi","replyTo":null,"options":null}""" },
        { "invalid", "messageId", """{"conversationId":"CONVERSATION","messageId":"a\u0000b","text":"hi","replyTo":null,"options":null}""" },
        { "invalid", "messageId", """{"conversationId":"CONVERSATION","messageId":"LONGID","text":"hi","replyTo":null,"options":null}""" },
        { "not_found", "", """{"conversationId":"nobody","messageId":"m","text":"hi","replyTo":null,"options":null}""" },
        { "not_found", "", """{"conversationId":"a}b{c","messageId":"m","text":"hi","replyTo":null,"options":null}""" },
        { "invalid", "conversationId", """{"conversationId":null,"messageId":"m","text":"hi","replyTo":null,"options":null}""" },
        { "invalid", "messageId", """{}""" },
        { "not_found", "", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":"nobody","options":null}""" },
        { "invalid", "", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":5,"options":null}""" },
        { "invalid", "", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":"fast"}""" },
        { "invalid", "fake, fake-small", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"model":"gpt"}}""" },
        { "invalid", "", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"model":5}}""" },
        { "invalid", "greedy, sample", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"decoding":{"strategy":"beem"}}}""" },
        { "invalid", "temperature", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"decoding":{"tempreature":1}}}""" },
        { "invalid", "temperature", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"decoding":{"temperature":-1}}}""" },
        { "invalid", "temperature", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"decoding":{"temperature":"NaN"}}}""" },
        { "invalid", "temperature", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"decoding":{"temperature":1e999}}}""" },
        { "invalid", "", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"decoding":[1]}}""" },
        { "invalid", "", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"decoding":{"topK":1.5}}}""" },
        { "invalid", "", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"decoding":{"topK":1,"topK":2}}}""" },
        { "invalid", "arm", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"arm":"b"}}""" },
        { "invalid", "pack", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"pack":"p"}}""" },
        { "invalid", "softPrompt", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"softPrompt":"p"}}""" },
        { "invalid", "safetyProfile", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"safetyProfile":"p"}}""" },
        { "invalid", "bot", """{"conversationId":"CONVERSATION","messageId":"m","text":"hi","replyTo":null,"options":{"bot":"other"}}""" },
        { "invalid", "", """[]""" },
        { "invalid", "", "\"hi\"" },
        { "invalid", "", """null""" },
    };

    [Theory, MemberData(nameof(Sends))]
    public async Task A_bad_message_is_refused_in_json_and_stores_nothing(string code, string part, string message) => await RefuseAsync(false, code, part, message);

    [Theory, MemberData(nameof(Sends))]
    public async Task A_bad_message_is_refused_in_message_pack_and_stores_nothing(string code, string part, string message)
    {
        if (!message.Contains("1e999") && !message.Contains("\"topK\":1,")) await RefuseAsync(true, code, part, message);
    }

    private async Task RefuseAsync(bool messagePack, string code, string part, string message)
    {
        await using var client = await shared.Server.ConnectAsync(messagePack);
        var conversation = await client.StartAsync();
        var text = message.Replace("CONVERSATION", conversation).Replace("LONGID", new string('i', 129)).Replace("LONG", new string('x', 20_001));
        object? argument = messagePack ? JsonNode.Parse(text) : System.Text.Json.JsonDocument.Parse(text).RootElement;

        var error = await ChatClient.ErrorOfAsync(client.StreamAsync("Send", argument));

        Assert.StartsWith(code + ": ", error);
        Assert.Contains(part, error);
        Assert.Empty(await client.HistoryAsync(conversation));
    }

    [Theory]
    [InlineData("Nothing", "invalid")]
    [InlineData("StartConversation", "invalid", "x")]
    [InlineData("StartConversation", "invalid", null, null)]
    [InlineData("Stop", "invalid", "a")]
    [InlineData("Stop", "not_found", "a", "b")]
    [InlineData("Stop", "invalid", null, "b")]
    [InlineData("Rate", "invalid", "a", "b", "sideways", null)]
    [InlineData("Rate", "not_found", "a", "b", "up", null)]
    [InlineData("Choose", "not_found", "a", "b", null)]
    [InlineData("History", "invalid", "a", null, "ten")]
    [InlineData("History", "invalid", "a", null, 0)]
    [InlineData("History", "invalid", "a", null, -5)]
    [InlineData("History", "invalid", "a", null, 1.5)]
    [InlineData("History", "invalid", "a", null, null)]
    [InlineData("History", "not_found", "a", null, 10)]
    [InlineData("History", "invalid", 7, null, 10)]
    public async Task A_bad_call_is_refused_with_a_word_and_a_sentence(string method, string code, params object?[] arguments)
    {
        foreach (var messagePack in new[] { false, true })
        {
            await using var client = await shared.Server.ConnectAsync(messagePack);

            Assert.StartsWith(code + ": ", await ChatClient.ErrorOfAsync(() => client.InvokeAsync(method, arguments)));
            Assert.Equal(HubConnectionState.Connected, client.Connection.State);
        }
    }

    [Fact]
    public async Task A_pair_is_never_known_and_a_comment_has_a_limit()
    {
        await using var client = await shared.Server.ConnectAsync();
        var conversation = await client.StartAsync();
        var reply = (await client.Send(conversation, "m", "hi").AllAsync())[0].ReplyId;

        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(() => client.InvokeAsync("Choose", conversation, "pair", reply)));
        Assert.StartsWith("too_large: ", await ChatClient.ErrorOfAsync(() => client.InvokeAsync("Rate", conversation, reply, "up", new string('c', 2001))));
        await client.InvokeAsync("Rate", conversation, reply, null, new string('c', 2000));
    }

    [Fact]
    public async Task The_longest_message_fits_in_every_script()
    {
        // The .NET client's JSON spells an emoji in twelve bytes, so the last one needs MessagePack under the 64 KiB of a message.
        await using var client = await shared.Server.ConnectAsync(messagePack: true);
        var conversation = await client.StartAsync();
        var follows = default(string);
        foreach (var text in new[] { new string('x', 20_000), new string('龙', 20_000), string.Concat(Enumerable.Repeat("🐉", 10_000)) })
        {
            await client.Send(conversation, $"m{text.GetHashCode()}", text, follows).AllAsync();
            Assert.Equal(text, (string)(await client.HistoryAsync(conversation))[^2]["text"]!);
        }
    }

    [Fact]
    public async Task Unknown_fields_are_ignored()
    {
        await using var client = await shared.Server.ConnectAsync();
        var conversation = await client.StartAsync(new { mood = "good" });

        var events = await client.StreamAsync("Send", new { conversationId = conversation, messageId = "m", text = "hi", replyTo = (string?)null, options = new { colour = "blue" }, extra = 1 }).AllAsync();

        Assert.Equal("finished", events[^1].Type);
    }
}
