using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Chat.IntegrationTests.Hosts;
using Chat.IntegrationTests.OpenAi;
using Grpc.Core;

namespace Chat.IntegrationTests.Operations;

/// <summary>/api/pins, at a gateway that serves models itself and at gateways of model hosts.</summary>
[Collection("counts")]      // one process, one meter: classes that read or move it run one after the other
public sealed class PinTests : IDisposable
{
    private const string Prompt = "You help people of three towns to find the right bus, politely.", Other = "You tell people of one town what the weather will be.";

    private readonly string folder = Directory.CreateTempSubdirectory("chat-pins-").FullName;

    private string Models => Path.Combine(folder, "models");

    public PinTests()
    {
        foreach (var name in new[] { "tiny", "other-tiny" }) TinyDecoderFolder.Write(Models, name);
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task A_prompt_is_pinned_listed_found_by_the_next_prompt_read_again_after_a_restart_and_let_go()
    {
        await using var redis = await RedisServer.StartAsync();
        await using (var server = await OwnAsync())
        {
            using var http = server.Http();
            Assert.Equal("[]", await http.GetStringAsync("/api/pins"));

            var pinned = await PutAsync(http, "bus", "tiny", Prompt);
            var place = Assert.Single(pinned["places"]!.AsArray())!;
            Assert.Equal(("bus", "tiny", Prompt, false), ((string)pinned["name"]!, (string)pinned["model"]!, (string)pinned["systemPrompt"]!, (bool)pinned["configured"]!));
            Assert.Null(place["host"]);
            Assert.InRange((int)place["tokens"]!, 16, int.MaxValue);
            Assert.Equal((int)place["tokens"]! / 16 * TinyDecoderFolder.PageBytes, (long)place["bytes"]!);
            Assert.Equal(pinned.ToJsonString(), (await PutAsync(http, "bus", "tiny", Prompt)).ToJsonString());
            Assert.Equal($"[{pinned.ToJsonString()}]", JsonNode.Parse(await http.GetStringAsync("/api/pins"))!.ToJsonString());
            Assert.Equal((int)place["tokens"]!, (int)JsonNode.Parse(await http.GetStringAsync("/api/models/tiny"))!["pins"]![0]!["tokens"]!);

            var before = await HitsAsync(http);
            await AskAsync(http);
            Assert.Equal((int)place["tokens"]!, await HitsAsync(http) - before);
        }
        await using (var server = await OwnAsync())
        {
            using var http = server.Http();
            await Until.TrueAsync(async () => (int)(await ListAsync(http))[0]!["places"]![0]!["tokens"]! > 0);

            Assert.Equal(HttpStatusCode.NoContent, (await http.DeleteAsync("/api/pins/bus")).StatusCode);
            Assert.Equal(HttpStatusCode.NotFound, (await http.DeleteAsync("/api/pins/bus")).StatusCode);
            Assert.Equal("[]", await http.GetStringAsync("/api/pins"));
            Assert.Empty(JsonNode.Parse(await http.GetStringAsync("/api/models/tiny"))!["pins"]!.AsArray());
            await PutAsync(http, "bus", "other-tiny", Other);
        }

        Task<ChatServer> OwnAsync() => ChatServer.StartAsync(Store.Redis, redis, settings: [("Models:Folder", Models), ("Models:Rows", "2"), ("Models:Default", "tiny")]);
    }

    [Fact]
    public async Task What_cannot_be_pinned_is_a_problem_with_a_sentence_and_is_not_kept_in_mind()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings:
        [
            ("Models:Folder", Models), ("Models:Rows", "2"), ("Models:PinBytes", $"{8 * TinyDecoderFolder.PageBytes}"),
            ("Models:Pins:house:Model", "tiny"), ("Models:Pins:house:SystemPrompt", "You are the house's own voice."), .. Tokens.Settings,
        ]);
        using var user = server.Http(Tokens.For("ann"));
        using var http = server.Http(Tokens.For("ops", role: "admin"));
        foreach (var (method, path) in new[] { ("GET", "/api/pins"), ("PUT", "/api/pins/bus"), ("DELETE", "/api/pins/bus") })
            Assert.Equal(HttpStatusCode.Forbidden, (await user.SendAsync(new(new(method), path) { Content = method == "PUT" ? JsonContent.Create(new { model = "tiny" }) : null })).StatusCode);

