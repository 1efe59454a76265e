using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Spectre.Console;

namespace Chat.Benchmarks.Serving;

/// <summary>
/// A fixed number of questions to a running server, by HTTP or by the hub, or to an engine without one, arriving at a rate or kept at a number; what its clients had to wait for, and what
/// processor time the server took.
/// </summary>
internal static class ServeCommand
{
    private static readonly string[] Questions =
        ["Who are you?", "你好！", "What shall we do now?", "你叫什么名字？", "The enemy is near.", "春风又绿江南岸", "Thank you, my friend.", "我们该怎么办？"];
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    public static Command Command()
    {
        var url = new Option<string>("--url") { Description = "Where the server runs. Ours must run with Limits__Enabled=false.", DefaultValueFactory = _ => "http://localhost:5080" };
        var door = new Option<string>("--door") { Description = "completions (/v1/chat/completions, any such server), hub (ours), or engine: the model folder --model in this process, what a server takes beside it.", DefaultValueFactory = _ => "completions" };
        door.AcceptOnlyFromAmong("completions", "hub", "engine");
        var requests = new Option<int>("--requests") { Description = "Questions in all.", DefaultValueFactory = _ => 200 };
        var warmups = new Option<int>("--num-warmups") { Description = "Questions before those, which are not counted: code is compiled on first use, the server's and this program's.", DefaultValueFactory = _ => 0 };
        var rate = new Option<double>("--rate") { Description = "Questions a second, arriving at random (Poisson); all at once when absent.", DefaultValueFactory = _ => double.PositiveInfinity };
        var concurrency = new Option<int?>("--concurrency") { Description = "Questions under way at most: without a rate, so many users who ask again as soon as they are answered." };
        var tokens = new Option<int>("--max-tokens") { Description = "Tokens of a reply at most.", DefaultValueFactory = _ => 64 };
        var least = new Option<int>("--min-tokens") { Description = "Tokens of a reply at least (ours): long replies show what a token costs, short ones what a reply does." };
        var rows = new Option<int>("--rows") { Description = "Of the engine: replies at once.", DefaultValueFactory = _ => 64 };
        var threads = new Option<int>("--threads") { Description = "Of the engine: threads of the kernels.", DefaultValueFactory = _ => Environment.ProcessorCount };
        var process = new Option<int?>("--process") { Description = "The server's process id, where it runs on this machine: its processor time while the replies that count were written." };
        var prompts = new Option<FileInfo?>("--prompts") { Description = "A question a line; eight short ones of ours when absent." };
        var model = new Option<string?>("--model") { Description = "Model id; the default when absent, by the door of completions the first listed." };
        var token = new Option<string?>("--token") { Description = "Bearer token." };
        var goodput = new Option<string[]>("--goodput") { Description = "What a good reply keeps, in milliseconds: ttft:500 tpot:50 e2el:5000.", DefaultValueFactory = _ => [], AllowMultipleArgumentsPerToken = true };
        var seed = new Option<int>("--seed") { Description = "Of arrivals, of the choice of questions, and of replies.", DefaultValueFactory = _ => 0 };
        var json = new Option<FileInfo?>("--json") { Description = "File for the figures, with vLLM's names." };
        var detailed = new Option<bool>("--detailed") { Description = "Each request's figures too." };
        var command = new Command("serve", "Time to first token, per token, between tokens and to the end, throughput and goodput of a running server.")
            { url, door, requests, warmups, rate, concurrency, tokens, least, rows, threads, process, prompts, model, token, goodput, seed, json, detailed };
        command.SetAction(async (result, cancellation) =>
        {
            var load = new Load(result.GetValue(requests), result.GetValue(rate), result.GetValue(concurrency), result.GetValue(seed));
            ArgumentOutOfRangeException.ThrowIfLessThan(load.Requests, 1, "--requests");
            ArgumentOutOfRangeException.ThrowIfNegative(result.GetValue(warmups), "--num-warmups");
            if (!(load.Rate > 0)) throw new ArgumentOutOfRangeException("--rate", load.Rate, "A rate is above 0.");
            if (load.Concurrency < 1) throw new ArgumentOutOfRangeException("--concurrency", load.Concurrency, "At least one question must be under way.");
            string[] texts = result.GetValue(prompts) is { } file ? [.. File.ReadLines(file.FullName).Where(line => line.Length > 0)] : Questions;
            var address = result.GetValue(url)!.TrimEnd('/');
            var (name, bearer) = (result.GetValue(model), result.GetValue(token));
            await using ITarget target = result.GetValue(door) switch
            {
                "hub" => new HubTarget(address, name, bearer),
                "engine" => new EngineTarget(name ?? throw new ArgumentException("--model names the folder."), result.GetValue(rows), result.GetValue(threads)),
                _ => await CompletionsTarget.OpenAsync(address, name, bearer, cancellation),
            };
            var random = new Random(load.Seed);
            Question[] questions = [.. Enumerable.Range(0, Math.Max(load.Requests, result.GetValue(warmups))).Select(number => new Question(texts[random.Next(texts.Length)], load.Seed + number, result.GetValue(tokens), result.GetValue(least)))];
            using var server = result.GetValue(door) == "engine" ? Process.GetCurrentProcess() : result.GetValue(process) is { } id ? Process.GetProcessById(id) : null;
            return await RunAsync(target, load, result.GetValue(warmups), questions, server, Goals.Parse(result.GetValue(goodput)!), result.GetValue(json), result.GetValue(detailed), cancellation);
        });
        return command;
    }

