using System.CommandLine;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.AspNetCore.SignalR.Client;

namespace Chat.Benchmarks;

/// <summary>From the start of the built product's process, with an empty data folder, to readiness and to the first words of a reply; memory then.</summary>
internal static class StartUp
{
    public static Command Command()
    {
        var program = new Argument<string>("program") { Description = "Path of the built Chat.Api.dll." };
        var rounds = new Option<int>("--rounds") { Description = "Starts; the median counts.", DefaultValueFactory = _ => 5 };
        var command = new Command("start", "Start-up time, time to first words, memory.") { program, rounds };
        command.SetAction(async (result, cancellation) => await RunAsync(result.GetValue(program)!, result.GetValue(rounds), cancellation));
        return command;
    }

    private static async Task RunAsync(string program, int rounds, CancellationToken cancellation)
    {
        List<double> ready = [], first = [], second = [], memory = [];
        for (var round = 0; round < rounds; round++)
        {
            var data = Directory.CreateTempSubdirectory("chat-start");
            var url = $"http://127.0.0.1:{FreePort()}";
            var information = new ProcessStartInfo("dotnet", [program]) { RedirectStandardOutput = true };
            information.Environment["ASPNETCORE_ENVIRONMENT"] = "Development";
            information.Environment["ASPNETCORE_URLS"] = url;
            information.Environment["Data__Folder"] = data.FullName;
            information.Environment["Logging__LogLevel__Default"] = "Warning";
            var start = Stopwatch.GetTimestamp();
            using var process = Process.Start(information)!;
            try
            {
                using var http = new HttpClient();
                while (!await IsReadyAsync(http, url, cancellation)) await Task.Delay(20, cancellation);
                ready.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
                await using var connection = new HubConnectionBuilder().WithUrl($"{url}/hubs/chat").Build();
                await connection.StartAsync(cancellation);
                first.Add(await FirstWordsAsync(connection, cancellation));
                second.Add(await FirstWordsAsync(connection, cancellation));
                process.Refresh();
                memory.Add(process.WorkingSet64 / 1048576.0);
            }
            finally
            {
                process.Kill(entireProcessTree: true);
                await process.WaitForExitAsync(CancellationToken.None);
                data.Delete(recursive: true);
            }
        }
        Figures.PrintQuantiles("process start to ready", ready, "s");
        Figures.PrintQuantiles("first message to first words", first, "ms");
        Figures.PrintQuantiles("second message to first words", second, "ms");
        Figures.PrintQuantiles("memory after two replies", memory, "MiB");
    }

    private static async Task<double> FirstWordsAsync(HubConnection connection, CancellationToken cancellation)
    {
        var conversation = await connection.InvokeAsync<JsonElement>("StartConversation", null, cancellation);
        var message = new { conversationId = conversation.GetProperty("conversationId").GetString(), messageId = Guid.NewGuid().ToString(), text = "Hello!", replyTo = (string?)null, options = (object?)null };
        var sent = Stopwatch.GetTimestamp();
        var first = 0.0;
        await foreach (var reply in connection.StreamAsync<JsonElement>("Send", message, cancellation))
            if (first == 0 && reply.GetProperty("type").GetString() == "delta") first = Stopwatch.GetElapsedTime(sent).TotalMilliseconds;
        return first;
    }

    private static async Task<bool> IsReadyAsync(HttpClient http, string url, CancellationToken cancellation)
    {
        try
        {
            return (await http.GetAsync($"{url}/health/ready", cancellation)).StatusCode == HttpStatusCode.OK;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
