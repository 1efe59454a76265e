using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Chat.Api.OpenAi;
using Chat.Api.Operations;
using Chat.Domain.Generation;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Chat.IntegrationTests.OpenAi;

/// <summary>The /v1 surface on a real Kestrel, over a model whose words the test sets; no store.</summary>
public sealed class OpenAiServer : IAsyncDisposable
{
    private readonly WebApplication app;

    private OpenAiServer(WebApplication app, FakeChatModels models)
    {
        this.app = app;
        Models = models;
        Client = new() { BaseAddress = new(app.Urls.First()) };
    }

    public FakeChatModels Models { get; }

    public HttpClient Client { get; }

    public static async Task<OpenAiServer> StartAsync(params (string Key, string Value)[] settings)
    {
        var models = new FakeChatModels();
        var builder = WebApplication.CreateBuilder();
        builder.Configuration.AddInMemoryCollection(settings.ToDictionary(s => s.Key, s => (string?)s.Value));
        builder.Logging.ClearProviders();
        builder.WebHost.UseSetting("urls", "http://127.0.0.1:0");
        builder.Services.AddSingleton<IChatModels>(models);
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddAuthentication(JwtBearerDefaults.AuthenticationScheme).AddJwtBearer();
        builder.Services.AddAuthorizationBuilder().SetDefaultPolicy(new AuthorizationPolicyBuilder()
            .RequireAssertion(c => c.User.Identity!.IsAuthenticated || !((Microsoft.AspNetCore.Http.HttpContext)c.Resource!).Request.Headers.ContainsKey("Authorization")).Build());
        builder.AddPlugins().AddSafety().AddErrorAnswers().AddMetrics().AddOpenAi();
        var app = builder.Build();
        app.UseErrorAnswers();
        app.UseMetrics();
        app.UseAuthentication();
        app.UseAuthorization();
        app.MapOpenAi();
        await app.StartAsync();
        return new(app, models);
    }

    /// <summary>A request to the model "fake" with one user message and what <paramref name="more"/> adds.</summary>
    public static JsonObject Ask(string text = "hello", params (string Field, JsonNode? Value)[] more)
    {
        var body = new JsonObject { ["model"] = "fake", ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = text }) };
        foreach (var (field, value) in more) body[field] = value;
        return body;
    }

    public async Task<JsonObject> AnswerAsync(JsonObject body)
    {
        using var response = await Client.PostAsJsonAsync("/v1/chat/completions", body);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonNode.Parse(text)!.AsObject();
    }

    /// <summary>All events of a streamed answer; the last must be [DONE].</summary>
    public async Task<List<JsonObject>> StreamAsync(JsonObject body)
    {
        body["stream"] = true;
        using var response = await Client.PostAsJsonAsync("/v1/chat/completions", body);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        var events = text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.All(events, e => Assert.StartsWith("data: ", e));
        Assert.Equal("data: [DONE]", events[^1]);
        return [.. events[..^1].Select(e => JsonNode.Parse(e[6..])!.AsObject())];
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await app.DisposeAsync();
    }
}
