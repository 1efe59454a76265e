using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;

namespace Chat.Benchmarks.Serving;

/// <summary>Our hub: users keep their connections and begin a conversation for each question, both there before the clock of the question starts.</summary>
internal sealed class HubTarget(string url, string? model, string? token) : ITarget
{
    private readonly ConcurrentBag<HubConnection> idle = [];

    public async Task<Exchange> AskAsync(Question question, Func<double> seconds, CancellationToken cancellation)
    {
        var words = new List<double>();
        int input = 0, output = 0;
        var start = seconds();
        try
        {
            if (!idle.TryTake(out var connection))
            {
                connection = new HubConnectionBuilder().WithUrl($"{url}/hubs/chat", o => o.AccessTokenProvider = () => Task.FromResult(token)).Build();
                await connection.StartAsync(cancellation);
            }
            var options = new { model, decoding = new { seed = question.Seed, minTokens = question.MinTokens, maxTokens = question.MaxTokens } };
            var conversation = await connection.InvokeAsync<JsonElement>("StartConversation", options, cancellation);
            var message = new { conversationId = conversation.GetProperty("conversationId").GetString(), messageId = Guid.NewGuid().ToString(), text = question.Text, replyTo = (string?)null, options };
            start = seconds();
            await foreach (var reply in connection.StreamAsync<JsonElement>("Send", message, cancellation))
                switch (reply.GetProperty("type").GetString())
                {
                    case "delta":
                        words.Add(seconds());
                        break;
                    case "finished":
                        var usage = reply.GetProperty("usage");
                        (input, output) = (usage.GetProperty("promptTokens").GetInt32(), usage.GetProperty("completionTokens").GetInt32());
                        idle.Add(connection);
                        return new(start, words, input, output);
                    case "error" or "refused":
                        return new(start, words, input, output, reply.ToString());
                }
            return new(start, words, input, output, "The stream ended without 'finished'.");
        }
        catch (Exception error) when (error is HubException or HttpRequestException or IOException or InvalidOperationException || error is OperationCanceledException && !cancellation.IsCancellationRequested)
        {
            return new(start, words, input, output, error.Message);
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var connection in idle) await connection.DisposeAsync();
    }
}
