using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using StackExchange.Redis;

namespace Chat.IntegrationTests.Conversations;

public sealed class HttpOverGarnetTests(GarnetServer shared) : HttpTests(shared), IClassFixture<GarnetServer>;

public sealed class HttpOverRedisTests(RedisBackedServer shared) : HttpTests(shared), IClassFixture<RedisBackedServer>;

/// <summary>/api/conversations and its neighbours.</summary>
public abstract class HttpTests(SharedServer shared)
{
    private ChatServer Server => shared.Server;

    [Fact]
    public async Task Conversations_are_listed_newest_first_page_by_page()
    {
        await using var client = await Server.ConnectAsync();
        using var http = Server.Http();
        var started = new List<string>();
        for (var i = 0; i < 5; i++) started.Add(await client.StartAsync());
        await client.Send(started[0], "m", "Touched last, and the title is cut after sixty characters, not one more").AllAsync();

        var pages = await ListAsync(http, limit: 2);

        Assert.Equal([started[0], started[4], started[3], started[2], started[1]], pages.Take(5));
        Assert.Equal(pages.Count, pages.Distinct().Count());
        var read = (await http.GetFromJsonAsync<JsonObject>($"/api/conversations/{started[0]}"))!;
        Assert.Equal("Touched last, and the title is cut after sixty characters, n", (string)read["title"]!);
    }

    [Fact]
    public async Task Conversations_of_one_instant_and_those_a_crash_left_too_low_are_listed_once_each()
    {
        await using var client = await Server.ConnectAsync();
        using var http = Server.Http();
        var started = new List<string>();
        for (var i = 0; i < 5; i++) started.Add(await client.StartAsync());
        await using var store = await Server.OpenStoreAsync();
        RedisKey list = Assert.Single(await Server.KeysAsync("*anonymous}:conversations"));
        var oneInstant = started.OrderDescending(StringComparer.Ordinal).ToList();
        foreach (var id in started)
        {
            await store.GetDatabase().SortedSetAddAsync(list, id, 1_700_000_000_000.25);
            await store.GetDatabase().HashSetAsync($"chat:{{{id}}}:conversation", "updatedAt", id == oneInstant[2] ? 1_700_000_000_500 : 1_700_000_000_000);
        }

        // With pages of one, each is looked at with the page before its own.
        Assert.Equal(oneInstant, (await ListAsync(http, limit: 1)).Where(started.Contains));
        Assert.Equal([oneInstant[2], .. oneInstant.Where((_, i) => i != 2)], (await ListAsync(http, limit: 1)).Where(started.Contains));
    }

    private static async Task<List<string>> ListAsync(HttpClient http, int limit)
    {
        var listed = new List<string>();
        string? cursor = null;
        do
        {
            var page = (await http.GetFromJsonAsync<JsonObject>($"/api/conversations?limit={limit}&cursor={cursor}"))!;
            Assert.InRange(page["conversations"]!.AsArray().Count, 0, limit);
            listed.AddRange(page["conversations"]!.AsArray().Select(c => (string)c!["conversationId"]!));
            cursor = (string?)page["nextCursor"];
        }
        while (cursor is not null);
        return listed;
    }

    [Fact]
    public async Task Search_finds_words_in_titles_and_turns_whatever_their_case()
    {
        await using var client = await Server.ConnectAsync();
        using var http = Server.Http();
        var conversation = await client.StartAsync();
        await client.Send(conversation, "m1", "About gryphons").AllAsync();
        await client.Send(conversation, "m2", "and the 北方的森林 there").AllAsync();

        foreach (var (words, count) in new[] { ("GRYPHONS", 1), ("北方的森林", 1), ("nothing of the kind", 0) })
        {
            var found = (await http.GetFromJsonAsync<JsonObject>($"/api/conversations?q={Uri.EscapeDataString(words)}"))!["conversations"]!.AsArray();
            Assert.Equal(count, found.Count);
        }
    }

    [Fact]
    public async Task A_rename_holds_against_later_messages()
    {
        await using var client = await Server.ConnectAsync();
        using var http = Server.Http();
        var conversation = await client.StartAsync();

        var renamed = await http.PatchAsJsonAsync($"/api/conversations/{conversation}", new { title = "Mine" });
        await client.Send(conversation, "m", "another title").AllAsync();

        Assert.Equal(HttpStatusCode.OK, renamed.StatusCode);
        Assert.Equal("Mine", (string)(await http.GetFromJsonAsync<JsonObject>($"/api/conversations/{conversation}"))!["title"]!);
    }

