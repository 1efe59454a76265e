using Chat.Api.Hosts.Wire;
using Grpc.Net.Client;

namespace Chat.IntegrationTests.Hosts;

/// <summary>Two gateways and two model hosts as processes of their own, on one Redis, with the shipped teacher.</summary>
public sealed class GatewaysAndHostsTests
{
    private const int ChatsAtOnce = 8, Tokens = 60;

    private sealed record Chat(string Conversation, List<WireEvent> Heard);

    [Fact]
    public async Task A_host_is_killed_and_the_other_one_drained_and_nothing_that_was_acknowledged_is_lost()
    {
        var folder = Directory.CreateTempSubdirectory("chat-hosts-").FullName;
        await using var redis = await RedisServer.StartAsync();
        await using var first = await HostAsync(folder, "http://127.0.0.1:0");
        await using var second = await HostAsync(folder, "http://127.0.0.1:0");
        Uri[] hosts = [first.Addresses[1], second.Addresses[1]];
        await using var left = await GatewayAsync(folder, redis, hosts);
        await using var right = await GatewayAsync(folder, redis, hosts);
        await using var here = await left.ConnectAsync();
        await using var there = await right.ConnectAsync();
        ChatClient[] clients = [here, there];

        var chats = await TalkAsync(clients, () => { });
        string[] words = [.. chats.Select(c => c.Heard.Text())];
        // How far its replies are then is chance; RemoteChatModelsTests has them broken off between two tokens.
        chats.AddRange(await TalkAsync(clients, first.Kill));

        await using var again = await HostAsync(folder, hosts[0].GetLeftPart(UriPartial.Authority));
        foreach (var gateway in new[] { left, right })
            await Until.TrueAsync(() => gateway.Output.Split($"Model host {hosts[0].Authority} answers").Length == 3);
        using var channel = GrpcChannel.ForAddress(hosts[1]);
        Task<DrainReply>? drained = null;
        chats.AddRange(await TalkAsync(clients, () => drained = new ModelHost.ModelHostClient(channel).DrainAsync(new() { WaitSeconds = 300 }, HostServer.KeyHeader).ResponseAsync));
        Assert.Equal(0, (await drained!).Active);
        Assert.Equal(0, await second.EndAsync());
        chats.AddRange(await TalkAsync(clients, () => { }));

        // Whatever happened to its host, a seed says what it says.
        for (var i = 0; i < chats.Count; i++) Assert.Equal(words[i % ChatsAtOnce], chats[i].Heard.Text());
        for (var i = 0; i < chats.Count; i++) await FindAsync(clients[(i + 1) % 2], chats[i]);
        await using var store = await StackExchange.Redis.ConnectionMultiplexer.ConnectAsync(redis.Configuration);
        Assert.False(await store.GetDatabase().KeyExistsAsync("chat:running"));
        Directory.Delete(folder, recursive: true);
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
        var heard = new List<WireEvent>();
        await foreach (var item in client.Send(conversation, "m", $"Hello number {number}, who are you?"))
        {
            heard.Add(item);
            if (item.Type == "delta") begun.TrySetResult();
        }
        Assert.Equal(("finished", "length"), (heard[^1].Type, heard[^1].FinishReason));
        Assert.Equal(Tokens, (int)heard[^1].Raw["usage"]!["completionTokens"]!);
        return new(conversation, heard);
    }

    /// <summary>Another gateway tells what was heard.</summary>
    private static async Task FindAsync(ChatClient client, Chat chat)
    {
        var turns = await client.HistoryAsync(chat.Conversation);
        Assert.Equal(["length"], turns.Skip(1).Select(t => (string)t["state"]!));
        Assert.Equal(chat.Heard.Text(), (string)turns[1]["text"]!);
        Assert.Equal(chat.Heard.Select(e => (e.Sequence, e.Text)), (await client.Attach(chat.Conversation, chat.Heard[0].ReplyId, 0).AllAsync()).Select(e => (e.Sequence, e.Text)));
    }

    private static Task<ChatProcess> HostAsync(string folder, string listen) => ChatProcess.StartAsync(folder, redis: null,
        ("Role", "model-host"), ("Hosts__Listen", listen), ("Hosts__Key", HostServer.Key), ("Models__Folder", Path.Combine(AppContext.BaseDirectory, "Shipped")), ("Models__Threads", "1"));

    private static Task<ChatProcess> GatewayAsync(string folder, RedisServer redis, Uri[] hosts) => ChatProcess.StartAsync(folder, redis.Configuration,
        ("Hosts__Addresses__0", hosts[0].OriginalString), ("Hosts__Addresses__1", hosts[1].OriginalString), ("Hosts__Key", HostServer.Key), ("Hosts__PollSeconds", "0.2"),
        ("Models__Folder", "/no/such/folder"));     // a gateway of hosts reads none
}
