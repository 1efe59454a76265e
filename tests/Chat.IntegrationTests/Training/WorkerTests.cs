using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Chat.IntegrationTests.Training;

/// <summary>Training as a service: real workers as processes, a real Redis, a gateway; recipes of seconds.</summary>
[Collection(nameof(Alone))]
public sealed class WorkerTests
{
    [Fact]
    public async Task A_recipe_becomes_a_model_that_is_registered_loaded_and_chats()
    {
        await using var bench = await TrainingBench.StartAsync();
        bench.Work();
        var job = await bench.SubmitAsync(TrainingBench.Recipe("tiny", steps: 60), register: true);

        var told = await FollowAsync(bench.Http, job);

        Assert.Contains(told, j => (string)j["state"]! == "running" && j["progress"] is { } p && (string)p["phase"]! == "train" && (long)p["of"]! == 80 && (long)p["step"]! > 0 && p["loss"] is not null && p["tokensPerSecond"] is not null);
        var done = await bench.ReadAsync(job);
        Assert.Equal(("finished", 80L, "register"), ((string)done["state"]!, TrainingBench.StepOf(done), (string)done["progress"]!["phase"]!));
        Assert.True((double)done["progress"]!["validation"]!["small-talk-en"]! > 0);
        var hash = (string)done["model"]!;
        Assert.Equal("finished", (string)told[^1]["state"]!);

        // Submitted again it finds itself done, and tells so.
        var again = await bench.FinishedAsync(await bench.SubmitAsync(TrainingBench.Recipe("tiny", steps: 60), register: true));
        Assert.Equal((80L, 80L, hash), (TrainingBench.StepOf(again), (long)again["progress"]!["of"]!, (string)again["model"]!));

        // Registered, with its card and scores, and not served before somebody says so.
        var details = JsonNode.Parse(await bench.Http.GetStringAsync($"/api/models/{hash}"))!;
        Assert.Equal(("chat-tiny", false, "none"), ((string)details["model"]!["id"]!, (bool)details["served"]!, (string)details["model"]!["licence"]!));
        var card = JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(bench.Folder, "models", hash, "chat-tiny", "chat-model.json")))!;
        Assert.True((double)card["scores"]!["heldOutLoss"]!["small-talk-en"]! > 0);
        Assert.True((bool)card["training"]![0]!["wholeRecipe"]!);
        Assert.True(File.Exists(Path.Combine(bench.Folder, "runs", "tiny", "evaluation", "evaluation.md")));
        Assert.Contains(JsonNode.Parse(await bench.Http.GetStringAsync("/api/plugins"))!.AsArray(), p => ((string)p!["kind"]!, (string)p["name"]!) == ("objective", "minillm"));

        Assert.Equal(HttpStatusCode.OK, (await bench.Http.PostAsync($"/api/models/{hash}/load", null)).StatusCode);
        Assert.Equal(["m1", "chat-tiny"], await ServedAsync(bench.Http));
        await SpeaksAsync(bench.Http);
        await using var client = await bench.Server.ConnectAsync();
        Assert.Equal("finished", (await client.Send(await client.StartAsync(new { model = "chat-tiny" }), "m", "hello").AllAsync())[^1].Type);
        Assert.Equal(HttpStatusCode.NoContent, (await bench.Http.PostAsync("/api/models/chat-tiny/unload", null)).StatusCode);
        Assert.Equal(HttpStatusCode.Conflict, (await bench.Http.PostAsync("/api/models/m1/unload", null)).StatusCode);
        Assert.Equal(["m1"], await ServedAsync(bench.Http));

        // A gateway that starts with it in its settings finds the job, the model and the folder.
        await using (var other = await TrainingBench.ServeAsync(bench.Redis, bench.Folder, mayLogErrors: false, ("Models:Load:0", hash)))
        {
            using var http = other.Http();
            Assert.Equal(["m1", "chat-tiny"], await ServedAsync(http));
            await SpeaksAsync(http);
            Assert.Equal("finished", (string)(await http.GetFromJsonAsync<JsonObject>($"/api/training/jobs/{job}"))!["state"]!);
        }
    }

    [Fact]
    public async Task However_a_job_is_cut_it_ends_in_the_weights_of_the_unbroken_one()
    {
        await using var bench = await TrainingBench.StartAsync();
        var first = bench.Work();
        await bench.FinishedAsync(await bench.SubmitAsync(TrainingBench.Recipe("whole")));

        // Cancelled: it ends with the step it is at and a checkpoint of that step.
        var cancelled = await bench.SubmitAsync(TrainingBench.Recipe("cancelled"));
        await bench.InTheMiddleAsync(cancelled);
        Assert.True((string)(await bench.PostAsync(cancelled, "cancel"))["state"]! is "cancelling" or "cancelled");
        var stopped = await bench.UntilAsync(cancelled, j => (string)j["state"]! == "cancelled");
        Assert.InRange(TrainingBench.StepOf(stopped), 45, 419);
        Assert.Equal(TrainingBench.StepOf(stopped), (long)stopped["progress"]!["checkpoint"]!);
        await bench.PostAsync(cancelled, "resume");
        await bench.FinishedAsync(cancelled);

        // Killed: nobody gives it back, another worker takes it up when the lease is over.
        var killed = await bench.SubmitAsync(TrainingBench.Recipe("killed"));
        await bench.InTheMiddleAsync(killed);
        var holder = (string)(await bench.ReadAsync(killed))["worker"]!;
        first.Kill();
        Assert.Equal("running", (string)(await bench.ReadAsync(killed))["state"]!);
        var second = bench.Work();
        var taken = await bench.UntilAsync(killed, j => (string?)j["worker"] is { } worker && worker != holder);
        Assert.Contains($"-{second.Id}-", (string)taken["worker"]!, StringComparison.Ordinal);
        await bench.FinishedAsync(killed);

        // Suspended: its lease ends, yet it holds the run's folder; whoever takes the job gives it back, and who wakes up finds that it lost it.
        var suspended = await bench.SubmitAsync(TrainingBench.Recipe("suspended"));
        await bench.InTheMiddleAsync(suspended);
        second.Suspend();
        var third = bench.Work();
        await Until.TrueAsync(() => third.Output.Contains($"Job {suspended} waits for it", StringComparison.Ordinal));
        second.Resume();
        await Until.TrueAsync(() => second.Output.Contains($"Job {suspended} is no longer this worker's", StringComparison.Ordinal));
        await bench.FinishedAsync(suspended);
        third.Kill();

        // Asked to end: it gives the job back.
        var ended = await bench.SubmitAsync(TrainingBench.Recipe("ended"));
        await bench.InTheMiddleAsync(ended);
        Assert.Equal(0, await second.EndAsync());
        var back = await bench.ReadAsync(ended);
        Assert.Equal(("queued", TrainingBench.StepOf(back)), ((string)back["state"]!, (long)back["progress"]!["checkpoint"]!));
        bench.Work();
        await bench.FinishedAsync(ended);

        foreach (var run in new[] { "cancelled", "killed", "suspended", "ended" }) Assert.Equal(bench.WeightsOf("whole"), bench.WeightsOf(run));
    }

    [Fact]
    public async Task Workers_of_one_device_are_at_one_job_at_a_time()
    {
        await using var bench = await TrainingBench.StartAsync();
        var jobs = new List<string>();
        foreach (var name in new[] { "one", "two" }) jobs.Add(await bench.SubmitAsync(TrainingBench.Recipe(name, steps: 60)));
        foreach (var _ in new[] { 1, 2 }) bench.Work(lease: 30);

        var seen = new HashSet<string>();
        await Until.TrueAsync(async () =>
        {
            var running = JsonNode.Parse(await bench.Http.GetStringAsync("/api/training/jobs"))!.AsArray().Where(j => (string)j!["state"]! == "running").Select(j => (string)j!["name"]!).ToList();
            Assert.True(running.Count <= 1, string.Join(", ", running));
            seen.UnionWith(running);
            await Task.Delay(50);
            return (await Task.WhenAll(jobs.Select(bench.ReadAsync))).All(j => (string)j["state"]! == "finished");
        }, seconds: 240);
        Assert.Equal(["one", "two"], seen.Order());

        // Another device does not wait for this one.
        var long1 = await bench.SubmitAsync(TrainingBench.Recipe("long", steps: 100_000));
        await bench.InTheMiddleAsync(long1, least: 1);
        var beside = await bench.SubmitAsync(TrainingBench.Recipe("beside", steps: 20));
        bench.Work(device: "here/other", lease: 30);
        Assert.Equal("here/other", (string)(await bench.UntilAsync(beside, j => j["device"] is not null))["device"]!);
        await bench.FinishedAsync(beside);
        Assert.Equal("running", (string)(await bench.ReadAsync(long1))["state"]!);
    }

    [Theory, InlineData("dies"), InlineData("hangs")]
    public async Task While_Redis_is_away_training_goes_on_and_nothing_is_lost(string what)
    {
        await using var bench = await TrainingBench.StartAsync(mayLogErrors: true);
        var worker = bench.Work();
        var job = await bench.SubmitAsync(TrainingBench.Recipe("away", steps: 100_000));
        var step = await bench.InTheMiddleAsync(job, least: 10);

        if (what == "dies") bench.Redis.Kill();
        else bench.Redis.Suspend();
        var journal = Path.Combine(bench.Folder, "runs", "away", "journal.jsonl");
        await Until.TrueAsync(() => worker.Output.Contains("Redis does not answer", StringComparison.Ordinal) && File.ReadAllLines(journal).Length > step + 50);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await bench.Http.GetAsync($"/api/training/jobs/{job}")).StatusCode);
        if (what == "dies") await bench.Redis.RestartAsync();
        else bench.Redis.Resume();

        await Until.TrueAsync(async () => (await bench.Http.GetAsync($"/api/training/jobs/{job}")).IsSuccessStatusCode);
        await bench.UntilAsync(job, j => TrainingBench.StepOf(j) > step + 50);
        await bench.PostAsync(job, "cancel");
        var stopped = await bench.UntilAsync(job, j => (string)j["state"]! == "cancelled");
        Assert.Equal(TrainingBench.StepOf(stopped), (long)stopped["progress"]!["checkpoint"]!);
    }

    [Fact]
    public async Task What_only_the_trainer_can_refuse_fails_the_job_with_what_to_change_and_the_next_one_runs()
    {
        await using var bench = await TrainingBench.StartAsync();
        bench.Work();
        foreach (var (change, error) in new (Action<JsonObject>, string)[]
        {
            (r => r["stages"]![0]!["dropouts"] = 0.1, "'dropouts' is no name"),
            (r => r["model"]!["heads"] = 0, "model: all sizes must be positive"),
            (r => r["stages"]![0]!["mixture"]![0]!["corpus"] = "nothing", "No corpus 'nothing'. Here are:"),
            (r => r["start"] = "../../etc", "leads out of the worker's folders"),
            (r => { r["stages"]![0]!["method"] = "kd"; r["stages"]![0]!["distil"] = new JsonObject { ["teacher"] = "http://127.0.0.1:9/wise" }; }, "a job may not make the worker call any"),
            (r => r["heldOut"] = "(", "Invalid pattern"),
            (r => r["stages"]![0]!["learningRate"] = 1e30, "Lower the stage's learningRate"),
        })
        {
            var recipe = TrainingBench.Recipe("bad" + Guid.NewGuid().ToString("N")[..8], steps: 30);
            change(recipe);
            var job = await bench.SubmitAsync(recipe);
            var failed = await bench.UntilAsync(job, j => (string)j["state"]! is "failed" or "finished");
            Assert.Contains(error, (string?)failed["error"] ?? "", StringComparison.Ordinal);
        }
        Assert.Equal(["models"], Directory.GetDirectories(bench.Folder, "models").Select(Path.GetFileName));
        Assert.Empty(Directory.GetDirectories(Path.Combine(bench.Folder, "models")));

        await bench.FinishedAsync(await bench.SubmitAsync(TrainingBench.Recipe("good", steps: 5)));
    }

    [Fact]
    public async Task Figures_and_spans_go_to_a_collector()
    {
        var (bodies, log) = (new ConcurrentDictionary<string, string>(), new ServerLog());
        var builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders().AddProvider(log);
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        await using var collector = builder.Build();
        collector.MapPost("/v1/{signal}", async (string signal, HttpRequest request) =>
        {
            using var body = new MemoryStream();
            await request.Body.CopyToAsync(body);
            bodies.AddOrUpdate(signal, _ => Encoding.Latin1.GetString(body.ToArray()), (_, before) => before + Encoding.Latin1.GetString(body.ToArray()));
            return Results.Ok();
        });
        await collector.StartAsync();
        await using var bench = await TrainingBench.StartAsync();
        var worker = bench.Work(environment: [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.Urls.Single()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]);

        await bench.FinishedAsync(await bench.SubmitAsync(TrainingBench.Recipe("seen", steps: 5)));
        Assert.Equal(0, await worker.EndAsync());

        foreach (var name in new[] { "chat_training_steps_total", "chat_training_tokens_total", "chat_training_loss", "chat_training_gradient_norm", "first", "chat-training" }) Assert.Contains(name, bodies["metrics"], StringComparison.Ordinal);
        foreach (var name in new[] { "job", "stage", "validation", "finished", "seen" }) Assert.Contains(name, bodies["traces"], StringComparison.Ordinal);
    }

    /// <summary>All that the job's events tell, until they end.</summary>
    private static async Task<List<JsonObject>> FollowAsync(HttpClient http, string job)
    {
        using var answer = await http.GetAsync($"/api/training/jobs/{job}/events", HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal("text/event-stream", answer.Content.Headers.ContentType?.MediaType);
        using var lines = new StreamReader(await answer.Content.ReadAsStreamAsync());
        var told = new List<JsonObject>();
        while (await lines.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(240)) is { } line)
            if (line.StartsWith("data: ", StringComparison.Ordinal)) told.Add(JsonNode.Parse(line[6..])!.AsObject());
        return told;
    }

    private static async Task<IEnumerable<string>> ServedAsync(HttpClient http) => JsonNode.Parse(await http.GetStringAsync("/api/models"))!.AsArray().Select(m => (string)m!["id"]!);

    private static async Task SpeaksAsync(HttpClient http)
    {
        using var answer = await http.PostAsJsonAsync("/v1/chat/completions", new { model = "chat-tiny", messages = new[] { new { role = "user", content = "hello" } }, decoding = new { strategy = "sample", minTokens = 8, seed = 1 } });
        var text = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.IsSuccessStatusCode, text);
        Assert.InRange((int)JsonNode.Parse(text)!["usage"]!["completion_tokens"]!, 8, 24);
    }
}
