using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Chat.IntegrationTests.Hosts;
using Chat.IntegrationTests.OpenAi;

namespace Chat.IntegrationTests.Operations;

/// <summary>/api/models, aliases and hosts, and who may change them.</summary>
[Collection("counts")]      // one process, one meter: classes that read or move it run one after the other
public sealed class RegistryTests
{
    [Theory]
    [InlineData(Store.Garnet)]
    [InlineData(Store.Redis)]
    public async Task An_alias_stands_for_a_model_everywhere_a_model_is_named(Store store)
    {
        await using var server = await ChatServer.StartAsync(store);
        using var http = server.Http();
        await using var client = await server.ConnectAsync();

        Assert.Equal(HttpStatusCode.NoContent, (await http.PutAsJsonAsync("/api/model-aliases/best", new { model = "fake-small" })).StatusCode);
        Assert.Equal("fake-small", (string?)JsonNode.Parse(await http.GetStringAsync("/api/model-aliases"))!["best"]);
        var events = await client.Send(await client.StartAsync(new { model = "best" }), "m", "hello").AllAsync();
        Assert.Equal("fake-small", (string?)events[0].Raw["model"]);
        using var completion = await http.PostAsJsonAsync("/v1/chat/completions", new { model = "best", messages = new[] { new { role = "user", content = "hello" } } });
        Assert.Equal("fake-small", (string?)JsonNode.Parse(await completion.Content.ReadAsStringAsync())!["model"]);

        await http.PutAsJsonAsync("/api/model-aliases/best", new { model = "fake" });
        Assert.Equal("fake", (string?)(await client.Send(await client.StartAsync(new { model = "best" }), "m", "hello").AllAsync())[0].Raw["model"]);
        var details = JsonNode.Parse(await http.GetStringAsync("/api/models/best"))!;
        Assert.Equal(("fake", true, "best"), ((string)details["model"]!["id"]!, (bool)details["served"]!, (string)details["aliases"]![0]!));
        Assert.Equal("fake", (string?)JsonNode.Parse(await http.GetStringAsync("/api/models/f00dfeedf00dfeed"))!["model"]!["id"]);

        Assert.Equal(HttpStatusCode.NoContent, (await http.DeleteAsync("/api/model-aliases/best")).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await http.DeleteAsync("/api/model-aliases/best")).StatusCode);
        Assert.Contains("No model 'best'", await ChatClient.ErrorOfAsync(() => client.StartAsync(new { model = "best" })), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("BEST", "fake", HttpStatusCode.BadRequest)]
    [InlineData("fake", "fake-small", HttpStatusCode.Conflict)]
    [InlineData("best", "m9", HttpStatusCode.BadRequest)]
    [InlineData("best", null, HttpStatusCode.BadRequest)]
    public async Task What_cannot_be_an_alias_is_refused(string alias, string? model, HttpStatusCode status)
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        using var http = server.Http();

