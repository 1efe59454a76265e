using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.BadInput;

/// <summary>Frames that no SignalR client would send: answered by an error or a closed connection, at once, and the hub lives on.</summary>
public sealed class RawHubTests(BadHubTests.Talk talk) : IClassFixture<BadHubTests.Talk>
{
    private const char End = '\u001e';

    private static string Invoke(string arguments, string target = "Send", int type = 4) => $$"""{"type":{{type}},"invocationId":"1","target":"{{target}}","arguments":{{arguments}}}{{End}}""";

    private string Message(string text, string options = "null") => $$"""[{"conversationId":"{{talk.Conversation}}","messageId":"raw","text":{{text}},"replyTo":null,"options":{{options}}}]""";

    [Theory]
    [InlineData("\"a\\ud83d\""), InlineData("\"\\udc00a\""), InlineData("[[[[1]]]]"), InlineData("1e999"), InlineData("99999999999999999999999999")]
    [InlineData("\"hi\"", "{\"decoding\":{\"temperature\":1e999}}"), InlineData("\"hi\"", "{\"decoding\":{\"topK\":1,\"topK\":2}}")]
    public async Task A_value_that_is_none_is_invalid(string text, string options = "null")
    {
        var answer = await AskAsync(Encoding.UTF8.GetBytes(Invoke(Message(text, options))));

        Assert.Contains("invalid: ", (string?)answer!["error"]);
        Assert.DoesNotContain(await talk.Json.HistoryAsync(talk.Conversation), t => (string)t["id"]! == "raw");
    }

    [Fact]
    public async Task A_key_twice_is_invalid() =>
        Assert.Contains("invalid: ", (string?)(await AskAsync(Encoding.UTF8.GetBytes(Invoke(Message("\"a\",\"text\":\"b\"")))))!["error"]);

    [Theory]
    [InlineData("Hack"), InlineData(""), InlineData("Dispose"), InlineData("OnConnectedAsync"), InlineData("get_Caller")]
    public async Task An_unknown_method_is_an_error(string method) =>
        Assert.NotEmpty((string)(await AskAsync(Encoding.UTF8.GetBytes(Invoke("[]", method, type: 1))))!["error"]!);

    public static TheoryData<string, byte[]> Frames => new()
    {
        { "no JSON", Encoding.UTF8.GetBytes($"hello{End}") },
        { "half a JSON", Encoding.UTF8.GetBytes($"{{\"type\":4,{End}") },
        { "NaN", Encoding.UTF8.GetBytes(Invoke("[NaN]")) },
        { "a type of a string", Encoding.UTF8.GetBytes($"{{\"type\":\"4\"}}{End}") },
        { "arrays 20,000 deep", Encoding.UTF8.GetBytes(Invoke(string.Concat(Enumerable.Repeat("[", 20_000)))) },
        { "more than 64 KiB", Encoding.UTF8.GetBytes(Invoke($"[\"{new string('x', 70_000)}\"]")) },
        { "broken UTF-8", [.. Encoding.UTF8.GetBytes("{\"type\":1,\"target\":\""), 0xC3, 0x28, .. "\",\"arguments\":[]}\u001e"u8] },
    };

    [Theory, MemberData(nameof(Frames))]
    public async Task A_frame_that_is_none_ends_the_connection_or_the_call_and_no_other(string name, byte[] frame)
    {
        var answer = await AskAsync(frame);

        Assert.True(answer is null || answer["error"] is not null, $"{name}: {answer}");
        Assert.NotEmpty(await talk.Json.HistoryAsync(talk.Conversation));
    }

    /// <summary>The completion of the call or the close message; null if the connection simply ended.</summary>
    private async Task<JsonNode?> AskAsync(byte[] frame)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        using var socket = new ClientWebSocket();
        await socket.ConnectAsync(new UriBuilder(talk.Server.Address) { Scheme = "ws", Path = "/hubs/chat" }.Uri, deadline.Token);
        await socket.SendAsync(Encoding.UTF8.GetBytes($"{{\"protocol\":\"json\",\"version\":1}}{End}"), WebSocketMessageType.Text, true, deadline.Token);
        var text = new StringBuilder();
        var buffer = new byte[8192];
        var isSent = false;
        try
        {
            while (true)
            {
                var read = await socket.ReceiveAsync(buffer, deadline.Token);
                if (read.MessageType == WebSocketMessageType.Close) return null;
                text.Append(Encoding.UTF8.GetString(buffer, 0, read.Count));
                foreach (var message in text.ToString().Split(End)[..^1].Select(m => JsonNode.Parse(m)!))
                    if ((int?)message["type"] is 3 or 7) return message;
                if (isSent) continue;
                isSent = true;
                await socket.SendAsync(frame, WebSocketMessageType.Text, true, deadline.Token);
            }
        }
        catch (WebSocketException)
        {
            return null;
        }
    }
}
