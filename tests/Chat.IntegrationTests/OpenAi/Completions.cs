using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.OpenAi;

/// <summary>A stranger's way to /v1/chat/completions: plain requests and answers, with nothing but the contract's names.</summary>
internal static class Completions
{
    /// <summary>A request to the model "fake" with one user message and what <paramref name="more"/> adds.</summary>
    public static JsonObject Ask(string text = "hello", params (string Field, JsonNode? Value)[] more)
    {
        var body = new JsonObject { ["model"] = "fake", ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = text }) };
        foreach (var (field, value) in more) body[field] = value;
        return body;
    }

    public static async Task<JsonObject> AnswerAsync(this HttpClient client, JsonObject body)
    {
        using var response = await client.PostAsJsonAsync("/v1/chat/completions", body);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonNode.Parse(text)!.AsObject();
    }

    /// <summary>All events of a streamed answer; the last must be [DONE].</summary>
    public static async Task<List<JsonObject>> StreamAsync(this HttpClient client, JsonObject body)
    {
        body["stream"] = true;
        using var response = await client.PostAsJsonAsync("/v1/chat/completions", body);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        var events = text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.All(events, e => Assert.StartsWith("data: ", e));
        Assert.Equal("data: [DONE]", events[^1]);
        return [.. events[..^1].Select(e => JsonNode.Parse(e[6..])!.AsObject())];
    }
}
