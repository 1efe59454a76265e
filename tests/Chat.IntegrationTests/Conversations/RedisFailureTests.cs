using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.Conversations;

/// <summary>README's row of the Redis that fails, with two gateways as processes of their own: a redis-server that dies or hangs in the middle of a reply that is kept at a token (tests/HoldPlugin).</summary>
public sealed class RedisFailureTests : IAsyncLifetime
{
    private const int Tokens = 40, HeldAt = 20;
    private static readonly object Drawn = new { decoding = new { strategy = "sample", seed = 5, minTokens = Tokens, maxTokens = Tokens } };

    private readonly string folder = Directory.CreateTempSubdirectory("chat-redis-fails-").FullName;
    private RedisServer redis = null!;
    private ChatProcess left = null!, right = null!;
    private ChatClient here = null!, there = null!;

    private string Order => Path.Combine(folder, "hold");

    public async ValueTask InitializeAsync()
    {
        redis = await RedisServer.StartAsync();
        (left, right) = (await GatewayAsync("left", ("HOLD_FILE", Order)), await GatewayAsync("right"));
        (here, there) = (await left.ConnectAsync(), await right.ConnectAsync());
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var part in new IAsyncDisposable[] { here, there, left, right, redis }) await part.DisposeAsync();
        Directory.Delete(folder, recursive: true);
    }

    [Theory, InlineData("dies"), InlineData("hangs")]
    public async Task Calls_are_busy_meanwhile_and_the_reply_is_whole_when_it_is_back(string what)
    {
        var whole = (await here.Send(await here.StartAsync(), "m", "hello", options: Drawn).AllAsync()).Text();
        var (conversation, reply, heard) = await BeginAsync();
        using var http = new HttpClient { BaseAddress = right.Address };

        if (what == "dies") redis.Kill();
        else redis.Suspend();
        File.Delete(Order);      // the model goes on without it
        foreach (var call in new Func<Task>[] { () => here.StartAsync(), () => there.HistoryAsync(conversation), () => there.Send(conversation, "m2", "and now?").AllAsync() })
            Assert.StartsWith("busy: The conversation store does not answer. Nothing that was acknowledged is lost", await ChatClient.ErrorOfAsync(call), StringComparison.Ordinal);
        using (var answer = await http.GetAsync("/api/conversations"))
        {
            Assert.Equal((HttpStatusCode.ServiceUnavailable, "application/problem+json", true), (answer.StatusCode, answer.Content.Headers.ContentType?.MediaType, answer.Headers.RetryAfter is not null));
            Assert.Equal("busy", (string?)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["code"]);
        }
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await http.GetAsync("/health/ready")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/health/live")).StatusCode);
        Assert.False(heard.IsCompleted);
        if (what == "dies") await redis.RestartAsync();
        else redis.Resume();

        var events = await heard;
        Assert.Equal((whole, "finished", "length"), (events.Text(), events[^1].Type, events[^1].FinishReason));
        Assert.Equal(Enumerable.Range(1, events.Count).Select(i => (long)i), events.Select(e => e.Sequence));
        // Both find the way back by themselves, and what was shown is what is told.
        foreach (var client in new[] { here, there })
        {
            await Until.TrueAsync(async () => await AnswersAsync(client, conversation));
            Assert.Equal(["hello", whole], (await client.HistoryAsync(conversation)).Take(2).Select(t => (string)t["text"]!));
            Assert.Equal(events.Select(e => (e.Sequence, e.Text)), (await client.Attach(conversation, reply, 0).AllAsync()).Select(e => (e.Sequence, e.Text)));
        }
        Assert.Equal("finished", (await there.Send(conversation, "m3", "and now?", options: Drawn).AllAsync())[^1].Type);
        await Until.TrueAsync(async () => (await http.GetAsync("/health/ready")).IsSuccessStatusCode);
    }

    [Fact]
    public async Task A_reply_that_it_was_away_too_long_for_is_interrupted_with_what_was_written()
    {
        var (conversation, reply, heard) = await BeginAsync();
        var written = (string)(await there.HistoryAsync(conversation))[1]["text"]!;

        redis.Kill();
        File.Delete(Order);
        await Until.TrueAsync(() => left.Output.Contains($"Reply {reply} could not be written to its end: the store stayed away.", StringComparison.Ordinal), seconds: 180);
        await redis.RestartAsync();

        await Until.TrueAsync(() => AnswersAsync(there, conversation));
        await Until.TrueAsync(async () => (string)(await there.HistoryAsync(conversation))[1]["state"]! == "interrupted");      // its lease is over by then
        var kept = (string)(await there.HistoryAsync(conversation))[1]["text"]!;
        Assert.StartsWith(written, kept, StringComparison.Ordinal);
        Assert.Equal(kept, (await heard.WaitAsync(TimeSpan.FromSeconds(60))).Text());      // what was shown is what is remembered
        Assert.Equal("error", (await here.Attach(conversation, reply, 0).AllAsync())[^1].Type);
        var again = await here.Send(conversation, "m", "hello", options: Drawn).AllAsync();
        Assert.Equal(("finished", true), (again[^1].Type, again[0].ReplyId != reply));
        Assert.StartsWith(kept, again.Text(), StringComparison.Ordinal);
    }

    /// <summary>Begins a reply here that stands still in its middle, some of its words written.</summary>
    private async Task<(string Conversation, string Reply, Task<List<WireEvent>> Heard)> BeginAsync()
    {
        File.WriteAllText(Order + ".new", HeldAt.ToString(CultureInfo.InvariantCulture));
        File.Move(Order + ".new", Order);
        var conversation = await here.StartAsync();
        var heard = here.Send(conversation, "m", "hello", options: Drawn).AllAsync();
        await Until.TrueAsync(() => File.Exists(Order + ".held"));
        await Until.TrueAsync(async () => await there.HistoryAsync(conversation) is [_, var turn] && (string)turn["text"]! != "");
        return (conversation, (string)(await there.HistoryAsync(conversation))[1]["id"]!, heard);
    }

    private static async Task<bool> AnswersAsync(ChatClient client, string conversation)
    {
        try { return (await client.HistoryAsync(conversation)).Count > 0; }
        catch (Microsoft.AspNetCore.SignalR.HubException e) when (e.Message.Contains("busy: ", StringComparison.Ordinal)) { return false; }
    }

    private Task<ChatProcess> GatewayAsync(string name, params (string, string)[] settings) => ChatProcess.StartAsync(Path.Combine(folder, name), redis.Configuration,
        [("Plugins__Folder", Path.Combine(AppContext.BaseDirectory, "Plugins")), ("Plugins__Allowed__HoldPlugin", "any"), .. settings]);
}
