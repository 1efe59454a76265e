using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.Hosts;

/// <summary>What <c>make run</c> serves, through the hub as a client hears it.</summary>
public sealed class ShippedModelTests(ShippedModelTests.ShippedModels shared) : IClassFixture<ShippedModelTests.ShippedModels>
{
    private static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Shipped");

    public sealed class ShippedModels() : SharedServer(Store.Garnet, ("Models:Folder", Folder));

    [Theory]
    [InlineData("chat-teacher", "Hello!"), InlineData("chat-teacher", "你好！"), InlineData("chat-student", "Hello!"), InlineData("chat-student", "你好！")]
    public async Task A_greeting_is_answered_and_all_that_decided_the_answer_is_kept(string model, string greeting)
    {
        await using var client = await shared.Server.ConnectAsync();
        var conversation = await client.StartAsync();

        var events = await client.Send(conversation, "m", greeting, options: new { model, decoding = new { seed = 1, minTokens = 40 } }).AllAsync();

        Assert.Equal("started", events[0].Type);
        Assert.Equal(model, (string)events[0].Raw["model"]!);
        Assert.InRange(events.Count(e => e.Type == "delta"), 1, 64);        // forty tokens take these models five milliseconds: one beat may hold them all
        Assert.Equal("finished", events[^1].Type);
        Assert.Matches(@"\w", events.Text());
        Assert.Equal([(greeting, "stop"), (events.Text(), events[^1].FinishReason)], (await client.HistoryAsync(conversation)).Select(t => ((string)t["text"]!, (string?)t["state"])));
        var turns = (await shared.Http.GetFromJsonAsync<JsonObject>($"/api/conversations/{conversation}/export"))!["turns"]!;
        Assert.Equal((model, Chat.Models.Checkpoints.ModelFolder.Hash(Path.Combine(Folder, model)), 1L), ((string)turns[1]!["reply"]!["model"]!, (string)turns[1]!["reply"]!["modelHash"]!, (long)turns[1]!["reply"]!["seed"]!));
        Assert.Equal((int)events[^1].Raw["usage"]!["completionTokens"]!, (int)turns[1]!["reply"]!["usage"]!["completionTokens"]!);
    }

    [Fact]
    public async Task A_conversation_goes_on_and_the_same_seed_says_it_again()
    {
        await using var client = await shared.Server.ConnectAsync(messagePack: true);
        object options = new { decoding = new { seed = 7 } };
        var heard = new List<string>();
        foreach (var conversation in new[] { await client.StartAsync(), await client.StartAsync() })
            foreach (var (message, text) in new[] { ("m1", "How are you?"), ("m2", "我很好。") })
                heard.Add((await client.Send(conversation, message, text, options: options).AllAsync()).Text());

        Assert.Equal(heard[..2], heard[2..]);
        Assert.All(heard, text => Assert.Matches(@"\w", text));
    }

    private const string Schema = """{"type":"object","properties":{"mood":{"enum":["gut","好"]},"words":{"type":"array","items":{"type":"string","maxLength":6},"maxItems":2}},"required":["mood","words"],"additionalProperties":false}""";

    [Theory]
    [InlineData("sample"), InlineData("beam"), InlineData("eva2-compat"), InlineData("contrastive")]
    public async Task An_answer_held_to_a_schema_is_json_that_fits_streamed_and_plain(string strategy)
    {
        string Body(bool stream) => new JsonObject
        {
            ["model"] = "chat-student", ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "Hello!" }), ["seed"] = 3, ["max_tokens"] = 64, ["stream"] = stream,
            ["decoding"] = new JsonObject { ["strategy"] = strategy },
            ["response_format"] = new JsonObject { ["type"] = "json_schema", ["json_schema"] = new JsonObject { ["name"] = "mood", ["schema"] = JsonNode.Parse(Schema) } },
        }.ToJsonString();

        var plain = JsonNode.Parse(await PostAsync(Body(false)))!["choices"]![0]!;
        var events = (await PostAsync(Body(true))).Split("\n\n", StringSplitOptions.RemoveEmptyEntries)[..^1].Select(e => JsonNode.Parse(e["data: ".Length..])!["choices"]![0]!).ToList();

        var content = (string)plain["message"]!["content"]!;
        Assert.Equal("stop", (string)plain["finish_reason"]!);
        Assert.Contains((string)JsonNode.Parse(content)!["mood"]!, new[] { "gut", "好" });
        Assert.InRange(JsonNode.Parse(content)!["words"]!.AsArray().Count, 0, 2);
        Assert.Equal(content, string.Concat(events.Select(e => (string?)e["delta"]!["content"])));
        Assert.InRange(events.Count(e => (string?)e["delta"]!["content"] is { Length: > 0 }), 1, 64);
    }

    [Fact]
    public async Task The_hub_holds_a_reply_to_an_expression_and_names_what_it_cannot_keep()
    {
        await using var client = await shared.Server.ConnectAsync();
        var conversation = await client.StartAsync();

        var events = await client.Send(conversation, "m", "Hello!", options: new { model = "chat-student", decoding = new { guidedRegex = "(ja|nein), [0-9]{2}" } }).AllAsync();
        var refusal = await Assert.ThrowsAsync<Microsoft.AspNetCore.SignalR.HubException>(() => client.Send(conversation, "n", "Hello!", options: new { decoding = new { guidedRegex = "(?=a)" } }).AllAsync());
        using var bad = await shared.Http.PostAsync("/v1/chat/completions", new StringContent(
            """{"model":"chat-student","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"integer","multipleOf":3}}}}""", System.Text.Encoding.UTF8, "application/json"));
        var error = JsonNode.Parse(await bad.Content.ReadAsStringAsync())!["error"]!;

        Assert.Matches("^(ja|nein), [0-9]{2}$", events.Text());
        Assert.Contains("invalid: guidedRegex: groups that look ahead or behind", refusal.Message);
        Assert.Equal((400, "response_format", "invalid_value"), ((int)bad.StatusCode, (string)error["param"]!, (string)error["code"]!));
        Assert.Contains("the keyword 'multipleOf' is not supported", (string)error["message"]!);
    }

    private async Task<string> PostAsync(string body)
    {
        using var response = await shared.Http.PostAsync("/v1/chat/completions", new StringContent(body, System.Text.Encoding.UTF8, "application/json"));
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return text;
    }
}
