using System.Net;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json.Nodes;

namespace Chat.IntegrationTests.Training;

/// <summary>A Redis, a gateway that serves a tiny model itself, and a folder that it shares with training workers.</summary>
public sealed class TrainingBench : IAsyncDisposable
{
    private readonly List<WorkerProcess> workers = [];

    private TrainingBench(RedisServer redis, ChatServer server, string folder) => (Redis, Server, Folder, Http) = (redis, server, folder, server.Http());

    public RedisServer Redis { get; }
    public ChatServer Server { get; }
    public HttpClient Http { get; }

    /// <summary>The gateway's <c>Data:Folder</c>; runs and models lie there too.</summary>
    public string Folder { get; }

    public static async Task<TrainingBench> StartAsync(bool mayLogErrors = false, params (string, string)[] settings)
    {
        var (redis, folder) = (await RedisServer.StartAsync(), Directory.CreateTempSubdirectory("chat-training-").FullName);
        return new(redis, await ServeAsync(redis, folder, mayLogErrors, settings), folder);
    }

    /// <summary>Another gateway of the same installation.</summary>
    public static Task<ChatServer> ServeAsync(RedisServer redis, string folder, bool mayLogErrors = false, params (string, string)[] settings) => ChatServer.StartAsync(
        Store.Redis, redis, folder, mayLogErrors, [("Models:Folder", Path.Combine(AppContext.BaseDirectory, "Models", "m1")), ("Limits:Enabled", "false"), .. settings]);

    public WorkerProcess Work(string device = "here/cpu", double lease = 2, params (string, string)[] environment)
    {
        var worker = WorkerProcess.Start(Redis.Configuration, Folder, device, lease, environment);
        workers.Add(worker);
        return worker;
    }

    /// <summary>A recipe of seconds, with all that a resumed run must get right: dropout, two stages, checkpoints between whose steps a run can be cut.</summary>
    public static JsonObject Recipe(string name, int steps = 400) => JsonNode.Parse($$"""
        {
          "name": "{{name}}", "seed": 5,
          "tokenizer": { "vocabulary": 300, "corpora": { "small-talk-en": 20000 } },
          "model": { "width": 32, "feedForward": 64, "heads": 2, "encoderLayers": 1, "decoderLayers": 1, "headWidth": 16, "maxContext": 64, "maxReply": 24 },
          "heldOut": "/\\d*77$", "validation": ["small-talk-en"],
          "stages": [
            { "name": "first", "method": "token-mean", "steps": {{steps}}, "batchTokens": 600, "learningRate": 0.003, "maxContext": 40, "maxReply": 24, "warmup": 3, "dropout": 0.1, "validateEvery": 100, "saveEvery": 100,
              "mixture": [{ "corpus": "small-talk-en", "as": "dialogue", "weight": 1 }] },
            { "name": "second", "method": "sample-mean", "steps": 20, "batchTokens": 600, "learningRate": 0.001, "maxContext": 40, "maxReply": 24, "saveEvery": 15,
              "mixture": [{ "corpus": "small-talk-en", "as": "dialogue", "weight": 1 }] }
          ],
          "card": { "id": "chat-{{name}}", "licence": "none", "notes": "A test's.", "defaultDecoding": { "strategy": "sample", "temperature": 0.7 } }
        }
        """)!.AsObject();

    /// <returns>The job's id.</returns>
    public async Task<string> SubmitAsync(JsonObject recipe, bool register = false)
    {
        var asked = new JsonObject { ["recipe"] = recipe, ["register"] = register };
        return (string)(await AskAsync(() => Http.PostAsJsonAsync("/api/training/jobs", asked)))["id"]!;
    }

    public Task<JsonObject> ReadAsync(string job) => AskAsync(() => Http.GetAsync($"/api/training/jobs/{job}"));

    /// <param name="verb"><c>cancel</c> or <c>resume</c>.</param>
    public Task<JsonObject> PostAsync(string job, string verb) => AskAsync(() => Http.PostAsync($"/api/training/jobs/{job}/{verb}", null));

    /// <summary>Asks again where the store was too slow for the gateway: trainings leave it little of the processors.</summary>
    private static async Task<JsonObject> AskAsync(Func<Task<HttpResponseMessage>> ask)
    {
        JsonObject? read = null;
        await Until.TrueAsync(async () =>
        {
            using var answer = await ask();
            if (answer.StatusCode == HttpStatusCode.ServiceUnavailable) return false;
            var text = await answer.Content.ReadAsStringAsync();
            Assert.True(answer.IsSuccessStatusCode, text);
            read = JsonNode.Parse(text)!.AsObject();
            return true;
        });
        return read!;
    }

    /// <summary>Waits until the job is so; one that fails instead fails the test with its error and the workers' words.</summary>
    public async Task<JsonObject> UntilAsync(string job, Func<JsonObject, bool> isSo)
    {
        JsonObject read = null!;
        await Until.TrueAsync(async () =>
        {
            read = await ReadAsync(job);
            Assert.False(isSo(read) is false && (string)read["state"]! == "failed", $"{read["error"]}\n{string.Join('\n', workers.Select(w => w.Output))}");
            var so = isSo(read);
            if (!so) await Task.Delay(50);      // the processors are the worker's
            return so;
        }, seconds: 240);
        return read;
    }

    public Task<JsonObject> FinishedAsync(string job) => UntilAsync(job, j => (string)j["state"]! == "finished");

    /// <summary>Waits until the job runs and has made so many steps.</summary>
    public async Task<long> InTheMiddleAsync(string job, long least = 45)
    {
        var read = await UntilAsync(job, j => StepOf(j) >= least);
        Assert.True((string)read["state"]! == "running" && StepOf(read) < (long)read["progress"]!["of"]!, $"The job was over before it could be cut: {read}");
        return StepOf(read);
    }

    public static long StepOf(JsonObject job) => (long?)job["progress"]?["step"] ?? 0;

    /// <summary>SHA-256 of the newest checkpoint's tensors: weights and the optimiser's moments.</summary>
    public string WeightsOf(string run)
    {
        var newest = Directory.GetDirectories(Path.Combine(Folder, "runs", run, "checkpoints")).Max(StringComparer.Ordinal)!;
        return Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Path.Combine(newest, "state.safetensors"))));
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var worker in workers) await worker.DisposeAsync();
        Http.Dispose();
        await Server.DisposeAsync();
        await Redis.DisposeAsync();
    }
}
