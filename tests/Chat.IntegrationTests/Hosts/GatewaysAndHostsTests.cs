using System.Globalization;
using System.Text.RegularExpressions;
using Chat.Api.Hosts.Wire;
using Grpc.Net.Client;

namespace Chat.IntegrationTests.Hosts;

/// <summary>Gateways and model hosts as processes of their own, on one Redis, with the shipped teacher. A host that is to be killed in mid-reply is kept at a token first (tests/HoldPlugin).</summary>
public sealed partial class GatewaysAndHostsTests : IDisposable
{
    private const int ChatsAtOnce = 8, Tokens = 60, HeldAt = 40;

    private readonly string folder = Directory.CreateTempSubdirectory("chat-hosts-").FullName;

    private sealed record Chat(string Conversation, List<WireEvent> Heard);

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task A_host_is_killed_in_mid_reply_and_the_other_one_drained_and_nothing_that_was_acknowledged_is_lost()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var one = await HeldHost.StartAsync(folder, "one");
        await using var two = await HeldHost.StartAsync(folder, "two");
        await using var left = await GatewayAsync(redis, one, two);
        await using var right = await GatewayAsync(redis, one, two);
        await using var here = await left.ConnectAsync();
        await using var there = await right.ConnectAsync();
        ChatClient[] clients = [here, there];

        var chats = await TalkAsync(clients, () => { });
        string[] words = [.. chats.Select(c => c.Heard.Text())];

        // One reply stands still in the middle, some of its words heard; others come, and then its host dies.
        var (cut, killed, other) = await TalkUntilHeldAsync([one, two], HeldAt, begun => TalkAsync(here, 0, begun));
        var company = Enumerable.Range(1, ChatsAtOnce - 1).Select(i => TalkAsync(clients[i % 2], i, new())).ToList();
        Assert.False(cut.IsCompleted);
        killed.Process.Kill();
        chats.AddRange([await cut, .. await Task.WhenAll(company)]);
        await Until.TrueAsync(() => left.Output.Contains("goes on elsewhere behind", StringComparison.Ordinal));
        Assert.All(GoesOn().Matches(left.Output + right.Output), moved => Assert.InRange(int.Parse(moved.Groups[1].Value, CultureInfo.InvariantCulture), 1, HeldAt));

        await using var again = await HeldHost.StartAsync(folder, "again", killed.Address);
        foreach (var gateway in new[] { left, right }) await AnswersAgainAsync(gateway, killed.Address);
        using var channel = GrpcChannel.ForAddress(other.Address);
        Task<DrainReply>? drained = null;
        chats.AddRange(await TalkAsync(clients, () => drained = new ModelHost.ModelHostClient(channel).DrainAsync(new() { WaitSeconds = 300 }, HostServer.KeyHeader).ResponseAsync));
        Assert.Equal(0, (await drained!).Active);
        Assert.Equal(0, await other.Process.EndAsync());
        chats.AddRange(await TalkAsync(clients, () => { }));

