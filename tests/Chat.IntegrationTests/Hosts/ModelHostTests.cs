using System.Net;
using System.Text.Json.Nodes;
using Chat.Api.Hosts;
using Chat.Api.Hosts.Wire;
using Chat.Domain.Generation;
using Grpc.Core;
using Grpc.Health.V1;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Chat.IntegrationTests.Hosts;

/// <summary>model_host.proto on the wire, with a client that knows nothing but the file.</summary>
[Collection("counts")]      // one process, one meter: classes that read or move it run one after the other
public sealed class ModelHostTests
{
    [Fact]
    public void All_that_decides_a_reply_and_its_turn_travels()
    {
        var request = new GenerationRequest
        {
            RequestId = "r", Model = "m1", Messages = [new(ChatRole.User, "你好吗")], Decoding = new() { ["seed"] = 5 }, Emitted = [7, 8], Index = 2, TopLogprobs = 3, Tenant = "acme", Priority = -1, CancelMeansAbort = true,
        };

        var read = WireForms.Read(WireForms.Write(request, "hash"));

        Assert.Equal(request.Messages, read.Messages);
        Assert.Equal(request.Emitted, read.Emitted);
        Assert.Equal(request.Decoding.ToJsonString(), read.Decoding!.ToJsonString());
        Assert.Equal(request, read with { Messages = request.Messages, Emitted = request.Emitted, Decoding = request.Decoding });
    }

