namespace Chat.IntegrationTests.Conversations;

public sealed class RepeatOverGarnetTests(GarnetServer shared) : RepeatTests(shared), IClassFixture<GarnetServer>;

public sealed class RepeatOverRedisTests(RedisBackedServer shared) : RepeatTests(shared), IClassFixture<RedisBackedServer>;

/// <summary>Hearing a request twice, and the branches that edits and regenerations make.</summary>
public abstract class RepeatTests(SharedServer shared) : IAsyncLifetime
{
    private ChatClient client = null!;
    private string conversation = "";

    public async ValueTask InitializeAsync()
    {
        client = await shared.Server.ConnectAsync();
        conversation = await client.StartAsync();
    }

    public ValueTask DisposeAsync() => client.DisposeAsync();

    [Fact]
    public async Task A_message_heard_twice_is_stored_once_and_streams_the_same_events()
    {
        var first = await client.Send(conversation, "m", "once").AllAsync();
        var again = await client.Send(conversation, "m", "once", replyTo: "ignored for a known message").AllAsync();

        Assert.Equal(first.Select(e => (e.Type, e.ReplyId, e.Sequence, e.Text)), again.Select(e => (e.Type, e.ReplyId, e.Sequence, e.Text)));
        Assert.Equal(2, (await client.HistoryAsync(conversation)).Count);
    }

