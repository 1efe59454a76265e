using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Chat.IntegrationTests.Hosts;
using Chat.Models.Checkpoints;
using Chat.Training.Worker;

namespace Chat.IntegrationTests.Training;

/// <summary>From a recipe to a reply: a gateway of a model host, a worker and the host, each a process of its own but the gateway; nobody copies a file.</summary>
[Collection(nameof(Alone))]
public sealed class TrainedModelAtHostTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("chat-host-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task A_job_becomes_a_model_that_a_host_pulls_by_its_hash_and_the_gateway_answers_with()
    {
        var port = FreePort();
        await using var host = await HostAsync(("Models__Sources__0", $"http://127.0.0.1:{port}"));
        var address = host.Addresses[1];
        await using var bench = await TrainingBench.StartAsync(settings: [("urls", $"http://127.0.0.1:{port}"), ("Hosts:Addresses:0", address.OriginalString), ("Hosts:Key", HostServer.Key), ("Hosts:PollSeconds", "0.2")]);
        bench.Work();

        var recipe = Path.Combine(folder, "tiny.json");
        await File.WriteAllTextAsync(recipe, TrainingBench.Recipe("tiny", steps: 60).ToJsonString(), TestContext.Current.CancellationToken);
        var (code, told) = await JobsCommandTests.RunAsync(bench.Server.Origin, "submit", recipe, "--follow");
        Assert.True(code == 0, told);
        var job = told.Split(' ', ',')[1];
        var hash = (string)(await bench.ReadAsync(job))["model"]!;

        // Registered with its card, and nobody has it yet.
        var details = JsonNode.Parse(await bench.Http.GetStringAsync($"/api/models/{hash}"))!;
        Assert.Equal(("chat-tiny", "none", false, "[]"), ((string)details["model"]!["id"]!, (string)details["model"]!["licence"]!, (bool)details["served"]!, details["hosts"]!.ToJsonString()));
        Assert.False(Directory.Exists(Path.Combine(folder, "models", hash)));
        using (var early = await AskAsync(bench.Http)) Assert.Equal(HttpStatusCode.NotFound, early.StatusCode);

        Assert.Contains("'host' is missing: this gateway has model hosts", (await Assert.ThrowsAsync<GatewayException>(() => JobsCommandTests.RunAsync(bench.Server.Origin, "load", job))).Message, StringComparison.Ordinal);
        Assert.Contains($"No such model host. Known: {address.Authority}.", (await Assert.ThrowsAsync<GatewayException>(() => JobsCommandTests.RunAsync(bench.Server.Origin, "load", job, "--host", "nobody:1"))).Message, StringComparison.Ordinal);
        (code, told) = await JobsCommandTests.RunAsync(bench.Server.Origin, "load", job, "--host", address.Authority);
        Assert.Equal((0, $"chat-tiny answers at {address.Authority}."), (code, told.Trim()));

        // The same files to the byte, the card with its scores among them.
        Assert.Equal(ModelFolder.Files(Path.Combine(bench.Folder, "models", hash, "chat-tiny")), ModelFolder.Files(Path.Combine(folder, "models", hash, "chat-tiny")));
        Assert.True((double)ModelFolder.Open(Path.Combine(folder, "models", hash, "chat-tiny")).Card["scores"]!["heldOutLoss"]!["small-talk-en"]! > 0);
        await Until.TrueAsync(async () => JsonNode.Parse(await bench.Http.GetStringAsync($"/api/models/{hash}"))!["hosts"]!.ToJsonString() == $"[\"{address.Authority}\"]");

        await using var client = await bench.Server.ConnectAsync();
        var said = await SayAsync(client, bench.Http, hash);
        using (var answer = await AskAsync(bench.Http)) Assert.InRange((int)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["usage"]!["completion_tokens"]!, 8, 24);

        // A host that starts again with the hash in its settings has it on its own disk, and says the same.
        Assert.Equal(0, await host.EndAsync());
        await Until.TrueAsync(async () => (await AskAsync(bench.Http)).StatusCode == HttpStatusCode.ServiceUnavailable);
        await using var again = await HostAsync(("Models__Load__0", hash), ("Hosts__Listen", address.GetLeftPart(UriPartial.Authority)));
        await Until.TrueAsync(async () => (await AskAsync(bench.Http)).IsSuccessStatusCode);
        Assert.Equal(said, await SayAsync(client, bench.Http, hash));
    }

    private Task<ChatProcess> HostAsync(params (string, string)[] settings) => ChatProcess.StartAsync(folder, redis: null,
        [("Role", "model-host"), ("Hosts__Listen", "http://127.0.0.1:0"), ("Hosts__Key", HostServer.Key), ("Models__Folder", Directory.CreateDirectory(Path.Combine(folder, "empty")).FullName), ("Models__Threads", "1"), .. settings]);

    /// <returns>The reply, of which the conversation's record says that this content wrote it.</returns>
    private static async Task<string> SayAsync(ChatClient client, HttpClient http, string hash)
    {
        var conversation = await client.StartAsync(new { model = "chat-tiny" });
        var heard = await client.Send(conversation, "m", "hello", options: new { decoding = new { strategy = "sample", minTokens = 8, seed = 1 } }).AllAsync();
        Assert.Equal("finished", heard[^1].Type);
        var turns = (await http.GetFromJsonAsync<JsonObject>($"/api/conversations/{conversation}/export"))!["turns"]!;
        Assert.Equal(("chat-tiny", hash, heard.Text()), ((string)turns[1]!["reply"]!["model"]!, (string)turns[1]!["reply"]!["modelHash"]!, (string)turns[1]!["text"]!));
        return heard.Text();
    }

    private static Task<HttpResponseMessage> AskAsync(HttpClient http) =>
        http.PostAsJsonAsync("/v1/chat/completions", new { model = "chat-tiny", messages = new[] { new { role = "user", content = "hello" } }, decoding = new { strategy = "sample", minTokens = 8, seed = 1 } });

    /// <summary>The host must know the gateway before it starts, and the gateway the host.</summary>
    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
