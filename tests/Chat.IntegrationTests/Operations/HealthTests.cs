using System.Net;
using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.Operations;

public sealed class HealthTests
{
    [Fact]
    public async Task Ready_needs_store_and_model_and_live_needs_neither()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var server = await ChatServer.StartAsync(Store.Redis, redis, mayLogErrors: true);
        using var http = server.Http();

        Assert.Equal("""{"status":"ready","checks":{"store":"answers","model":"answers"}}""", await http.GetStringAsync("/health/ready"));

        var models = server.Models.Models;
        server.Models.Models = [];
        await AssertNotReadyAsync("""{"status":"not ready","checks":{"store":"answers","model":"No model is loaded."}}""");
        server.Models.Models = models;
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/health/ready")).StatusCode);

        redis.Kill();
        await AssertNotReadyAsync("""{"status":"not ready","checks":{"store":"The store does not answer.","model":"answers"}}""");

        async Task AssertNotReadyAsync(string body)
        {
            using var answer = await http.GetAsync("/health/ready");
            Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
            Assert.Equal(body, await answer.Content.ReadAsStringAsync());
            Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/health/live")).StatusCode);
        }
    }

    [Fact]
    public async Task Answers_of_the_apis_are_not_kept_framed_or_run_by_a_browser()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        using var http = server.Http();

        foreach (var path in new[] { "/api/conversations", "/api/nothing", "/v1/models", "/v1/nothing", "/health/live", "/metrics", "/openapi/v1.json" })
        {
            using var answer = await http.GetAsync(path);
            Assert.Equal("nosniff", answer.Headers.GetValues("X-Content-Type-Options").Single());
            Assert.Equal("default-src 'none'; frame-ancestors 'none'", answer.Headers.GetValues("Content-Security-Policy").Single());
            Assert.True(answer.Headers.CacheControl!.NoStore, path);
        }
    }

    [Fact]
    public async Task Too_many_requests_are_429_with_the_time_to_come_again_in_each_surfaces_form()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: ("Limits:HttpRequestsPerMinute", "2"));
        using var http = server.Http();
        for (var i = 0; i < 2; i++) Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/api/models")).StatusCode);

        using var problem = await http.GetAsync("/api/models");
        using var error = await http.GetAsync("/v1/models");

        foreach (var answer in new[] { problem, error })
        {
            Assert.Equal(HttpStatusCode.TooManyRequests, answer.StatusCode);
            Assert.InRange(answer.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 1, 60);
        }
        Assert.Equal("application/problem+json", problem.Content.Headers.ContentType?.MediaType);
        Assert.Equal("limited", (string?)JsonNode.Parse(await problem.Content.ReadAsStringAsync())!["code"]);
        Assert.Equal("rate_limit_exceeded", (string?)JsonNode.Parse(await error.Content.ReadAsStringAsync())!["error"]!["code"]);
    }

    [Fact]
    public async Task Models_are_listed_with_what_is_known_of_them()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        using var http = server.Http();

        var list = JsonNode.Parse(await http.GetStringAsync("/api/models"))!.AsArray();

        Assert.Equal(["fake", "fake-small"], list.Select(m => (string)m!["id"]!));
        Assert.Equal(("f00dfeedf00dfeed", 7, 512, 256), ((string)list[0]!["hash"]!, (int)list[0]!["parameters"]!, (int)list[0]!["maxPromptTokens"]!, (int)list[0]!["maxCompletionTokens"]!));
    }
}
