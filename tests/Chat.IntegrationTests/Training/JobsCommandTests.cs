using System.CommandLine;
using System.Diagnostics;
using System.Net.ServerSentEvents;
using System.Reflection;
using System.Text;
using System.Text.Json.Nodes;
using Chat.Domain.Training;
using Chat.Training.Commands;
using Chat.Training.Recipes;
using Chat.Training.Worker;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Spectre.Console;
using StackExchange.Redis;

namespace Chat.IntegrationTests.Training;

/// <summary><c>jobs</c> of the training command line against real gateways; what a worker does to a job is done by its scripts.</summary>
public sealed class JobsCommandTests : IDisposable
{
    private static readonly string Program = typeof(WorkerProcess).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == "TrainingProgram").Value!;

    private readonly string folder = Directory.CreateTempSubdirectory("chat-jobs-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task A_job_is_submitted_listed_shown_cancelled_resumed_and_forgotten()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        Assert.Contains("There are no jobs. Queue one with: jobs submit", (await RunAsync(server, "list")).Text, StringComparison.Ordinal);

        var id = await SubmitAsync(server, "tiny");

        // What arrived is what stood in the file, but for its comments.
        using (var http = server.Http()) Assert.True(JsonNode.DeepEquals(TrainingBench.Recipe("tiny"), JsonNode.Parse(await http.GetStringAsync($"/api/training/jobs/{id}"))!["recipe"]));
        var other = await SubmitAsync(server, "bare", "--no-register");
        var listed = (await RunAsync(server, "list")).Text;
        Assert.True(listed.IndexOf(other, StringComparison.Ordinal) is > 0 and var newest && listed.IndexOf(id, StringComparison.Ordinal) > newest, listed);
        var shown = (await RunAsync(server, "show", id)).Text;
        foreach (var word in new[] { id, "tiny", "queued", "anonymous", "waits for a worker" }) Assert.Contains(word, shown, StringComparison.Ordinal);
        Assert.Contains("is queued and has made no model.", await FailsAsync(server, "load", id), StringComparison.Ordinal);
        Assert.Contains("is queued and has made no model: it was asked for the run alone.", await FailsAsync(server, "load", other), StringComparison.Ordinal);
        Assert.Contains($"Job {id}, tiny, is cancelled.", (await RunAsync(server, "cancel", id)).Text, StringComparison.Ordinal);
        Assert.Contains($"goes on with: jobs resume {id}", (await RunAsync(server, "show", id)).Text, StringComparison.Ordinal);
        Assert.Equal(1, (await RunAsync(server, "show", id, "--follow")).Code);
        Assert.Contains($"Job {id}, tiny, is queued.", (await RunAsync(server, "resume", id)).Text, StringComparison.Ordinal);
        Assert.Contains("forgotten", (await RunAsync(server, "delete", id)).Text, StringComparison.Ordinal);
        Assert.DoesNotContain(id, (await RunAsync(server, "list")).Text, StringComparison.Ordinal);
    }

    [Theory, InlineData("finished", 0), InlineData("failed", 1)]
    public async Task Following_tells_how_far_a_job_is_and_how_it_ended(string end, int code)
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        await using var store = await server.OpenStoreAsync();
        Task<RedisResult> ScriptAsync(string script, params RedisValue[] arguments) => store.GetDatabase().ScriptEvaluateAsync(script, [.. TrainingStore.Keys.Select(key => (RedisKey)key)], arguments);
        var text = new Heard();
        var following = RunAsync(text, server, "submit", RecipeOf("tiny"), "--follow");
        await Until.TrueAsync(() => text.ToString().Contains("tiny is queued", StringComparison.Ordinal));
        var taken = (string[])(await ScriptAsync(TrainingStore.Take, "worker-7", "here/cpu", 60_000, 5, ""))!;
        static string Told(int step) => $$"""{"phase":"train","at":"2030-01-01T00:00:00+00:00","stage":"first","step":{{step}},"of":420,"loss":3.25,"tokensPerSecond":8000,"secondsLeft":75,"alarm":"It rambles."}""";
        await ScriptAsync(TrainingStore.Beat, taken[0], taken[1], 60_000, Told(210), 100);
        await Until.TrueAsync(() => text.ToString().Contains("tiny first 210/420 loss 3.250 8,000 tokens/s 00:01:15 left", StringComparison.Ordinal));
        await ScriptAsync(TrainingStore.End, taken[0], taken[1], end, Told(420), end == "failed" ? """{"at":"2030-01-01T00:00:00+00:00","error":"The disk is full."}""" : """{"at":"2030-01-01T00:00:00+00:00","model":"f00d"}""", "", "");

        Assert.Equal(code, (await following).Code);

        var heard = text.ToString();
        Assert.Contains("tiny is running at worker-7", heard, StringComparison.Ordinal);
        Assert.Equal(2, heard.Split("It rambles.").Length - 1);      // when it is new, and at the end
        Assert.Contains(end == "failed" ? "The disk is full." : $"jobs load {taken[0]}", heard, StringComparison.Ordinal);
        Assert.Contains(end == "failed" ? $"jobs resume {taken[0]}" : "420/420", heard, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_cannot_be_is_said_with_what_to_do()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: [("Limits:Enabled", "false"), ("Training:JobsPerTenant", "1"), .. Tokens.Settings]);
        await using (var store = await server.OpenStoreAsync()) await store.GetDatabase().StringSetAsync(TrainingStore.Plugins, """[{"kind":"objective","name":"kd","summary":""},{"kind":"method","name":"token-mean","summary":""}]""");
        string admin = Tokens.For("ops", tenant: "acme", role: "admin"), user = Tokens.For("ann", tenant: "acme");

        Assert.Contains("refuses the token: it has expired", await FailsAsync(server, "list", "--token", "no-token"), StringComparison.Ordinal);
        Assert.Contains("lets only admins at training jobs", await FailsAsync(server, "list", "--token", user), StringComparison.Ordinal);
        Assert.Contains("No such training job. jobs list shows", await FailsAsync(server, "show", "f00d", "--token", admin), StringComparison.Ordinal);
        Assert.Contains("No such training job.", await FailsAsync(server, "show", "f00d", "--follow", "--token", admin), StringComparison.Ordinal);
        Assert.Contains("No such training job.", await FailsAsync(server, "cancel", "f00d", "--token", admin), StringComparison.Ordinal);
        Assert.Contains("'limit' is 201; it must be 1 to 200.", await FailsAsync(server, "list", "--limit", "201", "--token", admin), StringComparison.Ordinal);
        Assert.Contains("characters that no token has", await FailsAsync(server, "list", "--token", "a\nb"), StringComparison.Ordinal);
        // The server's reason: it alone knows what its workers can do.
        Assert.Contains("The gateway refuses it: recipe.stages[1].method: no method or objective 'sample-mean'. Known: kd, token-mean.", await FailsAsync(server, "submit", RecipeOf("tiny"), "--token", admin), StringComparison.Ordinal);
        var one = RecipeOf("one", r => r["stages"]!.AsArray().RemoveAt(1));
        Assert.Equal(0, (await RunAsync(server, "submit", one, "--token", admin)).Code);
        Assert.Contains("Your tenant has 1 training jobs", await FailsAsync(server, "submit", one, "--token", admin), StringComparison.Ordinal);

        Assert.Contains("No gateway answers at http://127.0.0.1:9/: ", (await Assert.ThrowsAsync<GatewayException>(() => RunAsync(new Heard(), "http://127.0.0.1:9", "list"))).Message, StringComparison.Ordinal);
        Assert.Contains("--gateway or CHAT_GATEWAY", (await Assert.ThrowsAsync<GatewayException>(() => RunAsync(new Heard(), "http://127.0.0.1:9", "list"))).Message, StringComparison.Ordinal);
        Assert.Contains("it takes the form http://localhost:5080", (await Assert.ThrowsAsync<GatewayException>(() => RunAsync(new Heard(), "localhost:5080", "list"))).Message, StringComparison.Ordinal);
        Assert.Contains("'../x' is no id of a job", (await RunAsync(server, "show", "../x")).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_recipe_that_no_worker_could_follow_is_not_even_sent()
    {
        const string Nobody = "http://127.0.0.1:9";
        foreach (var (change, error) in new (Action<JsonObject>, string)[]
        {
            (r => r["stages"]![0]!["dropouts"] = 0.1, "'dropouts' is no name that a StageRecipe has"),
            (r => r["model"]!["heads"] = 0, "all sizes must be positive"),
            (r => r["start"] = "../../etc", "leads out of the worker's folders"),
            (r => r.Remove("card"), "card.id names the model that is to be registered"),
        })
            Assert.Contains(error, (await Assert.ThrowsAsync<RecipeException>(() => RunAsync(new Heard(), Nobody, "submit", RecipeOf("bad", change)))).Message, StringComparison.Ordinal);
        Assert.Contains("cannot be read", (await Assert.ThrowsAsync<RecipeException>(() => RunAsync(new Heard(), Nobody, "submit", Path.Combine(folder, "none.json")))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_gateway_that_goes_away_is_waited_for_and_a_stranger_is_named()
    {
        var told = 0;
        var builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        await using var gateway = builder.Build();
        TrainingJobInfo Job(JobState state) => new("f00d", "tiny", state, "ops", DateTimeOffset.UnixEpoch, true, true, "w", "d", new("train", DateTimeOffset.UnixEpoch, "first", 7, 10), null, null, null, null);
        gateway.MapGet("/api/training/jobs/f00d", () => Job(JobState.Running));
        gateway.MapGet("/api/training/jobs/f00d/events", (HttpContext context) => ++told switch
        {
            1 => TypedResults.ServerSentEvents(Broken(context)),
            2 => Results.Json(new { code = "busy", detail = "The store is away." }, statusCode: 503),
            3 => Results.Text("<html>", "text/html", statusCode: 502),
            _ => TypedResults.ServerSentEvents(Whole()),
        });
        gateway.MapGet("/api/training/jobs", () => Results.Text("<html>It works!</html>", "text/html"));
        await gateway.StartAsync(TestContext.Current.CancellationToken);
        var text = new Heard();

        var (code, _) = await RunAsync(text, gateway.Urls.Single(), "show", "f00d", "--follow");

        Assert.Equal((0, 4), (code, told));
        Assert.Equal(1, text.ToString().Split("Waiting for the gateway, the job goes on:").Length - 1);
        Assert.Contains("is no gateway of Chat", (await Assert.ThrowsAsync<GatewayException>(() => RunAsync(new Heard(), gateway.Urls.Single(), "list"))).Message, StringComparison.Ordinal);
        Assert.Contains("is no gateway of Chat", (await Assert.ThrowsAsync<GatewayException>(() => RunAsync(new Heard(), gateway.Urls.Single(), "show", "beef"))).Message, StringComparison.Ordinal);

        async IAsyncEnumerable<SseItem<TrainingJobInfo>> Broken(HttpContext context)
        {
            yield return new(Job(JobState.Running), "job");
            await Task.Yield();
            context.Abort();
        }

        async IAsyncEnumerable<SseItem<TrainingJobInfo>> Whole()
        {
            await Task.Yield();
            yield return new(Job(JobState.Finished), "job");
        }
    }

    [Fact]
    public async Task From_the_shell_an_error_is_one_sentence_and_help_teaches()
    {
        var (code, output, errors) = await ShellAsync("jobs", "list");
        Assert.Equal((1, ""), (code, output));
        Assert.StartsWith("No gateway answers at http://127.0.0.1:9/: ", errors, StringComparison.Ordinal);
        Assert.Single(errors.TrimEnd().Split('\n'));

        (code, output, _) = await ShellAsync("jobs", "--help");
        Assert.Equal(0, code);
        foreach (var word in new[] { "jobs submit my-recipe.json --follow", "jobs cancel ID", "CHAT_TOKEN", "CHAT_GATEWAY", "worker --help" }) Assert.Contains(word, output, StringComparison.Ordinal);
        (_, output, _) = await ShellAsync("--help");
        Assert.Contains("Training jobs at a gateway, for its workers ('worker --help').", output, StringComparison.Ordinal);
        Assert.DoesNotContain("jobs cancel ID", output, StringComparison.Ordinal);      // that stands in its own help

        (code, output, errors) = await ShellAsync("jobs", "shwo");
        Assert.Equal(1, code);
        Assert.Contains("show", output, StringComparison.Ordinal);
        Assert.EndsWith("jobs --help tells what it takes.", errors.TrimEnd(), StringComparison.Ordinal);
        Assert.DoesNotContain("Usage:", output, StringComparison.Ordinal);      // it would push the error off the screen
    }

    private static async Task<(int Code, string Output, string Errors)> ShellAsync(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("dotnet", [Program, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true, Environment = { ["CHAT_GATEWAY"] = "http://127.0.0.1:9", ["CHAT_TOKEN"] = "" } })!;
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(60));
        return (process.ExitCode, await output, await errors);
    }

    /// <returns>The job's id.</returns>
    private async Task<string> SubmitAsync(ChatServer server, string name, params string[] options)
    {
        var (code, text) = await RunAsync(server, ["submit", RecipeOf(name), .. options]);
        Assert.Equal(0, code);
        Assert.Matches($"^Job [0-9a-f]{{32}}, {name}, is queued.", text);
        return text.Split(' ', ',')[1];
    }

    private static async Task<string> FailsAsync(ChatServer server, params string[] arguments) => (await Assert.ThrowsAsync<GatewayException>(() => RunAsync(server, arguments))).Message;

    private static Task<(int Code, string Text)> RunAsync(ChatServer server, params string[] arguments) => RunAsync(new Heard(), server, arguments);

    private static Task<(int Code, string Text)> RunAsync(Heard text, ChatServer server, params string[] arguments) => RunAsync(text, server.Origin, arguments);

    /// <summary>The command as a gateway's operator gives it.</summary>
    internal static Task<(int Code, string Text)> RunAsync(string gateway, params string[] arguments) => RunAsync(new Heard(), gateway, arguments);

    private static async Task<(int Code, string Text)> RunAsync(Heard text, string gateway, params string[] arguments)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(text), Ansi = AnsiSupport.No, Interactive = InteractionSupport.No });
        console.Profile.Width = 1000;
        var root = new RootCommand { new JobsCommand(TimeProvider.System, console).Create() };
        var code = await root.Parse(["jobs", "--gateway", gateway, .. arguments]).InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, Output = text, Error = text }, TestContext.Current.CancellationToken);
        return (code, text.ToString());
    }

    private string RecipeOf(string name, Action<JsonObject>? change = null)
    {
        var recipe = TrainingBench.Recipe(name);
        change?.Invoke(recipe);
        var path = Path.Combine(folder, name + ".json");
        File.WriteAllText(path, "// a comment\n" + recipe.ToJsonString());
        return path;
    }

    /// <summary>What is written, to be read meanwhile.</summary>
    private sealed class Heard : StringWriter
    {
        private readonly Lock turn = new();

        public override void Write(char value) { lock (turn) base.Write(value); }
        public override void Write(char[] buffer, int index, int count) { lock (turn) base.Write(buffer, index, count); }
        public override void Write(ReadOnlySpan<char> buffer) { lock (turn) base.Write(buffer); }
        public override void Write(string? value) { lock (turn) base.Write(value); }
        public override void Write(StringBuilder? value) { lock (turn) base.Write(value); }
        public override string ToString() { lock (turn) return base.ToString(); }
    }
}
