using System.Text.Json;
using Chat.Domain.Generation;

namespace Chat.IntegrationTests.Node;

/// <summary>/v1 as npm's openai sees it.</summary>
public sealed class OpenAiClientTests
{
    [Fact]
    public async Task A_program_with_the_openai_package_chats_streams_leaves_and_reads_its_errors()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: Tokens.Settings);
        server.Models.Script = request => request.Messages[^1].Text == "hello" ? $"Hello, 你好 🐉 number {request.Index}." : "a tale that is told by and by, and then some";
        server.Models.BeforeToken = async (request, i, cancellation) =>
        {
            switch (request.Messages[^1].Text)
            {
                case "never end" when i >= 8: await Task.Delay(Timeout.Infinite, cancellation); break;
                case "be busy": throw new GenerationException(GenerationError.Busy, "The queue is full.");
                case "fail late" when i >= 8: throw new GenerationException(GenerationError.Unavailable, "The model host is gone.");
            }
        };

        var seen = await NodeScript.RunAsync("openai.mjs", [server.Origin, Tokens.For("ann")]);

        const string Hello = "Hello, 你好 🐉 number 0.";
        var plain = seen.GetProperty("plain");
        Assert.Equal(Hello, plain.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString());
        var streamed = seen.GetProperty("streamed");
        Assert.Equal((Hello, "stop"), (streamed.GetProperty("text").GetString(), streamed.GetProperty("finish").GetString()));
        Assert.Equal(plain.GetProperty("usage").GetRawText(), streamed.GetProperty("usage").GetRawText());
        Assert.Equal(Hello, seen.GetProperty("helper").GetString());
        Assert.Equal([Hello, "Hello, 你好 🐉 number 1.", "Hello, 你好 🐉 number 2."], seen.GetProperty("choices").EnumerateArray().Select(c => c.GetString()));
        Assert.Equal(Hello, seen.GetProperty("logprobBytes").GetString());
        Assert.Equal(["fake", "fake-small"], seen.GetProperty("models").EnumerateArray().Select(m => m.GetString()));
        Assert.Equal("fake-small", seen.GetProperty("model").GetString());
        await Until.TrueAsync(() => server.Models.Running == 0);

        var errors = seen.GetProperty("errors");
        AssertError("model", "NotFoundError", 404, "model_not_found", "model");
        AssertError("retrieved", "NotFoundError", 404, "model_not_found", "model");
        AssertError("value", "BadRequestError", 400, "invalid_value", "temperature");
        AssertError("option", "BadRequestError", 400, "invalid_value", "decoding.warmth");
        AssertError("length", "BadRequestError", 400, "context_length_exceeded", "max_tokens");
        AssertError("token", "AuthenticationError", 401, "invalid_api_key", null);
        AssertError("busy", "RateLimitError", 429, "rate_limit_exceeded", null);
        Assert.Contains("The model host is gone.", errors.GetProperty("late").GetProperty("message").GetString());

        void AssertError(string name, string type, int status, string code, string? param)
        {
            var error = errors.GetProperty(name);
            Assert.Equal((type, status, code, param), (error.GetProperty("name").GetString(), error.GetProperty("status").GetInt32(), error.GetProperty("code").GetString(), error.GetProperty("param").GetString()));
        }
    }
}
