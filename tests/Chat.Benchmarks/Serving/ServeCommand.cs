using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Spectre.Console;

namespace Chat.Benchmarks.Serving;

/// <summary>A fixed number of questions to a running server, by HTTP or by the hub, arriving at a rate or kept at a number; what its clients had to wait for.</summary>
internal static class ServeCommand
{
    private static readonly string[] Questions =
        ["Who are you?", "你好！", "What shall we do now?", "你叫什么名字？", "The enemy is near.", "春风又绿江南岸", "Thank you, my friend.", "我们该怎么办？"];
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    public static Command Command()
    {
        var url = new Option<string>("--url") { Description = "Where the server runs. Ours must run with Limits__Enabled=false.", DefaultValueFactory = _ => "http://localhost:5080" };
        var door = new Option<string>("--door") { Description = "completions (/v1/chat/completions, any such server) or hub (ours).", DefaultValueFactory = _ => "completions" };
        door.AcceptOnlyFromAmong("completions", "hub");
        var requests = new Option<int>("--requests") { Description = "Questions in all.", DefaultValueFactory = _ => 200 };
        var warmups = new Option<int>("--num-warmups") { Description = "Questions before those, which are not counted: code is compiled on first use, the server's and this program's.", DefaultValueFactory = _ => 0 };
        var rate = new Option<double>("--rate") { Description = "Questions a second, arriving at random (Poisson); all at once when absent.", DefaultValueFactory = _ => double.PositiveInfinity };
        var concurrency = new Option<int?>("--concurrency") { Description = "Questions under way at most: without a rate, so many users who ask again as soon as they are answered." };
        var tokens = new Option<int>("--max-tokens") { Description = "Tokens of a reply at most.", DefaultValueFactory = _ => 64 };
        var prompts = new Option<FileInfo?>("--prompts") { Description = "A question a line; eight short ones of ours when absent." };
        var model = new Option<string?>("--model") { Description = "Model id; the default when absent, by the door of completions the first listed." };
        var token = new Option<string?>("--token") { Description = "Bearer token." };
        var goodput = new Option<string[]>("--goodput") { Description = "What a good reply keeps, in milliseconds: ttft:500 tpot:50 e2el:5000.", DefaultValueFactory = _ => [], AllowMultipleArgumentsPerToken = true };
        var seed = new Option<int>("--seed") { Description = "Of arrivals, of the choice of questions, and of replies.", DefaultValueFactory = _ => 0 };
        var json = new Option<FileInfo?>("--json") { Description = "File for the figures, with vLLM's names." };
        var detailed = new Option<bool>("--detailed") { Description = "Each request's figures too." };
        var command = new Command("serve", "Time to first token, per token, between tokens and to the end, throughput and goodput of a running server.")
            { url, door, requests, warmups, rate, concurrency, tokens, prompts, model, token, goodput, seed, json, detailed };
        command.SetAction(async (result, cancellation) =>
        {
            var load = new Load(result.GetValue(requests), result.GetValue(rate), result.GetValue(concurrency), result.GetValue(seed));
            ArgumentOutOfRangeException.ThrowIfLessThan(load.Requests, 1, "--requests");
            ArgumentOutOfRangeException.ThrowIfNegative(result.GetValue(warmups), "--num-warmups");
            if (!(load.Rate > 0)) throw new ArgumentOutOfRangeException("--rate", load.Rate, "A rate is above 0.");
            if (load.Concurrency < 1) throw new ArgumentOutOfRangeException("--concurrency", load.Concurrency, "At least one question must be under way.");
            string[] texts = result.GetValue(prompts) is { } file ? [.. File.ReadLines(file.FullName).Where(line => line.Length > 0)] : Questions;
            var address = result.GetValue(url)!.TrimEnd('/');
            using var http = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = int.MaxValue }) { BaseAddress = new($"{address}/"), Timeout = Timeout.InfiniteTimeSpan };
            var (name, bearer) = (result.GetValue(model), result.GetValue(token));
            ITarget target = result.GetValue(door) == "hub" ? new HubTarget(address, name, bearer) : new CompletionsTarget(http, name ?? await CompletionsTarget.FirstModelAsync(http, bearer, cancellation), bearer);
            return await RunAsync(target, load, result.GetValue(warmups), texts, result.GetValue(tokens), Goals.Parse(result.GetValue(goodput)!), result.GetValue(json), result.GetValue(detailed), cancellation);
        });
        return command;
    }

    private static async Task<int> RunAsync(ITarget target, Load load, int warmups, string[] texts, int tokens, Goals goals, FileInfo? json, bool detailed, CancellationToken cancellation)
    {
        var random = new Random(load.Seed);
        Question[] questions = [.. Enumerable.Range(0, Math.Max(load.Requests, warmups)).Select(number => new Question(texts[random.Next(texts.Length)], load.Seed + number, tokens))];
        var (exchanges, duration, peak) = await AnsiConsole.Progress().StartAsync(async progress =>
        {
            if (warmups > 0) await SendAsync(load with { Requests = warmups, Rate = double.PositiveInfinity, Concurrency = load.Concurrency ?? 64 }, progress.AddTask("warming up", maxValue: warmups));
            return await SendAsync(load, progress.AddTask("replies", maxValue: load.Requests));
        });
        var report = ServeReport.Of(exchanges, duration, peak, load, goals, detailed);
        report["date"] = TimeProvider.System.GetUtcNow().ToString("yyyyMMdd-HHmmss", CultureInfo.InvariantCulture);
        foreach (var (name, value) in report)
            if (value is JsonValue figure) Console.WriteLine(figure.TryGetValue<double>(out var number) ? string.Create(CultureInfo.InvariantCulture, $"{name,-24} {number:0.##}") : $"{name,-24} {figure}");
        foreach (var reason in exchanges.Where(exchange => !exchange.IsWhole).GroupBy(exchange => exchange.Error ?? "no text came")) Console.Error.WriteLine($"{reason.Count()} failed: {reason.Key}");
        if (json is not null) await File.WriteAllTextAsync(json.FullName, report.ToJsonString(Indented) + "\n", cancellation);
        return exchanges.All(exchange => exchange.IsWhole) ? 0 : 1;

        Task<(Exchange[] Exchanges, double Duration, int Peak)> SendAsync(Load part, ProgressTask bar) =>
            part.RunAsync((number, seconds) => target.AskAsync(questions[number], seconds, cancellation), () => bar.Increment(1), TimeProvider.System, cancellation);
    }
}
