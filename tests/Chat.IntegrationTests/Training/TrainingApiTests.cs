using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Chat.Domain.Training;
using StackExchange.Redis;

namespace Chat.IntegrationTests.Training;

/// <summary>/api/training/jobs without a worker, and the queue's rules as its scripts keep them.</summary>
public sealed class TrainingApiTests
{
    [Theory, InlineData(Store.Garnet), InlineData(Store.Redis)]
    public async Task A_job_that_nobody_is_at_is_cancelled_resumed_and_deleted_at_once(Store store)
    {
        await using var server = await ChatServer.StartAsync(store);
        using var http = server.Http();
        using var made = await http.PostAsJsonAsync("/api/training/jobs", new { recipe = TrainingBench.Recipe("tiny") });
        Assert.Equal(HttpStatusCode.Created, made.StatusCode);
        var job = JsonNode.Parse(await made.Content.ReadAsStringAsync())!;
        var address = $"/api/training/jobs/{job["id"]}";
        Assert.Equal((address, "queued", "tiny", "anonymous", true, true), (made.Headers.Location!.OriginalString, (string)job["state"]!, (string)job["name"]!, (string)job["submittedBy"]!, (bool)job["evaluate"]!, (bool)job["register"]!));
        Assert.True(JsonNode.DeepEquals(TrainingBench.Recipe("tiny"), JsonNode.Parse(await http.GetStringAsync(address))!["recipe"]));
        var listed = Assert.Single(JsonNode.Parse(await http.GetStringAsync("/api/training/jobs"))!.AsArray());
        Assert.Null(listed!["recipe"]);

        foreach (var _ in new[] { 1, 2 }) Assert.Equal("cancelled", await StateAsync(await http.PostAsync(address + "/cancel", null)));
        foreach (var _ in new[] { 1, 2 }) Assert.Equal("queued", await StateAsync(await http.PostAsync(address + "/resume", null)));
        Assert.Equal(HttpStatusCode.NoContent, (await http.DeleteAsync(address)).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await http.GetAsync(address)).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await http.DeleteAsync(address)).StatusCode);
        Assert.Equal("[]", await http.GetStringAsync("/api/training/jobs"));
        Assert.Equal(["chat:training:{jobs}:numbers"], await server.KeysAsync("chat:training:*"));
    }

    public static TheoryData<string, string> Bad { get; } = new()
    {
        { """{}""", "'recipe' is missing" },
        { """{"recipe":[1]}""", "'recipe' is missing" },
        { """{"recipe":{"name":"a\ud800"}}""", "half a surrogate pair" },
        { """{"recipe":{"name":".."}}""", "recipe.name is 1 to 64" },
        { """{"recipe":{"name":"../up"}}""", "recipe.name is 1 to 64" },
        { """{"recipe":{"name":"a","seed":-1}}""", "recipe.seed" },
        { """{"recipe":{"name":"a","seed":1,"stages":[]}}""", "recipe.stages" },
        { """{"recipe":{"name":"a","seed":1,"stages":[{"name":"s","method":"kd","steps":0}]}}""", "recipe.stages[0].steps" },
        { """{"recipe":{"name":"a","seed":1,"stages":[{"name":"s","steps":1}]}}""", "recipe.stages[0].method" },
        { """{"recipe":{"name":"a","seed":1,"stages":[{"name":"s","method":"kds","steps":1}]}}""", "no method or objective 'kds'. Known: kd." },
        { """{"recipe":{"name":"a","seed":1,"stages":[{"name":"s","method":"kd","steps":1}]}}""", "recipe.card.id" },
        { """{"recipe":{"name":"a","seed":1,"stages":[{"name":"s","method":"kd","steps":1}]},"register":false,"evaluate":true}""", "'evaluate' needs 'register'" },
    };

    [Fact]
    public async Task A_recipe_that_cannot_be_one_is_refused_with_what_is_wrong()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: ("Limits:Enabled", "false"));
        await using (var store = await server.OpenStoreAsync()) await store.GetDatabase().StringSetAsync(TrainingStore.Plugins, """[{"kind":"objective","name":"kd","summary":""}]""");
        using var http = server.Http();

        foreach (var (body, problem) in Bad.Select(row => row.Data))
        {
            using var answer = await http.PostAsync("/api/training/jobs", new StringContent(body, Encoding.UTF8, "application/json"));
            var text = await answer.Content.ReadAsStringAsync();
            Assert.True(answer.StatusCode == HttpStatusCode.BadRequest, $"{body}: {answer.StatusCode} {text}");
            Assert.Equal("invalid", (string?)JsonNode.Parse(text)!["code"]);
            Assert.Contains(problem, (string)JsonNode.Parse(text)!["detail"]!, StringComparison.Ordinal);
        }
        using (var twice = await http.PostAsync("/api/training/jobs", new StringContent("""{"recipe":{"name":"a","name":"b"}}""", Encoding.UTF8, "application/json"))) Assert.Equal(HttpStatusCode.BadRequest, twice.StatusCode);
        var large = TrainingBench.Recipe("large");
        large["heldOut"] = new string('x', 300_000);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, (await http.PostAsJsonAsync("/api/training/jobs", new { recipe = large })).StatusCode);
        foreach (var path in new[] { "?limit=0", "?limit=201" }) Assert.Equal(HttpStatusCode.BadRequest, (await http.GetAsync("/api/training/jobs" + path)).StatusCode);
        Assert.Equal("[]", await http.GetStringAsync("/api/training/jobs"));
    }

    [Fact]
    public async Task Only_the_tenants_admins_see_and_change_its_jobs()
    {
        await using var server = await ChatServer.StartAsync(Store.Garnet, settings: [("Limits:Enabled", "false"), .. Tokens.Settings]);
        using var owner = server.Http(Tokens.For("ops", tenant: "acme", role: "admin"));
        using var user = server.Http(Tokens.For("ann", tenant: "acme"));
        using var stranger = server.Http(Tokens.For("ops", tenant: "other", role: "admin"));
        using var nobody = server.Http("no-token");
        using var made = await owner.PostAsJsonAsync("/api/training/jobs", new { recipe = TrainingBench.Recipe("tiny") });
        var id = (string)JsonNode.Parse(await made.Content.ReadAsStringAsync())!["id"]!;

        foreach (var (method, path) in new[] { ("GET", ""), ("POST", ""), ("GET", "/" + id), ("GET", $"/{id}/events"), ("POST", $"/{id}/cancel"), ("POST", $"/{id}/resume"), ("DELETE", "/" + id) })
        {
            Task<HttpResponseMessage> Ask(HttpClient http) => http.SendAsync(new(new(method), "/api/training/jobs" + path) { Content = method == "POST" && path == "" ? JsonContent.Create(new { recipe = TrainingBench.Recipe("mine") }) : null });
            Assert.Equal(HttpStatusCode.Unauthorized, (await Ask(nobody)).StatusCode);
            Assert.Equal(HttpStatusCode.Forbidden, (await Ask(user)).StatusCode);
            if (path != "") Assert.Equal(await TextAsync(await stranger.GetAsync("/api/training/jobs/unknown")), await TextAsync(await Ask(stranger)));
        }
        Assert.Equal("[]", await stranger.GetStringAsync("/api/training/jobs"));
        Assert.Equal("queued", (string)JsonNode.Parse(await owner.GetStringAsync($"/api/training/jobs/{id}"))!["state"]!);
    }

    [Theory, InlineData(Store.Garnet), InlineData(Store.Redis)]
    public async Task A_tenant_that_has_as_many_jobs_as_it_may_leaves_room_for_the_others(Store store)
    {
        await using var server = await ChatServer.StartAsync(store, settings: [("Limits:Enabled", "false"), ("Training:JobsPerTenant", "5"), .. Tokens.Settings]);
        using HttpClient one = server.Http(Tokens.For("ops", tenant: "acme", role: "admin")), same = server.Http(Tokens.For("boss", tenant: "acme", role: "admin")), other = server.Http(Tokens.For("ops", tenant: "other", role: "admin"));
        Task<HttpResponseMessage> Submit(HttpClient http, int number) => http.PostAsJsonAsync("/api/training/jobs", new { recipe = TrainingBench.Recipe($"r{number}") });

        // All at once, by two operators of the tenant.
        var answers = await Task.WhenAll(Enumerable.Range(0, 40).Select(i => Submit(i % 2 == 0 ? one : same, i)));

        Assert.Equal(5, answers.Count(a => a.StatusCode == HttpStatusCode.Created));
        foreach (var refused in answers.Where(a => a.StatusCode != HttpStatusCode.Created))
        {
            var problem = JsonNode.Parse(await refused.Content.ReadAsStringAsync())!;
            Assert.Equal((HttpStatusCode.Conflict, "conflict", "Your tenant has 5 training jobs, as many as it may have (Training:JobsPerTenant); delete some that have ended."), (refused.StatusCode, (string)problem["code"]!, (string)problem["detail"]!));
        }
        var jobs = JsonNode.Parse(await one.GetStringAsync("/api/training/jobs"))!.AsArray();
        Assert.Equal(5, jobs.Count);
        Assert.Equal(HttpStatusCode.Created, (await Submit(other, 0)).StatusCode);

        // What has ended counts until it is deleted.
        Assert.Equal("cancelled", await StateAsync(await one.PostAsync($"/api/training/jobs/{jobs[0]!["id"]}/cancel", null)));
        Assert.Equal(HttpStatusCode.Conflict, (await Submit(one, 40)).StatusCode);
        Assert.Equal(HttpStatusCode.NoContent, (await one.DeleteAsync($"/api/training/jobs/{jobs[0]!["id"]}")).StatusCode);
        Assert.Equal([HttpStatusCode.Conflict, HttpStatusCode.Created], (await Task.WhenAll(Submit(one, 41), Submit(same, 42))).Select(a => a.StatusCode).OrderDescending());
    }

    [Theory, InlineData(Store.Garnet), InlineData(Store.Redis)]
    public async Task A_submission_that_is_sent_twice_counts_once_and_there_is_a_limit_for_all(Store store)
    {
        await using var server = await ChatServer.StartAsync(store);
        await using var connection = await server.OpenStoreAsync();
        var db = connection.GetDatabase();
        async Task<string?> SubmitAsync(string id, string tenant) => (string?)await db.ScriptEvaluateAsync(TrainingStore.Submit, [.. TrainingStore.Keys.Select(key => (RedisKey)key)], [id, "{}", 3, tenant, 2]);

        foreach (var _ in new[] { 1, 2, 3 }) Assert.Equal("ok", await SubmitAsync("a", "acme"));
        Assert.Equal("ok", await SubmitAsync("b", "acme"));
        Assert.Equal("ok", await SubmitAsync("b", "acme"));
        Assert.Equal("tenant", await SubmitAsync("c", "acme"));
        Assert.Equal("ok", await SubmitAsync("c", ""));
        Assert.Equal("full", await SubmitAsync("d", ""));
    }

    [Theory, InlineData(Store.Garnet), InlineData(Store.Redis)]
    public async Task Who_lost_a_job_can_neither_renew_nor_end_it_and_one_that_kills_its_workers_is_given_up(Store store)
    {
        await using var server = await ChatServer.StartAsync(store);
        await using var connection = await server.OpenStoreAsync();
        var db = connection.GetDatabase();
        using var http = server.Http();
        using var made = await http.PostAsJsonAsync("/api/training/jobs", new { recipe = TrainingBench.Recipe("tiny") });
        var id = (string)JsonNode.Parse(await made.Content.ReadAsStringAsync())!["id"]!;
        const string Told = """{"phase":"train","at":"2030-01-01T00:00:00+00:00","step":7}""", Ended = """{"at":"2030-01-01T00:00:00+00:00","error":"given up"}""";
        async Task<string[]> TakeAsync(string worker, string device = "d", int lease = 60_000) => (string[])(await RunAsync(TrainingStore.Take, worker, device, lease, TrainingStore.MostAttempts, Ended))!;
        async Task<string?> BeatAsync(string fence, int saved = 0) => (string?)await RunAsync(TrainingStore.Beat, id, fence, 60_000, Told, saved);
        async Task<string?> EndAsync(string fence, string state, string end = "") => (string?)await RunAsync(TrainingStore.End, id, fence, state, Told, end, "", "");

        // Taken, renewed, asked for again by the same worker, and by nobody else on any device.
        Assert.Equal([id, "1"], (await TakeAsync("a"))[..2]);
        Assert.Equal([id, "1"], (await TakeAsync("a"))[..2]);
        Assert.Equal("ok", await BeatAsync("1"));
        Assert.Empty(await TakeAsync("b"));
        Assert.Empty(await TakeAsync("b", device: "e"));
        var job = JsonNode.Parse(await http.GetStringAsync($"/api/training/jobs/{id}"))!;
        Assert.Equal(("running", "a", "d", 7), ((string)job["state"]!, (string)job["worker"]!, (string)job["device"]!, (int)job["progress"]!["step"]!));
        Assert.Equal(HttpStatusCode.Conflict, (await http.DeleteAsync($"/api/training/jobs/{id}")).StatusCode);

        // Cancelled while somebody is at it: told with the next sign of life; given back to the queue it is cancelled all the same.
        Assert.Equal("cancelling", await StateAsync(await http.PostAsync($"/api/training/jobs/{id}/cancel", null)));
        Assert.Equal(HttpStatusCode.Conflict, (await http.PostAsync($"/api/training/jobs/{id}/resume", null)).StatusCode);
        Assert.Equal("cancel", await BeatAsync("1"));
        Assert.Equal("ok", await EndAsync("1", "queued"));
        Assert.Equal("cancelled", (string)JsonNode.Parse(await http.GetStringAsync($"/api/training/jobs/{id}"))!["state"]!);
        Assert.Empty(await TakeAsync("a"));
        await http.PostAsync($"/api/training/jobs/{id}/resume", null);

        // Each holder is silent for longer than its lease.
        for (var attempt = 1; attempt <= TrainingStore.MostAttempts; attempt++)
        {
            string[] taken = [];
            await Until.TrueAsync(async () => (taken = await TakeAsync($"w{attempt}", lease: 1)).Length > 0);
            Assert.Equal($"{attempt + 1}", taken[1]);
            if (attempt > 1) Assert.Equal(("lost", "lost"), (await BeatAsync($"{attempt}"), await EndAsync($"{attempt}", "finished", Ended)));
        }
        await Until.TrueAsync(async () => (await TakeAsync("z")).Length == 0 && (string)JsonNode.Parse(await http.GetStringAsync($"/api/training/jobs/{id}"))!["state"]! == "failed");
        Assert.Equal("given up", (string?)JsonNode.Parse(await http.GetStringAsync($"/api/training/jobs/{id}"))!["error"]);

        // A new checkpoint is a new beginning for the count, and what has ended is over.
        await http.PostAsync($"/api/training/jobs/{id}/resume", null);
        for (var attempt = 1; attempt <= 2 * TrainingStore.MostAttempts; attempt++)
        {
            string[] taken = [];
            await Until.TrueAsync(async () => (taken = await TakeAsync($"v{attempt}", lease: 1)).Length > 0);
            Assert.Equal("ok", (string?)await RunAsync(TrainingStore.Beat, id, taken[1], 1, Told, attempt * 10));
        }
        string[] last = [];
        await Until.TrueAsync(async () => (last = await TakeAsync("last")).Length > 0);
        foreach (var _ in new[] { 1, 2 }) Assert.Equal("ok", await EndAsync(last[1], "finished", """{"at":"2030-01-01T00:00:00+00:00","model":"f00d"}"""));
        Assert.Equal("f00d", (string?)JsonNode.Parse(await http.GetStringAsync($"/api/training/jobs/{id}"))!["model"]);
        foreach (var verb in new[] { "cancel", "resume" }) Assert.Equal(HttpStatusCode.Conflict, (await http.PostAsync($"/api/training/jobs/{id}/{verb}", null)).StatusCode);

        Task<RedisResult> RunAsync(string script, params RedisValue[] arguments) => db.ScriptEvaluateAsync(script, [.. TrainingStore.Keys.Select(key => (RedisKey)key)], arguments);
    }

    private static async Task<string?> StateAsync(HttpResponseMessage answer)
    {
        using (answer) return (string?)JsonNode.Parse(await TextAsync(answer))!["state"];
    }

    private static async Task<string> TextAsync(HttpResponseMessage answer) => System.Text.RegularExpressions.Regex.Replace(await answer.Content.ReadAsStringAsync(), "\"traceId\":\"[^\"]*\"", "");
}