    [Fact]
    public async Task An_export_has_all_that_decided_a_reply()
    {
        await using var client = await Server.ConnectAsync();
        using var http = Server.Http();
        var conversation = await client.StartAsync();
        var reply = (await client.Send(conversation, "m", "hello", options: new { decoding = new { seed = 5 } }).AllAsync())[0].ReplyId;
        await client.InvokeAsync("Rate", conversation, reply, "down", "#wrong #short it was not helpful");

        var export = (await http.GetFromJsonAsync<JsonObject>($"/api/conversations/{conversation}/export"))!;

        var record = export["turns"]![1]!["reply"]!;
        Assert.Equal(("fake", "f00dfeedf00dfeed", "sample", 5L, "chat"), ((string)record["model"]!, (string)record["modelHash"]!, (string)record["strategy"]!, (long)record["seed"]!, (string)record["bot"]!));
        Assert.True((double)record["firstTokenMs"]! <= (double)record["totalMs"]!);
        Assert.Equal(["sent", "started", "firstToken", "finished", "rated"], export["journal"]!.AsArray().Select(f => (string)f!["kind"]!));
        Assert.Equal(["wrong", "short"], export["ratings"]![reply]!["reasons"]!.AsArray().Select(r => (string)r!));
        Assert.All(export["turns"]!.AsArray(), t => Assert.Equal(1, (int)t!["schema"]!));
    }

    [Fact]
    public async Task A_deleted_conversation_leaves_nothing_behind_and_its_running_reply_ends()
    {
        await using var client = await Server.ConnectAsync();
        using var http = Server.Http();
        var conversation = await client.StartAsync();
        await client.Send(conversation, "m1", "first").AllAsync();
        Server.Models.BeforeToken = (request, token, cancellation) => token > 3 && request.Messages[^1].Text == "running" ? Task.Delay(Timeout.Infinite, cancellation) : Task.CompletedTask;
        var running = client.Send(conversation, "m2", "running").AllAsync();
        await Until.TrueAsync(async () => (await client.HistoryAsync(conversation)).Count == 4);

        var deleted = await http.DeleteAsync($"/api/conversations/{conversation}");

        Assert.Equal(HttpStatusCode.NoContent, deleted.StatusCode);
        Assert.Equal("stopped", (await running)[^1].FinishReason);
        Assert.Equal(HttpStatusCode.NotFound, (await http.GetAsync($"/api/conversations/{conversation}")).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await http.DeleteAsync($"/api/conversations/{conversation}")).StatusCode);
        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(() => client.HistoryAsync(conversation)));
        Assert.Empty(await Server.KeysAsync($"*{conversation}*"));
    }

    [Fact]
    public async Task Whoever_reads_a_reply_that_vanishes_is_told_so()
    {
        Server.Say("vanish", "now you see me, now you do not");
        var hold = Server.HoldAt("vanish", 3);
        await using var client = await Server.ConnectAsync();
        var conversation = await client.StartAsync();
        var heard = client.Send(conversation, "m", "vanish").AllAsync();
        await Until.TrueAsync(async () => (await client.HistoryAsync(conversation)).Any(t => (string)t["role"]! == "assistant" && (string)t["text"]! != ""));

        // As when it begins at the very moment of the erasure.
        await using (var store = await Server.OpenStoreAsync())
            foreach (var key in await Server.KeysAsync($"*{conversation}*")) await store.GetDatabase().KeyDeleteAsync(key);
        hold.LetGo();

        Assert.StartsWith("not_found: ", await ChatClient.ErrorOfAsync(() => heard));
        await using var running = await Server.OpenStoreAsync();
        await Until.TrueAsync(async () => !(await running.GetDatabase().SortedSetRangeByRankAsync("chat:running")).Any(r => ((string)r!).StartsWith(conversation, StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Bots_are_listed()
    {
        using var http = Server.Http();

        var bots = (await http.GetFromJsonAsync<JsonArray>("/api/bots"))!;

        Assert.Equal("chat", (string)bots[0]!["name"]!);
    }
}
