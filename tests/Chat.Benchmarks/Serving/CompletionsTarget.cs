using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;

namespace Chat.Benchmarks.Serving;

/// <summary>A server of OpenAI's <c>/v1/chat/completions</c>, streaming: ours, or anybody's.</summary>
/// <param name="http">Its base address is the server's; disposed of here.</param>
internal sealed class CompletionsTarget(HttpClient http, string model, string? token) : ITarget
{
    private const string Data = "data:";

    /// <param name="model">The first one that the server lists when absent.</param>
    public static async Task<CompletionsTarget> OpenAsync(string address, string? model, string? token, CancellationToken cancellation)
    {
        var http = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = int.MaxValue }) { BaseAddress = new($"{address}/"), Timeout = Timeout.InfiniteTimeSpan };
        return new(http, model ?? await FirstModelAsync(http, token, cancellation), token);
    }

    private static async Task<string> FirstModelAsync(HttpClient http, string? token, CancellationToken cancellation)
    {
        using var request = Request(HttpMethod.Get, "v1/models", token);
        using var response = (await http.SendAsync(request, cancellation)).EnsureSuccessStatusCode();
        return (await response.Content.ReadFromJsonAsync<JsonElement>(cancellation)).GetProperty("data")[0].GetProperty("id").GetString()!;
    }

    public async Task<Exchange> AskAsync(Question question, Func<double> seconds, CancellationToken cancellation)
    {
        var body = new Dictionary<string, object>
        {
            ["model"] = model,
            ["messages"] = new[] { new { role = "user", content = question.Text } },
            ["stream"] = true,
            ["stream_options"] = new { include_usage = true },
            ["max_tokens"] = question.MaxTokens,
            ["seed"] = question.Seed,
        };
        if (question.MinTokens > 0) body["decoding"] = new { minTokens = question.MinTokens };
        using var request = Request(HttpMethod.Post, "v1/chat/completions", token);
        request.Content = JsonContent.Create(body);
        var words = new List<double>();
        int input = 0, output = 0;
        var start = seconds();
        try
        {
            using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation);
            if (!response.IsSuccessStatusCode) return new(start, words, input, output, $"{(int)response.StatusCode} {await response.Content.ReadAsStringAsync(cancellation)}");
            using var lines = new StreamReader(await response.Content.ReadAsStreamAsync(cancellation));
            while (await lines.ReadLineAsync(cancellation) is { } line)
            {
                if (!line.StartsWith(Data, StringComparison.Ordinal)) continue;
                var payload = line[Data.Length..].Trim();
                if (payload == "[DONE]") return new(start, words, input, output);
                using var chunk = JsonDocument.Parse(payload);
                if (chunk.RootElement.TryGetProperty("error", out var error)) return new(start, words, input, output, error.ToString());
                if (HasText(chunk.RootElement)) words.Add(seconds());
                if (!chunk.RootElement.TryGetProperty("usage", out var usage) || usage.ValueKind != JsonValueKind.Object) continue;
                (input, output) = (usage.GetProperty("prompt_tokens").GetInt32(), usage.GetProperty("completion_tokens").GetInt32());
            }
            return new(start, words, input, output, "The stream ended without [DONE].");
        }
        catch (Exception error) when (error is HttpRequestException or IOException or JsonException || error is OperationCanceledException && !cancellation.IsCancellationRequested)
        {
            return new(start, words, input, output, error.Message);
        }
    }

    public ValueTask DisposeAsync()
    {
        http.Dispose();
        return ValueTask.CompletedTask;
    }

    private static HttpRequestMessage Request(HttpMethod method, string path, string? token)
    {
        var request = new HttpRequestMessage(method, path);
        if (token is not null) request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        return request;
    }

    private static bool HasText(JsonElement chunk) => chunk.TryGetProperty("choices", out var choices) && choices.GetArrayLength() > 0
        && choices[0].TryGetProperty("delta", out var delta) && delta.TryGetProperty("content", out var content) && content.ValueKind == JsonValueKind.String && content.GetString()!.Length > 0;
}
