using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.BadInput;

/// <summary>What /api answers to requests that nobody should send: problem details with a 4xx, nothing changed.</summary>
public sealed class BadHttpTests(BadHubTests.Talk talk) : IClassFixture<BadHubTests.Talk>
{
    /// <summary>Method, path ({c}: our conversation, {tc}: somebody else's), body, content type, status.</summary>
    public static TheoryData<string, string, string?, string?, int> Requests => new()
    {
        { "GET", "/api/nothing", null, null, 404 },
        { "GET", "/api", null, null, 404 },
        { "GET", "/api/conversations?limit=0", null, null, 400 },
        { "GET", "/api/conversations?limit=-1", null, null, 400 },
        { "GET", "/api/conversations?limit=many", null, null, 400 },
        { "GET", "/api/conversations?limit=1.5", null, null, 400 },
        { "GET", "/api/conversations?limit=99999999999999", null, null, 400 },
        { "GET", "/api/conversations?limit=", null, null, 400 },
        { "GET", "/api/conversations?cursor=%00", null, null, 400 },
        { "GET", "/api/conversations?cursor=nonsense", null, null, 400 },
        { "GET", "/api/conversations?cursor=%21%21", null, null, 400 },
        { "GET", "/api/conversations?cursor=AAAA", null, null, 400 },
        { "GET", "/api/conversations?cursor=TmFOOmE", null, null, 400 },          // NaN:a
        { "GET", "/api/conversations?cursor=MWU5OTk6YQ", null, null, 400 },       // 1e999:a
        { "POST", "/api/conversations", "{}", "application/json", 405 },
        { "PUT", "/api/conversations/{c}", "{}", "application/json", 405 },
        { "GET", "/api/conversations/nowhere", null, null, 404 },
        { "GET", "/api/conversations/{tc}", null, null, 404 },
        { "GET", "/api/conversations/%2e%2e", null, null, 404 },
        { "GET", "/api/conversations/a%7D:turns", null, null, 404 },
        { "GET", "/api/conversations/{tc}/export", null, null, 404 },
        { "GET", "/api/conversations/nowhere/export", null, null, 404 },
        { "POST", "/api/conversations/{c}/export", null, null, 405 },
        { "DELETE", "/api/conversations/nowhere", null, null, 404 },
        { "DELETE", "/api/conversations/{tc}", null, null, 404 },
        { "PATCH", "/api/conversations/{tc}", """{"title":"mine now"}""", "application/json", 404 },
        { "PATCH", "/api/conversations/nowhere", """{"title":"x"}""", "application/json", 404 },
        { "PATCH", "/api/conversations/{c}", null, null, 400 },
        { "PATCH", "/api/conversations/{c}", "", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", "null", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", "[]", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", "{}", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":null}""", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":""}""", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":"   "}""", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":"a","title":"b"}""", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":""", "application/json", 400 },
        { "PATCH", "/api/conversations/nowhere", """{"title":""}""", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":7}""", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":{"a":1}}""", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":"half \ud83d"}""", "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":"x" """, "application/json", 400 },
        { "PATCH", "/api/conversations/{c}", """{"title":"x"}""", "text/plain", 415 },
        { "PATCH", "/api/conversations/{c}", "title=x", "application/x-www-form-urlencoded", 415 },
        { "POST", "/api/bots", "{}", "application/json", 405 },
        { "DELETE", "/api/plugins", null, null, 405 },
        { "POST", "/health/live", null, null, 405 },
        { "POST", "/hubs/nothing/negotiate", null, null, 404 },
    };

    [Theory, MemberData(nameof(Requests))]
    public async Task A_bad_request_is_a_problem_with_a_4xx(string method, string path, string? body, string? type, int status) =>
        await AssertProblemAsync(method, path, body is null ? null : Encoding.UTF8.GetBytes(body), type, status);

    [Fact]
    public async Task Titles_too_long_bodies_too_large_and_too_deep_and_broken_text_are_refused()
    {
        const string Path = "/api/conversations/{c}";

        await AssertProblemAsync("PATCH", Path, Encoding.UTF8.GetBytes($$"""{"title":"{{new string('t', 201)}}"}"""), "application/json", 400);
        await AssertProblemAsync("PATCH", Path, Encoding.UTF8.GetBytes($$"""{"title":"{{new string('t', 2_000_000)}}"}"""), "application/json", 413);
        await AssertProblemAsync("PATCH", Path, Encoding.UTF8.GetBytes($$"""{"title":{{string.Concat(Enumerable.Repeat("[", 20_000))}}"""), "application/json", 400);
        await AssertProblemAsync("PATCH", Path, [.. "{\"title\":\""u8, 0xC3, 0x28, .. "\"}"u8], "application/json", 400);
        await AssertProblemAsync("PATCH", Path, Encoding.Unicode.GetBytes("""{"title":"x"}"""), "application/json", 400);
    }

    [Theory]
    [InlineData("nonsense"), InlineData("expired"), InlineData("audience"), InlineData("key")]
    public async Task A_bad_token_opens_nothing(string fault)
    {
        var token = fault switch
        {
            "expired" => Tokens.For("ann", expires: 1_000_000_000),
            "audience" => Tokens.For("ann", audience: "another"),
            "key" => Tokens.For("ann", key: Convert.ToBase64String(new byte[40])),
            _ => "nonsense",
        };
        using var http = talk.Server.Http(token);

        foreach (var path in new[] { "/api/conversations", "/api/plugins", "/v1/models" })
        {
            using var answer = await http.GetAsync(path);
            Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
            Assert.Equal(path.StartsWith("/v1", StringComparison.Ordinal) ? "application/json" : "application/problem+json", answer.Content.Headers.ContentType?.MediaType);
        }
    }

    [Fact]
    public async Task Production_knows_no_anonymous_caller_and_each_surface_says_so_in_its_form()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: [("environment", "Production"), .. Tokens.Settings]);
        using var nobody = server.Http();
        using var ann = server.Http(Tokens.For("ann"));

        foreach (var (path, type) in new[] { ("/v1/models", "application/json"), ("/v1/chat/completions", "application/json"), ("/api/conversations", "application/problem+json"), ("/api/models", "application/problem+json") })
        {
            using var refused = path.EndsWith("completions", StringComparison.Ordinal) ? await nobody.PostAsync(path, new StringContent("{}", Encoding.UTF8, "application/json")) : await nobody.GetAsync(path);
            Assert.Equal((HttpStatusCode.Unauthorized, type), (refused.StatusCode, refused.Content.Headers.ContentType?.MediaType));
        }
        Assert.Equal(HttpStatusCode.OK, (await ann.GetAsync("/v1/models")).StatusCode);
        foreach (var open in new[] { "/health/live", "/health/ready", "/metrics", "/openapi/v1.json" }) Assert.Equal(HttpStatusCode.OK, (await nobody.GetAsync(open)).StatusCode);
    }

    [Theory]
    [InlineData("ffffffffffffffffff\r\n"), InlineData("-5\r\nhello\r\n0\r\n\r\n"), InlineData("zz\r\nhello\r\n0\r\n\r\n")]
    public async Task Broken_chunks_are_400(string chunks)
    {
        var answer = await RawClient.SendAsync(talk.Server.Address, $"PATCH /api/conversations/{talk.Conversation} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");

        Assert.StartsWith("HTTP/1.1 400 ", answer);
    }

    [Fact]
    public async Task Nonsense_instead_of_HTTP_is_400()
    {
        foreach (var nonsense in new[] { "hello\r\n\r\n", "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", "GET /api HTTP/1.1\r\n\r\n", "GET /api HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", $"GET /api HTTP/1.1\r\nHost: localhost\r\nX: {new string('x', 40_000)}\r\n\r\n" })
            Assert.Matches("^HTTP/1.1 (400|431|505) ", await RawClient.SendAsync(talk.Server.Address, nonsense));
    }

    private async Task AssertProblemAsync(string method, string path, byte[]? body, string? type, int status)
    {
        using var http = talk.Server.Http();
        using var request = new HttpRequestMessage(new(method), path.Replace("{c}", talk.Conversation).Replace("{tc}", talk.Theirs));
        if (body is not null) request.Content = new ByteArrayContent(body);
        if (type is not null) request.Content!.Headers.ContentType = MediaTypeHeaderValue.Parse(type);
        var before = await http.GetStringAsync($"/api/conversations/{talk.Conversation}");

        using var response = await http.SendAsync(request);

        var text = await response.Content.ReadAsStringAsync();
        Assert.True(status == (int)response.StatusCode, $"{(int)response.StatusCode}: {text}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        Assert.Equal(status, JsonNode.Parse(text)!["status"]!.GetValue<int>());
        Assert.DoesNotContain("   at ", text);
        Assert.Equal(before, await http.GetStringAsync($"/api/conversations/{talk.Conversation}"));
    }
}
