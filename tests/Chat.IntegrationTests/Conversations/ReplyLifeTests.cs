using System.Text;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using Microsoft.Extensions.DependencyInjection;

namespace Chat.IntegrationTests.Conversations;

public sealed class ReplyLifeOverGarnetTests(GarnetServer shared) : ReplyLifeTests(shared), IClassFixture<GarnetServer>;

public sealed class ReplyLifeOverRedisTests(RedisBackedServer shared) : ReplyLifeTests(shared), IClassFixture<RedisBackedServer>;

/// <summary>Replies in the middle: cut connections, second readers, stops.</summary>
public abstract class ReplyLifeTests(SharedServer shared) : IAsyncLifetime
{
    // Long enough to be cut anywhere, with characters of every UTF-8 length.
    private static readonly string LongText = string.Concat(Enumerable.Range(0, 60).Select(i => $"{i}: ein Wört, 你好世界, 🐉 "));

    private ChatServer Server => shared.Server;
    private ChatClient client = null!;

    public async ValueTask InitializeAsync()
    {
        client = await Server.ConnectAsync();
        Server.Models.Script = request => request.Messages[^1].Text switch
        {
            "long" or "endless" => LongText,
            var text => $"echo of {text}",
        };
        Server.Models.BeforeToken = (request, token, cancellation) => request.Messages[^1].Text switch
        {
            "long" => Task.Delay(1, cancellation),
            "endless" when token > 20 => Task.Delay(Timeout.Infinite, cancellation),
            _ => Task.CompletedTask,
        };
    }

    public ValueTask DisposeAsync() => client.DisposeAsync();

    [Fact]
    public async Task Whoever_hears_the_last_words_finds_the_end()
    {
        var connection = Server.Services.GetRequiredService<StoreConnection>();
        var conversation = await client.StartAsync();
        var found = new TaskCompletionSource<TurnState>();
        var channel = await connection.Subscriber.SubscribeAsync(Keys.Events(conversation));
        channel.OnMessage(async message =>
        {
            var item = ConversationStore.Read(message.Message, StoreJson.Default.ChatEvent);
            if (item.Type != ChatEventType.Delta) return;
            var turn = await connection.CallAsync(db => db.HashGetAsync(Keys.Turns(conversation), item.ReplyId));
            found.TrySetResult(ConversationStore.Read(turn, StoreJson.Default.Turn).State);
        });

        // The model says it all at once: the only words are the last.
        var heard = await client.Send(conversation, "m", "hello").AllAsync();

        Assert.Equal(["started", "delta", "finished"], heard.Select(item => item.Type));
        Assert.Equal(TurnState.Stop, await found.Task.WaitAsync(TimeSpan.FromMinutes(1)));
        await channel.UnsubscribeAsync();
    }

    [Fact]
    public async Task A_hundred_cuts_at_random_places_leave_the_text_unbroken()
    {
        var random = new Random(20260301);
        var cuts = 0;
        for (var round = 0; cuts < 100; round++)
        {
            var conversation = await client.StartAsync();
            var heard = new List<WireEvent>();
            var device = await Server.ConnectAsync(messagePack: round % 2 == 1);
            var stream = device.Send(conversation, "m", "long", options: new { decoding = new { maxTokens = 5000 } });
            for (var over = false; !over;)
            {
                var take = random.Next(1, 12);
                await foreach (var item in stream)
                {
                    heard.Add(item);
                    over = item.Type == "finished";
                    if (over || --take == 0) break;
                }
                if (over) break;

                // An abrupt end now and a polite one then; the reply goes on either way.
                await device.DisposeAsync();
                cuts++;
                device = await Server.ConnectAsync(messagePack: cuts % 2 == 1);
                stream = device.Attach(conversation, heard[0].ReplyId, heard[^1].Sequence);
            }
            await device.DisposeAsync();

            Assert.Equal(Enumerable.Range(1, heard.Count).Select(i => (long)i), heard.Select(e => e.Sequence));
            Assert.Equal(Encoding.UTF8.GetBytes(LongText), Encoding.UTF8.GetBytes(heard.Text()));
            Assert.Equal(LongText, (string)(await client.HistoryAsync(conversation))[1]["text"]!);
        }
    }

    [Fact]
    public async Task A_delta_never_ends_inside_a_character()
    {
        var events = await client.Send(await client.StartAsync(), "m", "long").AllAsync();

        Assert.All(events.Where(e => e.Type == "delta"), e => Assert.False(char.IsHighSurrogate(e.Text![^1]) || e.Text.Contains('\uFFFD')));
    }