        // Whatever happened to its host, a seed says what it says.
        for (var i = 0; i < chats.Count; i++) Assert.Equal(words[i % ChatsAtOnce], chats[i].Heard.Text());
        for (var i = 0; i < chats.Count; i++) await FindAsync(clients[(i + 1) % 2], chats[i]);
        await using var store = await StackExchange.Redis.ConnectionMultiplexer.ConnectAsync(redis.Configuration);
        Assert.False(await store.GetDatabase().KeyExistsAsync("chat:running"));
    }

    [Fact]
    public async Task A_reply_that_cannot_go_on_ends_with_a_clear_event_and_its_conversation_goes_on()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var one = await HeldHost.StartAsync(folder, "one");
        await using var two = await HeldHost.StartAsync(folder, "two");
        await using var gateway = await GatewayAsync(redis, one, two);
        await using var client = await gateway.ConnectAsync();
        object beams = new { strategy = "beam", seed = 1, minTokens = Tokens, maxTokens = Tokens, numBeams = 2 }, drawn = new { strategy = "sample", seed = 1, minTokens = Tokens, maxTokens = Tokens };

        // Beams know of no beginning that was said elsewhere.
        var whole = await SendAsync(beams);
        var (cut, killed, other) = await TalkUntilHeldAsync([one, two], Tokens - 2, begun => SendAsync(beams, begun));
        Assert.False(cut.IsCompleted);
        killed.Process.Kill();
        var broken = await EndsWithAsync(await cut, whole, "busy: The model host that wrote this reply is gone, and the strategy 'beam' cannot go on elsewhere. Send the message again for a new reply.");
        Assert.Equal(whole.Heard.Text(), (await SendAsync(beams, broken.Conversation)).Heard.Text());

        // Nobody else serves the model.
        whole = await SendAsync(drawn);
        (cut, killed, _) = await TalkUntilHeldAsync([other], HeldAt, begun => SendAsync(drawn, begun));
        killed.Process.Kill();
        broken = await EndsWithAsync(await cut, whole, "busy: No model host answers for 'chat-teacher' now. Try again in 5 seconds.");
        Assert.Equal("error", (await SendAsync(drawn, broken.Conversation)).Heard[^1].Type);

        await using var again = await HeldHost.StartAsync(folder, "again", killed.Address);
        await AnswersAgainAsync(gateway, killed.Address);
        Assert.Equal(whole.Heard.Text(), (await SendAsync(drawn, broken.Conversation)).Heard.Text());
        Assert.Equal("finished", (await client.Send(broken.Conversation, "next", "And you?", options: new { decoding = drawn }).AllAsync())[^1].Type);

        async Task<Chat> SendAsync(object decoding, object? where = null)
        {
            var conversation = where as string ?? await client.StartAsync(new { model = "chat-teacher" });
            return new(conversation, await ListenAsync(client.Send(conversation, "m", "Hello, who are you?", options: new { decoding }), where as TaskCompletionSource ?? new()));
        }

        async Task<Chat> EndsWithAsync(Chat chat, Chat unbroken, string sentence)
        {
            Assert.Equal(("error", sentence), (chat.Heard[^1].Type, chat.Heard[^1].Text));
            Assert.StartsWith(chat.Heard.Text(), unbroken.Heard.Text(), StringComparison.Ordinal);
            Assert.InRange(chat.Heard.Text().Length, 1, unbroken.Heard.Text().Length - 1);
            var turn = (await client.HistoryAsync(chat.Conversation))[^1];
            Assert.Equal(("interrupted", chat.Heard.Text()), ((string)turn["state"]!, (string)turn["text"]!));
            return chat;
        }
    }

    /// <summary>Begins a reply that stands still at a token of it, on one of the hosts; returns when some of its words are heard. The other host holds nothing any more.</summary>
    private static async Task<(Task<Chat> Reply, HeldHost Holds, HeldHost Other)> TalkUntilHeldAsync(HeldHost[] hosts, int at, Func<TaskCompletionSource, Task<Chat>> begin)
    {
        foreach (var host in hosts) host.Hold(at);
        var begun = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var reply = begin(begun);
        await Until.TrueAsync(() => hosts.Any(h => h.Holds));
        await begun.Task.WaitAsync(TimeSpan.FromSeconds(60));
        var (holds, other) = hosts[0].Holds ? (hosts[0], hosts[^1]) : (hosts[^1], hosts[0]);
        if (other != holds) other.LetGo();
        return (reply, holds, other);
    }

    /// <summary>Chats through all clients at once, and something that happens when the first words are there. Every reply must come to its end.</summary>
    private static async Task<List<Chat>> TalkAsync(ChatClient[] clients, Action happens)
    {
        var begun = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var talking = Enumerable.Range(0, ChatsAtOnce).Select(i => TalkAsync(clients[i % clients.Length], i, begun)).ToList();
        await Task.WhenAny(begun.Task, Task.WhenAll(talking));
        happens();
        return [.. await Task.WhenAll(talking)];
    }

    private static async Task<Chat> TalkAsync(ChatClient client, int number, TaskCompletionSource begun)
    {
        var conversation = await client.StartAsync(new { model = "chat-teacher", decoding = new { strategy = "sample", seed = number, minTokens = Tokens, maxTokens = Tokens } });
        var heard = await ListenAsync(client.Send(conversation, "m", $"Hello number {number}, who are you?"), begun);
        Assert.Equal(("finished", "length"), (heard[^1].Type, heard[^1].FinishReason));
        Assert.Equal(Tokens, (int)heard[^1].Raw["usage"]!["completionTokens"]!);
        return new(conversation, heard);
    }

    private static async Task<List<WireEvent>> ListenAsync(IAsyncEnumerable<WireEvent> events, TaskCompletionSource begun)
    {
        var heard = new List<WireEvent>();
        await foreach (var item in events)
        {
            heard.Add(item);
            if (item.Type == "delta") begun.TrySetResult();
        }
        return heard;
    }

    /// <summary>Another gateway tells what was heard.</summary>
    private static async Task FindAsync(ChatClient client, Chat chat)
    {
        var turns = await client.HistoryAsync(chat.Conversation);
        Assert.Equal(["length"], turns.Skip(1).Select(t => (string)t["state"]!));
        Assert.Equal(chat.Heard.Text(), (string)turns[1]["text"]!);
        Assert.Equal(chat.Heard.Select(e => (e.Sequence, e.Text)), (await client.Attach(chat.Conversation, chat.Heard[0].ReplyId, 0).AllAsync()).Select(e => (e.Sequence, e.Text)));
    }

    private static Task AnswersAgainAsync(ChatProcess gateway, Uri host) => Until.TrueAsync(() => gateway.Output.Split($"Model host {host.Authority} answers").Length == 3);

    private Task<ChatProcess> GatewayAsync(RedisServer redis, HeldHost one, HeldHost two) => ChatProcess.StartAsync(folder, redis.Configuration,
        ("Hosts__Addresses__0", one.Address.OriginalString), ("Hosts__Addresses__1", two.Address.OriginalString), ("Hosts__Key", HostServer.Key), ("Hosts__PollSeconds", "0.2"),
        ("Models__Folder", "/no/such/folder"));     // a gateway of hosts reads none

    [GeneratedRegex("goes on elsewhere behind ([0-9]+) tokens")]
    private static partial Regex GoesOn();

    /// <summary>A model host that a test can keep at a token.</summary>
    private sealed class HeldHost(ChatProcess process, string order) : IAsyncDisposable
    {
        public ChatProcess Process => process;

        public Uri Address => process.Addresses[1];

        /// <summary>Whether a reply stands still there.</summary>
        public bool Holds => File.Exists(order + ".held");

        public static async Task<HeldHost> StartAsync(string folder, string name, Uri? address = null)
        {
            var order = Path.Combine(folder, name);
            return new(await ChatProcess.StartAsync(folder, redis: null,
                ("Role", "model-host"), ("Hosts__Listen", address?.GetLeftPart(UriPartial.Authority) ?? "http://127.0.0.1:0"), ("Hosts__Key", HostServer.Key), ("Models__Folder", Path.Combine(AppContext.BaseDirectory, "Shipped")), ("Models__Threads", "1"),
                ("Plugins__Folder", Path.Combine(AppContext.BaseDirectory, "Plugins")), ("Plugins__Allowed__HoldPlugin", "any"), ("HOLD_FILE", order)), order);
        }

        public void Hold(int at)
        {
            File.WriteAllText(order + ".new", at.ToString(CultureInfo.InvariantCulture));
            File.Move(order + ".new", order);
        }

        public void LetGo() => File.Delete(order);

        public ValueTask DisposeAsync() => process.DisposeAsync();
    }
}