        await RefusedAsync("BUS", "tiny", Prompt, HttpStatusCode.BadRequest, "A pin's name is 1 to 64 lower-case letters");
        await RefusedAsync("bus", "m9", Prompt, HttpStatusCode.BadRequest, "No model 'm9'. Known: ");
        await RefusedAsync("bus", null, Prompt, HttpStatusCode.BadRequest, "No model ''");
        await RefusedAsync("bus", "tiny", new('x', 20_001), HttpStatusCode.RequestEntityTooLarge, "20001 characters");
        await RefusedAsync("bus", "tiny", new('x', 3_000), HttpStatusCode.Conflict, "It is too long");
        await RefusedAsync("bus", "tiny", string.Concat(Enumerable.Range(0, 22).Select(i => $"bus {i}, ")), HttpStatusCode.Conflict, "are left (Models:PinBytes)");
        await RefusedAsync("bus", "tiny", "", HttpStatusCode.Conflict, "only whole pages of 16");
        await RefusedAsync("house", "tiny", Prompt, HttpStatusCode.Conflict, "by the configuration (Models:Pins)");
        Assert.Equal(HttpStatusCode.Conflict, (await http.DeleteAsync("/api/pins/house")).StatusCode);
        var house = Assert.Single(await ListAsync(http))!;
        Assert.Equal(("house", true, "You are the house's own voice."), ((string)house["name"]!, (bool)house["configured"]!, (string)house["systemPrompt"]!));

        await PutAsync(http, "bus", "tiny", Prompt);
        await RefusedAsync("bus", "tiny", Other, HttpStatusCode.Conflict, "delete it first");
        await RefusedAsync("bus", "other-tiny", Prompt, HttpStatusCode.Conflict, "delete it first");