        Assert.Equal(status, (await http.PutAsJsonAsync($"/api/model-aliases/{alias}", new { model })).StatusCode);
    }

    [Fact]
    public async Task Only_admins_change_and_see_hosts()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: Tokens.Settings);
        using var user = server.Http(Tokens.For("ann"));
        using var admin = server.Http(Tokens.For("ops", role: "admin"));

        foreach (var (method, path) in new[] { ("PUT", "/api/model-aliases/best"), ("DELETE", "/api/model-aliases/best"), ("GET", "/api/hosts"), ("POST", "/api/hosts/h/drain"), ("POST", "/api/hosts/h/undrain"), ("POST", "/api/models/m/load?host=h"), ("POST", "/api/models/m/unload?host=h") })
        {
            using var asked = new HttpRequestMessage(new(method), path) { Content = method == "PUT" ? JsonContent.Create(new { model = "fake" }) : null };
            Assert.Equal(HttpStatusCode.Forbidden, (await user.SendAsync(asked)).StatusCode);
        }
        Assert.Equal(HttpStatusCode.OK, (await user.GetAsync("/api/models/fake")).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await user.GetAsync("/api/models/none")).StatusCode);
        Assert.Equal(HttpStatusCode.NoContent, (await admin.PutAsJsonAsync("/api/model-aliases/best", new { model = "fake" })).StatusCode);
        Assert.Equal("[]", await admin.GetStringAsync("/api/hosts"));
        foreach (var change in new[] { "drain", "undrain" }) Assert.Equal(HttpStatusCode.BadRequest, (await admin.PostAsync($"/api/hosts/h/{change}", null)).StatusCode);
    }

    [Fact]
    public async Task Lineage_is_told_as_far_as_it_is_known()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet);
        var models = server.Models.Models;
        server.Models.Models = [models[0] with { Id = "student", Hash = "2222", Teacher = "teacher", Parent = "draft" }, models[1] with { Id = "teacher", Hash = "1111", Parent = "student" }];
        using var http = server.Http();

        var lineage = JsonNode.Parse(await http.GetStringAsync("/api/models/student"))!["lineage"]!.AsArray();

        Assert.Equal(["student parent draft ", "student teacher teacher 1111", "teacher parent student 2222"], lineage.Select(a => $"{a!["of"]} {a["relation"]} {a["name"]} {a["hash"]}"));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("application/openmetrics-text; version=1.0.0")]
    public async Task A_gateway_tells_of_its_hosts_under_their_names(string? accept)
    {
        await using var host = await FakeHost.StartAsync();
        await using var other = await FakeHost.StartAsync();
        host.Engine = new() { Running = 3, Waiting = 2, KvCacheUsage = 0.25, PrefixCacheQueries = 40, PrefixCacheHits = 30 };
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings:
            [("Hosts:Addresses:0", host.Address.OriginalString), ("Hosts:Addresses:1", other.Address.OriginalString), ("Hosts:PollSeconds", "0.05"), ("Models:Folder", Path.Combine(AppContext.BaseDirectory, "Models"))]);
        using var http = server.Http();
        if (accept is not null) http.DefaultRequestHeaders.Accept.ParseAdd(accept);

        var told = await http.GetStringAsync("/metrics");
        foreach (var (name, value) in new[] { ("up", "1"), ("draining", "0"), ("num_requests_running", "3"), ("num_requests_waiting", "2"), ("kv_cache_usage_perc", "0.25"), ("prefix_cache_queries_total", "40"), ("prefix_cache_hits_total", "30") })
            Assert.Contains($"\nchat_host_{name}{{host=\"{host.Name}\"}} {value}\n", told, StringComparison.Ordinal);
        Assert.Contains(accept is null ? "# TYPE chat_host_prefix_cache_hits_total counter\n" : "# TYPE chat_host_prefix_cache_hits counter\n", told, StringComparison.Ordinal);
        Assert.Contains($"\nchat_host_num_requests_running{{host=\"{other.Name}\"}} 0\n", told, StringComparison.Ordinal);
        var model = JsonNode.Parse(await http.GetStringAsync("/api/hosts"))!.AsArray().Single(h => (string)h!["name"]! == host.Name)!["models"]![0]!;
        Assert.Equal((3, 2, 0.25, 40, 30), ((int)model["running"]!, (int)model["waiting"]!, (double)model["kvCacheUsage"]!, (int)model["prefixCacheQueries"]!, (int)model["prefixCacheHits"]!));

        host.IsDraining = true;
        await other.DisposeAsync();
        await Until.TrueAsync(async () => (told = await http.GetStringAsync("/metrics")).Contains($"\nchat_host_up{{host=\"{other.Name}\"}} 0\n", StringComparison.Ordinal)
            && told.Contains($"\nchat_host_draining{{host=\"{host.Name}\"}} 1\n", StringComparison.Ordinal));
        Assert.DoesNotContain($"chat_host_num_requests_running{{host=\"{other.Name}\"}}", told, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_admin_loads_unloads_and_drains_hosts_through_the_gateway()
    {
        await using var host = await HostServer.StartAsync();
        await using var server = await ChatServer.StartAsync(Store.Garnet, mayLogErrors: true, settings: [("Hosts:Addresses:0", host.Address.OriginalString), ("Hosts:Key", HostServer.Key), ("Models:Folder", Path.Combine(AppContext.BaseDirectory, "Models"))]);
        using var http = server.Http();
        var hash = (string)JsonNode.Parse(await http.GetStringAsync("/api/models/m1"))!["model"]!["hash"]!;
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/health/ready")).StatusCode);

        Assert.Equal(HttpStatusCode.NoContent, (await http.PostAsync($"/api/models/m1/unload?host={host.Address.Authority}", null)).StatusCode);
        Assert.Equal(["m2"], JsonNode.Parse(await http.GetStringAsync("/api/models"))!.AsArray().Select(m => (string)m!["id"]!));
        Assert.False((bool)JsonNode.Parse(await http.GetStringAsync("/api/models/m1"))!["served"]!);
        Assert.Equal(HttpStatusCode.NotFound, (await http.PostAsync($"/api/models/m1/unload?host={host.Address.Authority}", null)).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await http.PostAsync($"/api/models/{hash}/load?host=nowhere", null)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await http.PostAsync($"/api/models/{hash}/load?host={host.Address.Authority}", null)).StatusCode);
        var details = JsonNode.Parse(await http.GetStringAsync("/api/models/m1"))!;
        Assert.Equal((true, host.Address.Authority), ((bool)details["served"]!, (string)details["hosts"]![0]!));

        await using var client = await server.ConnectAsync();
        Assert.Equal("finished", (await client.Send(await client.StartAsync(new { model = "m1" }), "m", "你好吗").AllAsync())[^1].Type);
        Assert.Equal(HttpStatusCode.NoContent, (await http.PostAsync($"/api/hosts/{host.Address.Authority}/drain", null)).StatusCode);
        Assert.True((bool)JsonNode.Parse(await http.GetStringAsync("/api/hosts"))![0]!["draining"]!);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await http.GetAsync("/health/ready")).StatusCode);
        var refused = await client.Send(await client.StartAsync(new { model = "m1" }), "m", "你好吗").AllAsync();
        Assert.Equal("error", refused[^1].Type);
        Assert.StartsWith("busy: No model host answers for 'm1' now.", refused[^1].Text);

        Assert.Equal(HttpStatusCode.NotFound, (await http.PostAsync("/api/hosts/nowhere/undrain", null)).StatusCode);
        Assert.Equal(HttpStatusCode.NoContent, (await http.PostAsync($"/api/hosts/{host.Address.Authority}/undrain", null)).StatusCode);
        Assert.False((bool)JsonNode.Parse(await http.GetStringAsync("/api/hosts"))![0]!["draining"]!);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/health/ready")).StatusCode);
        Assert.Equal("finished", (await client.Send(await client.StartAsync(new { model = "m1" }), "m", "你好吗").AllAsync())[^1].Type);
    }
}