    [Fact]
    public async Task A_second_device_reads_along_while_the_reply_runs()
    {
        var conversation = await client.StartAsync();
        var first = client.Send(conversation, "m", "long").AllAsync();
        await Until.TrueAsync(async () => (await client.HistoryAsync(conversation)).Count == 2);
        var running = (await client.HistoryAsync(conversation))[1];
        await using var device = await Server.ConnectAsync(messagePack: true);

        var second = await device.Attach(conversation, (string)running["id"]!, 0).AllAsync();

        Assert.Equal((await first).Select(e => (e.Type, e.Sequence, e.Text)), second.Select(e => (e.Type, e.Sequence, e.Text)));
    }

    [Fact]
    public async Task Attach_gives_what_is_behind_a_sequence_and_nothing_beyond_the_end()
    {
        var conversation = await client.StartAsync();
        var events = await client.Send(conversation, "m", "short").AllAsync();
        var reply = events[0].ReplyId;

        for (var after = 0; after <= events.Count + 1; after++)
            Assert.Equal(events.Skip(after).Select(e => e.Sequence), (await client.Attach(conversation, reply, after).AllAsync()).Select(e => e.Sequence));
        Assert.Empty(await client.Attach(conversation, reply, long.MaxValue).AllAsync());
        Assert.StartsWith("invalid: ", await ChatClient.ErrorOfAsync(client.Attach(conversation, reply, -1)));
        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(client.Attach(conversation, "m", 0)));
        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(client.Attach("nobody", reply, 0)));
    }

    [Fact]
    public async Task Stop_ends_a_reply_with_what_was_shown_and_frees_the_model()
    {
        var conversation = await client.StartAsync();
        var stream = await client.OpenAsync("Send", new { conversationId = conversation, messageId = "m", text = "endless", replyTo = (string?)null, options = (object?)null });
        var heard = new List<WireEvent> { await stream.ReadAsync(), await stream.ReadAsync() };
        await client.StopAsync(conversation, heard[0].ReplyId);
        var arrived = heard.Count + stream.Waiting;
        while (heard[^1].Type == "delta") heard.Add(await stream.ReadAsync());

        Assert.Equal(("finished", "stopped"), (heard[^1].Type, heard[^1].FinishReason));
        Assert.InRange(heard.Skip(arrived).Count(e => e.Type == "delta"), 0, 2);
        Assert.NotNull(heard[^1].Raw["usage"]);
        var turn = (await client.HistoryAsync(conversation))[1];
        Assert.Equal(("stopped", heard.Text()), ((string)turn["state"]!, (string)turn["text"]!));
        await client.StopAsync(conversation, heard[0].ReplyId);
        Assert.Equal(turn.ToJsonString(), (await client.HistoryAsync(conversation))[1].ToJsonString());
        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(() => client.StopAsync(conversation, "nobody")));
    }

    [Fact]
    public async Task A_running_reply_makes_the_conversation_busy_and_shows_its_text_so_far()
    {
        var conversation = await client.StartAsync();
        var stream = client.Send(conversation, "m", "endless").AllAsync();
        await Until.TrueAsync(async () => await client.HistoryAsync(conversation) is [_, var t] && ((string)t["text"]!).Length > 20);
        var running = (await client.HistoryAsync(conversation))[1];
        var reply = (string)running["id"]!;

        Assert.Equal("running", (string)running["state"]!);
        Assert.StartsWith((string)running["text"]!, LongText, StringComparison.Ordinal);
        Assert.StartsWith("busy: ", await ChatClient.ErrorOfAsync(client.Send(conversation, "m2", "too early")));
        Assert.StartsWith("busy: ", await ChatClient.ErrorOfAsync(client.StreamAsync("Regenerate", conversation, reply, "r", null)));
        Assert.StartsWith("busy: ", await ChatClient.ErrorOfAsync(client.StreamAsync("Edit", conversation, "m", "m2", "too early")));
        await client.InvokeAsync("Rate", conversation, reply, "up", null);
        await client.StopAsync(conversation, reply);
        Assert.Equal("stopped", (await stream)[^1].FinishReason);
        Assert.Equal(2, (await client.HistoryAsync(conversation)).Count);
        Assert.Equal("finished", (await client.Send(conversation, "m2", "now").AllAsync())[^1].Type);
    }

    [Fact]
    public async Task A_heartbeat_that_comes_after_the_end_does_not_keep_the_conversation_busy()
    {
        var conversation = await client.StartAsync();
        var reply = (await client.Send(conversation, "m", "short").AllAsync())[0].ReplyId;
        await using var store = await Server.OpenStoreAsync();
        var token = (string)(await store.GetDatabase().StringGetAsync($"chat:{{{conversation}}}:fence"))!;

        await Server.Services.GetRequiredService<ReplyLog>().RenewAsync(new(conversation, reply, token));

        Assert.Equal("finished", (await client.Send(conversation, "m2", "now").AllAsync())[^1].Type);
    }
}