        async Task RefusedAsync(string name, string? model, string prompt, HttpStatusCode status, string sentence)
        {
            using var answer = await http.PutAsJsonAsync($"/api/pins/{name}", new { model, systemPrompt = prompt });
            Assert.Equal((status, "application/problem+json"), (answer.StatusCode, answer.Content.Headers.ContentType?.MediaType));
            Assert.Contains(sentence, (string)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["detail"]!, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_gateway_pins_at_its_hosts_also_at_one_that_comes_later_or_comes_back()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var one = await HostAsync();
        var two = await HostAsync();
        var address = two.Address.OriginalString.TrimEnd('/');
        await two.DisposeAsync();      // its port is known, and it is not there yet
        (string, string)[] settings = [("Hosts:Addresses:0", one.Address.OriginalString), ("Hosts:Addresses:1", address), ("Hosts:Key", HostServer.Key), ("Hosts:PollSeconds", "0.1")];
        await using var left = await ChatServer.StartAsync(Store.Redis, redis, settings: [.. settings, ("Models:Folder", Models)]);
        await using var right = await ChatServer.StartAsync(Store.Redis, redis, settings: [.. settings, ("Models:Folder", Models)]);
        using var http = left.Http();
        using var there = right.Http();

        var pinned = await PutAsync(http, "bus", "tiny", Prompt);
        Assert.Equal(one.Address.Authority, (string)Assert.Single(pinned["places"]!.AsArray())!["host"]!);
        await using (await HostAsync(("Hosts:Listen", address))) await HeldByAsync(2);
        await HeldByAsync(1);

        await using var back = await HostAsync(("Hosts:Listen", address), ("Models:Pins:own:Model", "tiny"), ("Models:Pins:own:SystemPrompt", Other));
        await HeldByAsync(2);
        var own = (await ListAsync(there)).Single(pin => (bool)pin!["configured"]!)!;
        Assert.Equal(("own", back.Address.Authority), ((string)own["name"]!, (string)own["places"]![0]!["host"]!));
        Assert.Null(own["systemPrompt"]);

        // What nobody asked a gateway for goes, what a host was configured with stays.
        await back.Client.PinAsync(new() { Model = "tiny", Name = "stray", SystemPrompt = "Nobody knows of this prompt." }, HostServer.KeyHeader);
        await Until.TrueAsync(async () => (await NamesAsync(back)).SequenceEqual(["bus", "own"]));

        Assert.Equal(HttpStatusCode.NoContent, (await there.DeleteAsync("/api/pins/bus")).StatusCode);
        await Until.TrueAsync(async () => (await NamesAsync(one)).Length == 0 && (await NamesAsync(back)).SequenceEqual(["own"]));
        Assert.Equal(StatusCode.FailedPrecondition, (await Assert.ThrowsAsync<RpcException>(async () => await back.Client.UnpinAsync(new() { Model = "tiny", Name = "own" }, HostServer.KeyHeader))).StatusCode);

        Task HeldByAsync(int hosts) => Until.TrueAsync(async () => (await ListAsync(there)).Single(pin => (string)pin!["name"]! == "bus")!["places"]!.AsArray().Count(place => (int)place!["tokens"]! > 0) == hosts);
    }

    [Fact]
    public async Task Without_a_host_that_serves_the_model_nothing_is_pinned_and_a_host_that_refuses_says_why()
    {
        await using var host = await HostAsync(("Models:PinBytes", "0"));
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: [("Hosts:Addresses:0", host.Address.OriginalString), ("Hosts:Key", HostServer.Key), ("Hosts:PollSeconds", "0.1"), ("Models:Folder", Models)]);
        using var http = server.Http();

        using (var refused = await http.PutAsJsonAsync("/api/pins/bus", new { model = "tiny", systemPrompt = Prompt }))
            Assert.Equal((HttpStatusCode.Conflict, true), (refused.StatusCode, (await refused.Content.ReadAsStringAsync()).Contains("Models:PinBytes", StringComparison.Ordinal)));
        await host.DisposeAsync();
        await Until.TrueAsync(async () => !(bool)JsonNode.Parse(await http.GetStringAsync("/api/hosts"))![0]!["up"]!);
        using (var nobody = await http.PutAsJsonAsync("/api/pins/bus", new { model = "tiny", systemPrompt = Prompt })) Assert.Equal(HttpStatusCode.ServiceUnavailable, nobody.StatusCode);
        Assert.Equal("[]", await http.GetStringAsync("/api/pins"));
    }

    private Task<HostServer> HostAsync(params (string, string)[] settings) => HostServer.StartAsync([("Models:Folder", Models), ("Models:Rows", "2"), .. settings]);

    private static async Task<string[]> NamesAsync(HostServer host) => [.. (await host.Client.StatusAsync(new(), HostServer.KeyHeader)).Models.SelectMany(m => m.Pins).Select(pin => pin.Name)];

    private static async Task<JsonArray> ListAsync(HttpClient http) => JsonNode.Parse(await http.GetStringAsync("/api/pins"))!.AsArray();

    private static async Task<JsonNode> PutAsync(HttpClient http, string name, string model, string systemPrompt)
    {
        using var answer = await http.PutAsJsonAsync($"/api/pins/{name}", new { model, systemPrompt });
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
        return JsonNode.Parse(await answer.Content.ReadAsStringAsync())!;
    }

    private static async Task AskAsync(HttpClient http)
    {
        using var answer = await http.PostAsJsonAsync("/v1/chat/completions", new { model = "tiny", max_tokens = 2, messages = new[] { new { role = "system", content = Prompt }, new { role = "user", content = "where?" } } });
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
    }

    private static async Task<int> HitsAsync(HttpClient http) => (await http.GetStringAsync("/metrics")).Split('\n').Where(line => line.StartsWith("chat_prefix_cache_hits_total ", StringComparison.Ordinal)).Select(line => int.Parse(line.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture)).Single();
}