    [Fact]
    public async Task A_message_heard_twice_at_once_has_one_reply()
    {
        var streams = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => client.Send(conversation, "m", "at once").AllAsync()));

        Assert.Single(streams.Select(s => s[0].ReplyId).Distinct());
        Assert.Single(streams.Select(s => s.Text()).Distinct());
        Assert.Equal(2, (await client.HistoryAsync(conversation)).Count);
    }

    [Fact]
    public async Task A_message_id_with_another_text_is_a_conflict_and_stores_nothing()
    {
        await client.Send(conversation, "m", "one").AllAsync();

        Assert.StartsWith("conflict: ", await ChatClient.ErrorOfAsync(client.Send(conversation, "m", "two")));
        Assert.Equal(2, (await client.HistoryAsync(conversation)).Count);
    }

    [Fact]
    public async Task A_reply_id_is_no_message_id()
    {
        var reply = (await client.Send(conversation, "m", "one").AllAsync())[0].ReplyId;

        Assert.StartsWith("conflict: ", await ChatClient.ErrorOfAsync(client.Send(conversation, reply, "one")));
    }

    [Fact]
    public async Task A_message_follows_the_newest_reply_or_the_one_it_names()
    {
        var first = (await client.Send(conversation, "m1", "one").AllAsync())[0].ReplyId;
        var second = (await client.Send(conversation, "m2", "two").AllAsync())[0].ReplyId;
        await client.Send(conversation, "m3", "branch", replyTo: first).AllAsync();

        var turns = await client.HistoryAsync(conversation);
        Assert.Equal([(null, "m1"), (first, "m2"), (first, "m3")], turns.Where(t => (string)t["role"]! == "user").Select(t => ((string?)t["replyTo"], (string)t["id"]!)));
        Assert.Equal(["one", "two", "branch"], shared.Server.Models.Requests.Select(r => r.Messages[^1].Text).Where(t => t is "one" or "two" or "branch").TakeLast(3));
        var branch = shared.Server.Models.Requests.Last(r => r.Messages[^1].Text == "branch");
        Assert.DoesNotContain(branch.Messages, m => m.Text == "two");
        Assert.NotEqual(first, second);
        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(client.Send(conversation, "m4", "four", replyTo: "nobody")));
        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(client.Send(conversation, "m4", "four", replyTo: "m1")));
    }

    [Fact]
    public async Task A_regeneration_is_another_reply_to_the_same_message_once_a_request_id()
    {
        var first = (await client.Send(conversation, "m", "again").AllAsync())[0].ReplyId;
        var second = await client.StreamAsync("Regenerate", conversation, first, "r1", null).AllAsync();
        var repeated = await client.StreamAsync("Regenerate", conversation, first, "r1", null).AllAsync();
        var third = await client.StreamAsync("Regenerate", conversation, first, "r2", null).AllAsync();

        Assert.Equal(second.Select(e => (e.ReplyId, e.Sequence, e.Text)), repeated.Select(e => (e.ReplyId, e.Sequence, e.Text)));
        var turns = await client.HistoryAsync(conversation);
        Assert.Equal(["m", first, second[0].ReplyId, third[0].ReplyId], turns.Select(t => (string)t["id"]!));
        Assert.All(turns.Skip(1), t => Assert.Equal("m", (string)t["replyTo"]!));
        Assert.StartsWith("conflict: ", await ChatClient.ErrorOfAsync(client.StreamAsync("Regenerate", conversation, second[0].ReplyId, "r1", null)));
        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(client.StreamAsync("Regenerate", conversation, "m", "r3", null)));
    }

    [Fact]
    public async Task A_regeneration_heard_twice_at_once_makes_one_reply()
    {
        var first = (await client.Send(conversation, "m", "again").AllAsync())[0].ReplyId;

        var streams = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => client.StreamAsync("Regenerate", conversation, first, "r", null).AllAsync()));

        Assert.Single(streams.Select(s => s[0].ReplyId).Distinct());
        Assert.Equal(3, (await client.HistoryAsync(conversation)).Count);
    }

    [Fact]
    public async Task An_edit_is_a_branch_beside_the_edited_message()
    {
        var first = (await client.Send(conversation, "m1", "one").AllAsync())[0].ReplyId;
        await client.Send(conversation, "m2", "two").AllAsync();
        var edited = await client.StreamAsync("Edit", conversation, "m2", "m2b", "two, better").AllAsync();
        var repeated = await client.StreamAsync("Edit", conversation, "m2", "m2b", "two, better").AllAsync();

        Assert.Equal(edited.Select(e => (e.ReplyId, e.Sequence, e.Text)), repeated.Select(e => (e.ReplyId, e.Sequence, e.Text)));
        var turns = await client.HistoryAsync(conversation);
        Assert.Equal(6, turns.Count);
        Assert.Equal(first, (string)turns.Single(t => (string)t["id"]! == "m2b")["replyTo"]!);
        Assert.Equal(first, (string)turns.Single(t => (string)t["id"]! == "m2")["replyTo"]!);
        Assert.StartsWith("conflict: ", await ChatClient.ErrorOfAsync(client.StreamAsync("Edit", conversation, "m2", "m2b", "three")));
        Assert.StartsWith("conflict: ", await ChatClient.ErrorOfAsync(client.StreamAsync("Edit", conversation, "m2", "m2", "two")));
        Assert.StartsWith("conflict: ", await ChatClient.ErrorOfAsync(client.StreamAsync("Edit", conversation, "m2", "m1", "one")));
        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(client.StreamAsync("Edit", conversation, "nobody", "m3", "three")));
    }

    [Fact]
    public async Task History_gives_the_newest_turns_before_one()
    {
        for (var i = 1; i <= 3; i++) await client.Send(conversation, $"m{i}", $"text {i}").AllAsync();
        var all = await client.HistoryAsync(conversation);

        var last = await client.HistoryAsync(conversation, limit: 2);
        var before = await client.HistoryAsync(conversation, before: (string)last[0]["id"]!, limit: 3);

        Assert.Equal(6, all.Count);
        Assert.Equal(all.Skip(4).Select(Id), last.Select(Id));
        Assert.Equal(all.Skip(1).Take(3).Select(Id), before.Select(Id));
        Assert.Empty(await client.HistoryAsync(conversation, before: "m1"));
        Assert.Equal(6, (await client.HistoryAsync(conversation, limit: 5000)).Count);
        Assert.StartsWith("invalid: ", await ChatClient.ErrorOfAsync(() => client.HistoryAsync(conversation, limit: 0)));
        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(() => client.HistoryAsync(conversation, before: "nobody")));

        static string Id(System.Text.Json.Nodes.JsonObject turn) => (string)turn["id"]!;
    }
}
