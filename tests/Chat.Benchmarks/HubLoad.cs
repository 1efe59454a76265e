using System.Collections.Concurrent;
using System.CommandLine;
using System.Diagnostics;
using System.Text.Json;
using Microsoft.AspNetCore.SignalR.Client;

namespace Chat.Benchmarks;

/// <summary>Users who chat at once through the hub of a running product, a fixed number of replies each.</summary>
internal static class HubLoad
{
    private static readonly string[] Questions =
        ["Who are you?", "你好！", "What shall we do now?", "你叫什么名字？", "The enemy is near.", "春风又绿江南岸", "Thank you, my friend.", "我们该怎么办？"];

    public static Command Command()
    {
        var url = new Option<string>("--url") { Description = "Where the product runs.", DefaultValueFactory = _ => "http://localhost:5080" };
        var users = new Option<int>("--users") { Description = "Users at once.", DefaultValueFactory = _ => 64 };
        var replies = new Option<int>("--replies") { Description = "Replies a user.", DefaultValueFactory = _ => 2 };
        var model = new Option<string?>("--model") { Description = "Model id; the product's default when absent." };
        var command = new Command("hub", "Time to first token and between tokens with many users. The product must run with Limits__Enabled=false.") { url, users, replies, model };
        command.SetAction(async (result, cancellation) => await RunAsync(result.GetValue(url)!, result.GetValue(users), result.GetValue(replies), result.GetValue(model), cancellation));
        return command;
    }

    private static async Task<int> RunAsync(string url, int users, int replies, string? model, CancellationToken cancellation)
    {
        ConcurrentBag<double> first = [], between = [];
        int whole = 0, failed = 0, tokens = 0;
        var start = Stopwatch.GetTimestamp();
        await Task.WhenAll(Enumerable.Range(0, users).Select(async user =>
        {
            await using var connection = new HubConnectionBuilder().WithUrl($"{url}/hubs/chat").Build();
            await connection.StartAsync(cancellation);
            var options = model is null ? null : new { model };
            var conversation = await connection.InvokeAsync<JsonElement>("StartConversation", options, cancellation);
            var id = conversation.GetProperty("conversationId").GetString();
            for (var turn = 0; turn < replies; turn++)
            {
                var message = new { conversationId = id, messageId = Guid.NewGuid().ToString(), text = Questions[(user + turn) % Questions.Length], replyTo = (string?)null, options };
                var sent = Stopwatch.GetTimestamp();
                var previous = 0L;
                try
                {
                    await foreach (var reply in connection.StreamAsync<JsonElement>("Send", message, cancellation))
                    {
                        var now = Stopwatch.GetTimestamp();
                        switch (reply.GetProperty("type").GetString())
                        {
                            case "delta" when previous == 0:
                                first.Add(Stopwatch.GetElapsedTime(sent, now).TotalMilliseconds);
                                previous = now;
                                break;
                            case "delta":
                                between.Add(Stopwatch.GetElapsedTime(previous, now).TotalMilliseconds);
                                previous = now;
                                break;
                            case "finished":
                                Interlocked.Increment(ref whole);
                                Interlocked.Add(ref tokens, reply.GetProperty("usage").GetProperty("completionTokens").GetInt32());
                                break;
                            case "error" or "refused":
                                Interlocked.Increment(ref failed);
                                break;
                        }
                    }
                }
                catch (Exception error) when (error is not OperationCanceledException)
                {
                    Interlocked.Increment(ref failed);
                    Console.Error.WriteLine(error.Message);
                }
            }
        }));
        var elapsed = Stopwatch.GetElapsedTime(start);
        Figures.Print("whole replies", whole, $"of {users * replies}, {failed} failed");
        Figures.Print("time", elapsed.TotalSeconds, "s");
        Figures.Print("tokens", tokens / elapsed.TotalSeconds, "tokens/s");
        Figures.PrintQuantiles("time to first words", first, "ms");
        Figures.PrintQuantiles("between words", between, "ms");
        return failed == 0 ? 0 : 1;
    }
}
