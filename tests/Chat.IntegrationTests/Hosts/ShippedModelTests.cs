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
    public async Task A_greeting_is_answered_word_by_word_and_all_that_decided_the_answer_is_kept(string model, string greeting)
    {
        await using var client = await shared.Server.ConnectAsync();
        var conversation = await client.StartAsync();

        var events = await client.Send(conversation, "m", greeting, options: new { model, decoding = new { seed = 1, minTokens = 40 } }).AllAsync();

        Assert.Equal("started", events[0].Type);
        Assert.Equal(model, (string)events[0].Raw["model"]!);
        Assert.InRange(events.Count(e => e.Type == "delta"), 2, 64);
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
}