    private static async Task<int> RunAsync(ITarget target, Load load, int warmups, Question[] questions, Process? server, Goals goals, FileInfo? json, bool detailed, CancellationToken cancellation)
    {
        var before = TimeSpan.Zero;
        var (exchanges, duration, peak) = await AnsiConsole.Progress().StartAsync(async progress =>
        {
            if (warmups > 0) await SendAsync(load with { Requests = warmups, Rate = double.PositiveInfinity, Concurrency = load.Concurrency ?? 64 }, progress.AddTask("warming up", maxValue: warmups));
            before = ProcessorTime();
            return await SendAsync(load, progress.AddTask("replies", maxValue: load.Requests));
        });
        var report = ServeReport.Of(exchanges, duration, peak, load, goals, detailed);
        if (server is not null) report["server_cpu_us_per_token"] = (ProcessorTime() - before).TotalMicroseconds / report["total_output_tokens"]!.GetValue<int>();
        report["date"] = TimeProvider.System.GetUtcNow().ToString("yyyyMMdd-HHmmss", CultureInfo.InvariantCulture);
        foreach (var (name, value) in report)
            if (value is JsonValue figure) Console.WriteLine(figure.TryGetValue<double>(out var number) ? string.Create(CultureInfo.InvariantCulture, $"{name,-24} {number:0.##}") : $"{name,-24} {figure}");
        foreach (var reason in exchanges.Where(exchange => !exchange.IsWhole).GroupBy(exchange => exchange.Error ?? "no text came")) Console.Error.WriteLine($"{reason.Count()} failed: {reason.Key}");
        if (json is not null) await File.WriteAllTextAsync(json.FullName, report.ToJsonString(Indented) + "\n", cancellation);
        return exchanges.All(exchange => exchange.IsWhole) ? 0 : 1;

        TimeSpan ProcessorTime()
        {
            server?.Refresh();
            return server?.TotalProcessorTime ?? TimeSpan.Zero;
        }

        Task<(Exchange[] Exchanges, double Duration, int Peak)> SendAsync(Load part, ProgressTask bar) =>
            part.RunAsync((number, seconds) => target.AskAsync(questions[number], seconds, cancellation), () => bar.Increment(1), TimeProvider.System, cancellation);
    }
}
