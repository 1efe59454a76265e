using System.Net;
using Microsoft.AspNetCore.SignalR;

namespace Chat.IntegrationTests.Conversations;

/// <summary>Tokens, ownership, anonymous callers, limits.</summary>
public sealed class IdentityTests
{
    [Fact]
    public async Task Keys_made_at_start_stand_in_the_data_folder()
    {
        var folder = Directory.CreateTempSubdirectory("chat-test-").FullName;
        await using var server = await ChatServer.StartAsync(Store.Garnet, dataFolder: folder);

        Assert.Single(Directory.GetFiles(Path.Combine(folder, "keys"), "key-*.xml"));
    }

    [Fact]
    public async Task Somebody_elses_ids_are_answered_like_unknown_ones_word_for_word()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: Tokens.Settings);
        await using var alice = await server.ConnectAsync(token: Tokens.For("alice"));
        await using var mallory = await server.ConnectAsync(token: Tokens.For("mallory"));
        await using var namesake = await server.ConnectAsync(token: Tokens.For("alice", tenant: "other"));
        var conversation = await alice.StartAsync();
        var reply = (await alice.Send(conversation, "m", "hers").AllAsync())[0].ReplyId;

        foreach (var other in new[] { mallory, namesake })
        {
            foreach (var call in Calls(other))
                Assert.Equal(await ChatClient.ErrorOfAsync(() => call("unknown")), await ChatClient.ErrorOfAsync(() => call(conversation)));
            using var http = server.Http(Tokens.For(other == mallory ? "mallory" : "alice", tenant: other == mallory ? "" : "other"));
            foreach (var method in new[] { "GET", "DELETE" })
                Assert.Equal(await BodyAsync(http, method, "unknown"), await BodyAsync(http, method, conversation));
            Assert.Equal("""{"conversations":[],"nextCursor":null}""", await http.GetStringAsync("/api/conversations"));
        }
        Assert.Equal(2, (await alice.HistoryAsync(conversation)).Count);

        IEnumerable<Func<string, Task>> Calls(ChatClient client) =>
        [
            id => client.Send(id, "m", "hers").AllAsync(),
            id => client.Attach(id, reply, 0).AllAsync(),
            id => client.StopAsync(id, reply),
            id => client.StreamAsync("Regenerate", id, reply, "r", null).AllAsync(),
            id => client.StreamAsync("Edit", id, "m", "m2", "mine").AllAsync(),
            id => client.InvokeAsync("Rate", id, reply, "up", null),
            id => client.InvokeAsync("Choose", id, "pair", null),
            id => client.HistoryAsync(id),
        ];

        static async Task<string> BodyAsync(HttpClient http, string method, string id)
        {
            using var request = new HttpRequestMessage(new(method), $"/api/conversations/{id}");
            using var response = await http.SendAsync(request);
            Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
            return System.Text.RegularExpressions.Regex.Replace(await response.Content.ReadAsStringAsync(), "\"traceId\":\"[^\"]*\"", "");
        }
    }

    [Fact]
    public async Task Production_knows_nobody_without_a_token()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: [.. Tokens.Settings, ("environment", "Production")]);
        using var http = server.Http();

        using var refused = await http.GetAsync("/api/conversations");
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        Assert.Equal("application/problem+json", refused.Content.Headers.ContentType?.MediaType);
        Assert.Equal(HttpStatusCode.Unauthorized, (await Assert.ThrowsAsync<HttpRequestException>(() => server.ConnectAsync())).StatusCode);
        await using var known = await server.ConnectAsync(token: Tokens.For("alice"));
        Assert.NotEqual("", await known.StartAsync());
    }

    [Theory]
    [InlineData("not a token")]
    [InlineData("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.")]
    public async Task A_bad_token_is_refused_even_where_anonymous_callers_are_not(string token)
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: Tokens.Settings);
        using var http = server.Http(token);

        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync("/api/conversations")).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync("/api/bots")).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await Assert.ThrowsAsync<HttpRequestException>(() => server.ConnectAsync(token: token))).StatusCode);
    }

    [Fact]
    public async Task An_expired_token_and_one_without_a_user_are_refused()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: Tokens.Settings);
        foreach (var token in new[] { Tokens.For("alice", expires: 1_000_000_000), Tokens.For("") })
        {
            using var http = server.Http(token);
            Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync("/api/conversations")).StatusCode);
        }
    }

    [Fact]
    public async Task A_browser_that_opens_the_page_is_somebody_of_its_own()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        using var handler = new HttpClientHandler();
        using var browser = new HttpClient(handler) { BaseAddress = server.Address };
        using var page = await browser.GetAsync("/");
        var cookie = page.Headers.GetValues("Set-Cookie").Single();
        await using var anonymous = await server.ConnectAsync();
        var conversation = await anonymous.StartAsync();

        Assert.Contains("httponly", cookie, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("samesite=strict", cookie, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(HttpStatusCode.NotFound, (await browser.GetAsync($"/api/conversations/{conversation}")).StatusCode);
        using var plain = server.Http();
        Assert.Equal(HttpStatusCode.OK, (await plain.GetAsync($"/api/conversations/{conversation}")).StatusCode);
    }

    [Theory]
    [InlineData("Host", "evil.example")]
    [InlineData("Origin", "http://evil.example")]
    [InlineData("Origin", "null")]
    public async Task A_page_of_another_site_is_not_an_anonymous_caller(string header, string value)
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        using var http = server.Http();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/api/bots");
        request.Headers.TryAddWithoutValidation(header, value);

        Assert.Equal(HttpStatusCode.Unauthorized, (await http.SendAsync(request)).StatusCode);
    }

    [Fact]
    public async Task A_user_has_so_many_messages_a_minute_and_so_many_running_replies()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: [.. Tokens.Settings, ("Limits:MessagesPerMinute", "3"), ("Limits:ConcurrentReplies", "1")]);
        server.Models.BeforeToken = (request, _, cancellation) => request.Messages[^1].Text == "endless" ? Task.Delay(Timeout.Infinite, cancellation) : Task.CompletedTask;
        await using var alice = await server.ConnectAsync(token: Tokens.For("alice"));
        await using var bob = await server.ConnectAsync(token: Tokens.For("bob"));
        var conversation = await alice.StartAsync();
        var running = alice.Send(conversation, "m1", "endless").AllAsync();
        await Until.TrueAsync(async () => (await alice.HistoryAsync(conversation)).Count == 2);

        Assert.Matches(@"^limited: .*Try again in \d+ seconds\.$", await ChatClient.ErrorOfAsync(alice.Send(await alice.StartAsync(), "m", "two at once")));
        await alice.StopAsync(conversation, (string)(await alice.HistoryAsync(conversation))[1]["id"]!);
        await running;
        var sent = 1;
        var begun = TimeProvider.System.GetTimestamp();
        var error = await Assert.ThrowsAsync<HubException>(async () =>
        {
            for (; sent < 100; sent++) await alice.Send(conversation, $"m{sent + 1}", "one more").AllAsync();
        });
        Assert.Matches(@"HubException: limited: .*Try again in \d+ seconds\.$", error.Message);
        Assert.InRange(sent, 3, 4 + (int)(TimeProvider.System.GetElapsedTime(begun).TotalSeconds / 20));      // three at once, and one more each 20 s
        Assert.Equal("finished", (await bob.Send(await bob.StartAsync(), "m", "another user").AllAsync())[^1].Type);
        Assert.Equal(2 * sent, (await alice.HistoryAsync(conversation)).Count);
    }
}