    [Fact]
    public async Task A_reply_over_the_wire_is_the_models_reply_and_goes_on_behind_an_emitted_prefix()
    {
        await using var host = await HostServer.StartAsync();
        var asked = Request("m1", """{"strategy":"sample","seed":5,"minTokens":12,"maxTokens":12}""");
        asked.TopLogprobs = 2;
        var generation = new GenerationRequest { RequestId = "r", Model = "m1", Messages = [new(ChatRole.User, "你好吗")], Decoding = JsonNode.Parse(asked.Decoding)!.AsObject(), TopLogprobs = 2 };

        var heard = await HearAsync(host, asked);
        var expected = new List<GenerationChunk>();
        await foreach (var chunk in host.Services.GetRequiredService<IChatModels>().GenerateAsync(generation, CancellationToken.None)) expected.Add(chunk);

        Assert.Equal(string.Concat(expected.Select(c => c.Text)), Text(heard));
        Assert.Equal(expected.SelectMany(c => c.Tokens).Select(Told), heard.SelectMany(c => WireForms.Read(c).Tokens).Select(Told));
        Assert.All(heard.SelectMany(c => c.Tokens), t => Assert.Equal(2, t.Top.Count));
        Assert.Equal((heard[^1].End.PromptTokens, 12), (heard[0].PromptTokens, heard[^1].End.CompletionTokens));
        Assert.All(heard.SkipLast(1), c => Assert.Null(c.End));

        int[] ids = [.. heard.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id)];
        asked.Emitted.AddRange(ids[..5]);
        var rest = await HearAsync(host, asked);
        Assert.Equal(ids[5..], rest.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id));
        Assert.Equal(heard[^1].End, rest[^1].End);

        static string Told(Domain.Generation.EmittedToken token) =>
            string.Join(' ', token.Top.Prepend(token.Chosen).Select(t => $"{t.Id} {Convert.ToHexString(t.Bytes.Span)} {t.Logprob:R}"));
    }

    [Theory]
    [InlineData("model", "m9", StatusCode.NotFound, "Known: m1, m2")]
    [InlineData("decoding", "[]", StatusCode.InvalidArgument, "decoding must be a JSON object")]
    [InlineData("decoding", "{", StatusCode.InvalidArgument, "decoding is no JSON")]
    [InlineData("decoding", """{"strategy":"beem"}""", StatusCode.InvalidArgument, "No decoding strategy 'beem'")]
    [InlineData("decoding", """{"topK":1,"topK":2}""", StatusCode.InvalidArgument, "stands twice")]
    [InlineData("decoding", """{"maxTokens":100000}""", StatusCode.OutOfRange, "more than this model can write")]
    [InlineData("emitted", "-1", StatusCode.InvalidArgument, "is not a token of a reply")]
    [InlineData("index", "-1", StatusCode.InvalidArgument, "index must not be negative")]
    [InlineData("top", "101", StatusCode.InvalidArgument, "topLogprobs must be from 0")]
    [InlineData("role", "17", StatusCode.InvalidArgument, "there is no role 17")]
    [InlineData("messages", "", StatusCode.InvalidArgument, "")]
    [InlineData("hash", "ab", StatusCode.FailedPrecondition, "is served here with the content")]
    public async Task A_wrong_request_gets_a_status_and_a_sentence(string field, string value, StatusCode status, string sentence)
    {
        await using var host = await HostServer.StartAsync();
        var request = Request("m1", """{"maxTokens":4}""");
        switch (field)
        {
            case "model": request.Model = value; break;
            case "decoding": request.Decoding = value; break;
            case "emitted": request.Emitted.Add(-1); break;
            case "index": request.Index = -1; break;
            case "top": request.TopLogprobs = 101; break;
            case "role": request.Messages[0].Role = (Role)17; break;
            case "messages": request.Messages.Clear(); break;
            case "hash": request.ModelHash = value; break;
        }

        var error = await Assert.ThrowsAsync<RpcException>(() => HearAsync(host, request));

        Assert.Equal(status, error.StatusCode);
        Assert.Contains(sentence, error.Status.Detail, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error.Status.Detail, StringComparison.Ordinal);
        Assert.NotEmpty(await HearAsync(host, Request("m1", """{"maxTokens":2}""")));
    }

    [Fact]
    public async Task A_message_above_the_limit_is_refused()
    {
        await using var host = await HostServer.StartAsync();
        var request = Request("m1", "");
        request.Messages[0].Text = new('x', WireForms.LargestMessage + 1);

        var error = await Assert.ThrowsAsync<RpcException>(() => HearAsync(host, request));

        Assert.Equal(StatusCode.ResourceExhausted, error.StatusCode);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("Bearer another key of many letters")]
    public async Task Who_does_not_know_the_key_is_refused_at_every_call(string? authorization)
    {
        await using var host = await HostServer.StartAsync();
        var headers = new Metadata();
        if (authorization is not null) headers.Add("authorization", authorization);

        Func<Task>[] calls =
        [
            () => host.Client.StatusAsync(new(), headers).ResponseAsync,
            () => host.Client.LoadAsync(new() { Hash = "x" }, headers).ResponseAsync,
            () => host.Client.UnloadAsync(new() { Model = "m1" }, headers).ResponseAsync,
            () => host.Client.DrainAsync(new(), headers).ResponseAsync,
            () => host.Client.UndrainAsync(new(), headers).ResponseAsync,
            () => HearAsync(host, Request("m1", ""), headers),
            () => host.Client.Score(new(), headers).ResponseStream.MoveNext(CancellationToken.None),
            () => host.Client.Draw(new(), headers).ResponseStream.MoveNext(CancellationToken.None),
            () => host.Client.Vocabulary(new(), headers).ResponseStream.MoveNext(CancellationToken.None),
        ];

        foreach (var call in calls) Assert.Equal(StatusCode.Unauthenticated, (await Assert.ThrowsAsync<RpcException>(call)).StatusCode);
        Assert.Equal(2, (await host.Client.StatusAsync(new(), HostServer.KeyHeader)).Models.Count);
    }

    [Theory]
    [InlineData("Hosts:Key", null, "Hosts:Key must be set, or Hosts:Tls")]
    [InlineData("Hosts:Key", "short", "at least 16 characters")]
    [InlineData("Hosts:Listen", "localhost:5090", "takes the form http://localhost:5090")]
    [InlineData("Hosts:DrainSeconds", "0", "must be above 0")]
    public void A_wrong_setting_fails_the_start(string key, string? value, string sentence)
    {
        var builder = WebApplication.CreateBuilder(new WebApplicationOptions { EnvironmentName = Environments.Production });
        builder.Configuration.AddInMemoryCollection([new("Hosts:Key", HostServer.Key)]).AddInMemoryCollection([new(key, value)]);

        Assert.Contains(sentence, Assert.Throws<InvalidOperationException>(() => ModelHostRole.Compose(builder)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Models_are_loaded_and_unloaded_by_content()
    {
        await using var host = await HostServer.StartAsync();
        var status = await host.Client.StatusAsync(new(), HostServer.KeyHeader);
        var m1 = Assert.Single(status.Models, m => m.Id == "m1");

        Assert.Equal(0, (await host.Client.UnloadAsync(new() { Model = "m1" }, HostServer.KeyHeader)).BrokenOff);
        Assert.Equal(["m2"], (await host.Client.StatusAsync(new(), HostServer.KeyHeader)).Models.Select(m => m.Id));
        Assert.Equal(StatusCode.NotFound, (await Assert.ThrowsAsync<RpcException>(() => HearAsync(host, Request("m1", "")))).StatusCode);
        Assert.Equal(StatusCode.NotFound, (await Assert.ThrowsAsync<RpcException>(async () => await host.Client.UnloadAsync(new() { Model = "m1" }, HostServer.KeyHeader))).StatusCode);

        Assert.Equal(m1, await host.Client.LoadAsync(new() { Hash = m1.Hash }, HostServer.KeyHeader));
        Assert.Equal(m1, await host.Client.LoadAsync(new() { Hash = m1.Hash }, HostServer.KeyHeader));
        Assert.NotEmpty(await HearAsync(host, Request("m1", """{"maxTokens":2}""")));
        Assert.Equal(StatusCode.NotFound, (await Assert.ThrowsAsync<RpcException>(async () => await host.Client.LoadAsync(new() { Hash = new('0', 64) }, HostServer.KeyHeader))).StatusCode);
        Assert.Equal(StatusCode.InvalidArgument, (await Assert.ThrowsAsync<RpcException>(async () => await host.Client.LoadAsync(new() { Hash = "../m1" }, HostServer.KeyHeader))).StatusCode);
    }

    [Fact]
    public async Task A_drained_host_ends_what_runs_takes_nothing_new_and_is_not_ready()
    {
        await using var host = await HostServer.StartAsync();
        var health = new Health.HealthClient(host.Channel);
        using var http = new HttpClient { BaseAddress = host.HttpAddress };
        Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, (await health.CheckAsync(new())).Status);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/health/ready")).StatusCode);

        using var running = host.Client.Generate(Request("m1", """{"strategy":"greedy","minTokens":60,"maxTokens":60}"""), HostServer.KeyHeader);
        Assert.True(await running.ResponseStream.MoveNext(CancellationToken.None));
        var drained = host.Client.DrainAsync(new() { WaitSeconds = 60 }, HostServer.KeyHeader);
        var last = running.ResponseStream.Current;
        await foreach (var chunk in running.ResponseStream.ReadAllAsync()) last = chunk;

        Assert.Equal(60, last.End.CompletionTokens);
        Assert.Equal(0, (await drained).Active);
        Assert.True((await host.Client.StatusAsync(new(), HostServer.KeyHeader)).Draining);
        Assert.Equal(StatusCode.Unavailable, (await Assert.ThrowsAsync<RpcException>(() => HearAsync(host, Request("m1", "")))).StatusCode);
        Assert.Equal(HealthCheckResponse.Types.ServingStatus.NotServing, (await health.CheckAsync(new())).Status);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await http.GetAsync("/health/ready")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/health/live")).StatusCode);

        await host.Client.UndrainAsync(new(), HostServer.KeyHeader);
        Assert.False((await host.Client.StatusAsync(new(), HostServer.KeyHeader)).Draining);
        Assert.NotEmpty(await HearAsync(host, Request("m1", """{"maxTokens":2}""")));
        Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, (await health.CheckAsync(new())).Status);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync("/health/ready")).StatusCode);
    }

    [Fact]
    public async Task A_host_tells_what_its_engine_is_at()
    {
        await using var host = await HostServer.StartAsync();
        Assert.Equal(new EngineStatus(), await LoadAsync());

        // The second one reads the beginning that the first one left.
        foreach (var _ in new[] { 1, 2 }) Assert.NotEmpty(await HearAsync(host, Request("m1", """{"strategy":"greedy","maxTokens":4}""")));
        var told = await LoadAsync();
        Assert.InRange(told.PrefixCacheHits, 1, told.PrefixCacheQueries - 1);
        Assert.InRange(told.KvCacheUsage, 0, 1);
        await Until.TrueAsync(async () => await LoadAsync() is { Running: 0, Waiting: 0 });

        async Task<EngineStatus> LoadAsync() => (await host.Client.StatusAsync(new(), HostServer.KeyHeader)).Models.Single(m => m.Id == "m1").Load;
    }

    [Fact]
    public async Task A_cancelled_call_frees_the_host_and_its_figures_are_at_metrics()
    {
        await using var host = await HostServer.StartAsync();
        using var running = host.Client.Generate(Request("m1", """{"strategy":"greedy","minTokens":60,"maxTokens":60}"""), HostServer.KeyHeader);
        Assert.True(await running.ResponseStream.MoveNext(CancellationToken.None));
        running.Dispose();

        await Until.TrueAsync(async () => (await host.Client.StatusAsync(new(), HostServer.KeyHeader)).Models.All(m => m.Active == 0));
        using var http = new HttpClient { BaseAddress = host.HttpAddress };
        var figures = await http.GetStringAsync("/metrics");
        foreach (var name in new[] { "num_requests_running", "generation_tokens_total", "time_to_first_token_seconds_count" }) Assert.Contains($"\nchat_{name}", figures, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_scored_reply_has_a_distribution_at_each_place()
    {
        await using var host = await HostServer.StartAsync();
        var heard = await HearAsync(host, Request("m1", """{"strategy":"greedy","minTokens":6,"maxTokens":6,"noRepeatNgram":0,"repetitionPenalty":1}"""));
        var wish = new ScoreRequest { Model = "m1", Full = true };
        wish.Context.AddRange([5, 6, 7]);
        wish.Reply.AddRange(heard.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id));

        var full = await ScoreAsync(host, wish);
        wish.Top = 4;
        var top = await ScoreAsync(host, wish);
        wish.Sampled = new() { Draws = 200, Seed = 3 };
        var sampled = await ScoreAsync(host, wish);

        Assert.Equal((6, 6, 6), (full.Count, top.Count, sampled.Count));
        for (var i = 0; i < 6; i++)
        {
            Assert.Equal(1, full[i].Logprobs.Sum(p => Math.Exp(p)), 4);
            Assert.Equal(full[i].Logprob, full[i].Logprobs[wish.Reply[i]]);
            Assert.Equal(full[i].Logprobs.Select((p, id) => (p, id)).OrderByDescending(p => p.p).ThenBy(p => p.id).Take(4).Select(p => p.id), top[i].Ids);
            Assert.Equal(1, top[i].Logprobs.Append(top[i].Tail).Sum(p => Math.Exp(p)), 4);
            Assert.Equal(200, sampled[i].Ids.Count);
            Assert.All(sampled[i].Ids.Zip(sampled[i].Logprobs), pair => Assert.Equal(full[i].Logprobs[pair.First], pair.Second, 4));
        }
    }

    [Theory]
    [InlineData("context", StatusCode.InvalidArgument)]
    [InlineData("reply", StatusCode.InvalidArgument)]
    [InlineData("id", StatusCode.InvalidArgument)]
    [InlineData("top", StatusCode.InvalidArgument)]
    [InlineData("long", StatusCode.OutOfRange)]
    public async Task What_cannot_be_scored_is_refused(string what, StatusCode status)
    {
        await using var host = await HostServer.StartAsync();
        var wish = new ScoreRequest { Model = "m1", Top = what == "top" ? -1 : 1 };
        if (what != "context") wish.Context.Add(what == "id" ? 1_000_000 : 5);
        if (what != "reply") wish.Reply.AddRange(Enumerable.Repeat(6, what == "long" ? 5000 : 1));

        Assert.Equal(status, (await Assert.ThrowsAsync<RpcException>(() => ScoreAsync(host, wish))).StatusCode);
    }

    [Theory]
    [InlineData("context", StatusCode.InvalidArgument)]
    [InlineData("id", StatusCode.InvalidArgument)]
    [InlineData("none", StatusCode.InvalidArgument)]
    [InlineData("temperature", StatusCode.InvalidArgument)]
    [InlineData("long", StatusCode.OutOfRange)]
    [InlineData("hash", StatusCode.FailedPrecondition)]
    public async Task What_cannot_be_drawn_is_refused(string what, StatusCode status)
    {
        await using var host = await HostServer.StartAsync();
        var wish = new DrawRequest { Model = "m1", MaxTokens = what == "none" ? 0 : what == "long" ? 5000 : 4, Temperature = what == "temperature" ? -1 : 0, ModelHash = what == "hash" ? "another" : "" };
        if (what != "context") wish.Context.Add(what == "id" ? 1_000_000 : 5);
        using var call = host.Client.Draw(wish, HostServer.KeyHeader);

        Assert.Equal(status, (await Assert.ThrowsAsync<RpcException>(() => call.ResponseStream.MoveNext(CancellationToken.None))).StatusCode);
    }

    private static GenerateRequest Request(string model, string decoding)
    {
        var request = new GenerateRequest { RequestId = "r", Model = model, Decoding = decoding };
        request.Messages.Add(new Message { Role = Role.User, Text = "你好吗" });
        return request;
    }

    private static async Task<List<GenerateChunk>> HearAsync(HostServer host, GenerateRequest request, Metadata? headers = null)
    {
        using var call = host.Client.Generate(request, headers ?? HostServer.KeyHeader);
        var chunks = new List<GenerateChunk>();
        await foreach (var chunk in call.ResponseStream.ReadAllAsync()) chunks.Add(chunk);
        return chunks;
    }

    private static async Task<List<ScoredToken>> ScoreAsync(HostServer host, ScoreRequest wish)
    {
        using var call = host.Client.Score(wish, HostServer.KeyHeader);
        var scored = new List<ScoredToken>();
        await foreach (var one in call.ResponseStream.ReadAllAsync()) scored.Add(one);
        return scored;
    }

    private static string Text(IEnumerable<GenerateChunk> chunks) => string.Concat(chunks.Select(c => c.Text));
}
