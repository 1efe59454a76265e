using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Chat.Api.Hosts;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using Grpc.Core;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Chat.IntegrationTests.Hosts;

/// <summary>A gateway's side of model hosts: routing, patience, and what becomes of a reply whose host fails.</summary>
public sealed class RemoteChatModelsTests : IAsyncLifetime
{
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));

    private readonly List<RemoteChatModels> gateways = [];
    private TaskCompletionSource heardThree = new();
    private FakeHost a = null!, b = null!;

    public async ValueTask InitializeAsync() => (a, b) = (await FakeHost.StartAsync(), await FakeHost.StartAsync());

    public async ValueTask DisposeAsync()
    {
        foreach (var gateway in gateways)
        {
            await gateway.StopAsync(CancellationToken.None);
            gateway.Dispose();
        }
        await a.DisposeAsync();
        await b.DisposeAsync();
    }

    [Fact]
    public async Task A_reply_is_what_the_host_says_and_options_are_spelled_out_before_they_travel()
    {
        var models = await StartAsync(a);

        var chunks = await HearAsync(models, Request() with { Tenant = "acme", Priority = 2 });

        Assert.Equal("abcdef", Text(chunks));
        Assert.Equal((3, new GenerationEnd(FinishReason.Length, 3, 6)), (chunks[0].PromptTokens, chunks[^1].End));
        var sent = Assert.Single(a.Requests);
        Assert.Equal(("m", "content-1", "acme", 2), (sent.Model, sent.ModelHash, sent.Tenant, sent.Priority));
        Assert.Equal((long)JsonNode.Parse(sent.Decoding)!["seed"]!, (long)models.Check("m", JsonNode.Parse(sent.Decoding)!.AsObject())["seed"]!);
        Assert.Equal("m", Assert.Single(models.Models).Id);
        Assert.Contains("Known: m", Assert.Throws<GenerationException>(() => models.Check("m9", null)).Message, StringComparison.Ordinal);
        Assert.Equal(GenerationError.TooLong, Assert.Throws<GenerationException>(() => models.Check("m", new() { ["maxTokens"] = 51 })).Error);
    }

    [Theory]
    [InlineData(StatusCode.Unavailable)]
    [InlineData(StatusCode.ResourceExhausted)]
    [InlineData(StatusCode.NotFound)]
    [InlineData(StatusCode.Internal)]
    public async Task A_host_that_fails_before_the_first_token_is_replaced_by_another(StatusCode status)
    {
        var (first, second) = await PreferredAsync();
        first.Before = (_, _) => throw new RpcException(new(status, "not me"));
        var models = await StartAsync(a, b);

        Assert.Equal("abcdef", Text(await HearAsync(models, Request())));
        Assert.Equal((1, 1), (first.Requests.Count, second.Requests.Count));
    }

    [Fact]
    public async Task A_host_that_says_nothing_is_left_for_another_and_hears_so()
    {
        var (first, second) = await PreferredAsync();
        var cancelled = new TaskCompletionSource();
        first.Before = async (_, context) =>
        {
            context.CancellationToken.Register(() => cancelled.TrySetResult());
            await Task.Delay(Timeout.Infinite, context.CancellationToken);
        };
        var models = await StartAsync(new HostsOptions { FirstTokenSeconds = 0.3 }, a, b);

        Assert.Equal("abcdef", Text(await HearAsync(models, Request())));
        await cancelled.Task.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Single(second.Requests);
    }

    [Fact]
    public async Task A_wrong_request_is_asked_once()
    {
        a.Before = b.Before = (_, _) => throw new RpcException(new(StatusCode.InvalidArgument, "emitted: 3 is not a token of a reply."), [new("chat-parameter", "emitted")]);
        var models = await StartAsync(a, b);

        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()));

        Assert.Equal((GenerationError.InvalidOption, "emitted", "emitted: 3 is not a token of a reply."), (error.Error, error.Parameter, error.Message));
        Assert.Equal(1, a.Requests.Count + b.Requests.Count);
    }

    [Fact]
    public async Task Where_all_are_busy_the_caller_hears_when_to_come_again()
    {
        a.Before = b.Before = (_, _) => throw new RpcException(new(StatusCode.ResourceExhausted, "The model has 9 requests waiting."), [new("chat-retry-after-ms", "7000")]);
        var models = await StartAsync(a, b);

        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()));

        Assert.Equal((GenerationError.Busy, TimeSpan.FromSeconds(7)), (error.Error, error.RetryAfter));
        Assert.Equal((1, 1), (a.Requests.Count, b.Requests.Count));
    }

    [Fact]
    public async Task A_reply_whose_host_dies_goes_on_at_another_behind_what_was_said()
    {
        var (first, second) = await PreferredAsync();
        DieWhenHeard(first);
        var models = await StartAsync(a, b);

        var chunks = await HearAsync(models, Request());

        Assert.Equal("abcdef", Text(chunks));
        Assert.Equal([10, 11, 12], Assert.Single(second.Requests).Emitted);
        Assert.Equal(Assert.Single(first.Requests).Decoding, Assert.Single(second.Requests).Decoding);
        Assert.Equal([3], chunks.Select(c => c.PromptTokens).OfType<int>());
    }

    [Fact]
    public async Task A_reply_of_a_strategy_that_cannot_go_on_ends_with_a_sentence()
    {
        var (first, second) = await PreferredAsync();
        DieWhenHeard(first);
        var models = await StartAsync(a, b);
        var heard = new List<GenerationChunk>();

        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request() with { Decoding = new() { ["strategy"] = "beam" } }, heard));

        Assert.Equal(("abc", GenerationError.Unavailable), (Text(heard), error.Error));
        Assert.Contains("'beam' cannot go on elsewhere", error.Message, StringComparison.Ordinal);
        Assert.Empty(second.Requests);
    }

    [Fact]
    public async Task A_reply_goes_on_only_where_the_same_content_is_served()
    {
        var (first, second) = await PreferredAsync();
        second.Hash = "content-0";     // of equal age: the other one is taken
        first.Hash = "content-+";
        DieWhenHeard(first);
        var models = await StartAsync(a, b);

        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()));

        Assert.Contains("No model host answers for 'm' now", error.Message, StringComparison.Ordinal);
        Assert.Empty(second.Requests);
    }

    [Fact]
    public async Task Cancelling_reaches_the_host()
    {
        var cancelled = new TaskCompletionSource();
        a.Before = async (place, context) =>
        {
            if (place < 2) return;
            context.CancellationToken.Register(() => cancelled.TrySetResult());
            await Task.Delay(Timeout.Infinite, context.CancellationToken);
        };
        var models = await StartAsync(a);
        using var cancel = new CancellationTokenSource();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var chunk in models.GenerateAsync(Request(), cancel.Token))
                if (chunk.Text == "b") await cancel.CancelAsync();
        });

        await cancelled.Task.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(0, Assert.Single(models.Hosts).Active);
    }

    [Fact]
    public async Task A_host_that_fails_again_and_again_is_not_asked_for_a_while()
    {
        a.Before = (_, _) => throw new RpcException(new(StatusCode.Unavailable, "no"));
        var models = await StartAsync(a);

        for (var i = 0; i < 6; i++) Assert.Equal(GenerationError.Unavailable, (await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()))).Error);

        Assert.InRange(a.Requests.Count, 3, 5);
    }

    [Fact]
    public async Task A_draining_host_gets_nothing_new()
    {
        var (first, second) = await PreferredAsync();
        first.IsDraining = true;
        var models = await StartAsync(a, b);

        await HearAsync(models, Request());

        Assert.Equal((0, 1), (first.Requests.Count, second.Requests.Count));
    }

    [Fact]
    public async Task What_begins_alike_goes_to_one_host_until_that_is_busier_than_its_share()
    {
        var (first, second) = await PreferredAsync();
        var models = await StartAsync(a, b);
        for (var i = 0; i < 3; i++)
            await HearAsync(models, Request() with { Messages = [.. Request().Messages, new(ChatRole.Assistant, "aye"), new(ChatRole.User, $"and {i}?")] });
        Assert.Equal((3, 0), (first.Requests.Count, second.Requests.Count));

        first.Active = 6;
        var later = await StartAsync(a, b);
        await HearAsync(later, Request());
        Assert.Equal((3, 1), (first.Requests.Count, second.Requests.Count));
    }

    [Fact]
    public async Task A_host_that_goes_away_leaves_its_models_known_and_is_found_again()
    {
        var models = await StartAsync(new HostsOptions { PollSeconds = 0.05 }, a);
        Assert.True(models.Answers("m"));
        await a.DisposeAsync();
        await Until.TrueAsync(() => !models.Answers("m"));

        Assert.Equal("m", Assert.Single(models.Models).Id);
        var error = await Assert.ThrowsAsync<GenerationException>(() => HearAsync(models, Request()));
        Assert.Equal((GenerationError.Unavailable, TimeSpan.FromSeconds(5)), (error.Error, error.RetryAfter));
    }

    [Fact]
    public async Task A_host_with_another_key_serves_nobody()
    {
        await using var host = await HostServer.StartAsync();
        var known = Gateway(new HostsOptions { Addresses = [host.Address.OriginalString], Key = HostServer.Key });
        var unknown = Gateway(new HostsOptions { Addresses = [host.Address.OriginalString], Key = "some other key, long enough" });

        await known.StartAsync(CancellationToken.None);
        await unknown.StartAsync(CancellationToken.None);

        Assert.Equal(["m1", "m2"], known.Models.Select(m => m.Id).Order());
        Assert.Empty(unknown.Models);
        Assert.Equal(GenerationError.Unavailable, Assert.Throws<GenerationException>(() => unknown.Check("m1", null)).Error);
        var own = (IChatModels)host.Services.GetService(typeof(IChatModels))!;
        var request = Request() with { Model = "m1", Messages = [new(ChatRole.User, "你好吗")], Decoding = new() { ["seed"] = 4, ["minTokens"] = 8, ["maxTokens"] = 8 } };
        Assert.Equal(Text(await HearAsync(own, request)), Text(await HearAsync(known, request)));
    }

    [Fact]
    public async Task A_second_host_is_asked_beside_one_that_is_slow_to_begin_and_the_loser_is_cancelled()
    {
        var (first, second) = await PreferredAsync();
        var cancelled = Silence(first);
        var clock = Clock();
        var models = await StartAsync(Hedging, clock, a, b);

        var hearing = HearAsync(models, Request() with { Decoding = new() { ["seed"] = 5 } });
        await Until.TrueAsync(() => first.Requests.Count == 1);
        Assert.Empty(second.Requests);
        var chunks = await AdvanceUntilAsync(clock, hearing);

        Assert.Equal("abcdef", Text(chunks));
        await cancelled.Task.WaitAsync(TimeSpan.FromSeconds(60));
        var (lost, won) = (Assert.Single(first.Requests), Assert.Single(second.Requests));
        Assert.Equal(lost, won);     // the same words, as the seed is the same
        Assert.All(models.Hosts, h => Assert.Equal(0, h.Active));
    }

    [Fact]
    public async Task The_first_host_may_win_the_race_and_a_second_one_that_fails_loses_it()
    {
        var (first, second) = await PreferredAsync();
        var mayBegin = new TaskCompletionSource();
        var cancelled = new TaskCompletionSource();
        first.Before = (_, _) => mayBegin.Task;
        var clock = Clock();
        var models = await StartAsync(Hedging, clock, a, b);
        foreach (var fails in new[] { false, true })
        {
            mayBegin = new();
            second.Requests.Clear();
            cancelled = Silence(second);
            if (fails) second.Before = (_, _) => throw new RpcException(new(StatusCode.Unavailable, "not me"));
            var hearing = HearAsync(models, Request());
            await AdvanceUntilAsync(clock, Until.TrueAsync(() => second.Requests.Count == 1));
            mayBegin.SetResult();
            Assert.Equal("abcdef", Text(await hearing));
            if (!fails) await cancelled.Task.WaitAsync(TimeSpan.FromSeconds(60));
        }
    }

    [Fact]
    public async Task A_reply_is_raced_once_and_not_at_all_unless_it_is_configured_or_begins_late()
    {
        await using var c = await FakeHost.StartAsync();
        FakeHost[] all = [a, b, c];
        foreach (var host in all) Silence(host);
        var clock = Clock();
        var models = await StartAsync(Hedging, clock, all);
        using var cancel = new CancellationTokenSource();

        var hearing = HearAsync(models, Request(), cancellation: cancel.Token);
        await AdvanceUntilAsync(clock, Until.TrueAsync(() => all.Sum(h => h.Requests.Count) == 2));
        for (var i = 0; i < 5; i++) clock.Advance(TimeSpan.FromSeconds(Hedging.HedgeAfterSeconds));
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => hearing);
        Assert.Equal(2, all.Sum(h => h.Requests.Count));
        Assert.All(models.Hosts, h => Assert.Equal(0, h.Active));

        foreach (var host in all) host.Before = (_, _) => Task.CompletedTask;
        Assert.Equal("abcdef", Text(await HearAsync(models, Request())));      // in time: the clock stands
        Assert.Equal(3, all.Sum(h => h.Requests.Count));

        var patient = await StartAsync(new HostsOptions(), clock, all);
        var mayBegin = new TaskCompletionSource();
        foreach (var host in all) host.Before = (_, _) => mayBegin.Task;
        hearing = HearAsync(patient, Request());
        await Until.TrueAsync(() => all.Sum(h => h.Requests.Count) == 4);
        clock.Advance(TimeSpan.FromSeconds(Hedging.HedgeAfterSeconds));
        mayBegin.SetResult();
        await hearing;
        Assert.Equal(4, all.Sum(h => h.Requests.Count));
    }

    [Fact]
    public async Task A_raced_reply_whose_host_dies_goes_on_where_nobody_was_asked_yet()
    {
        await using var c = await FakeHost.StartAsync();
        c.IsDraining = true;
        var (first, second) = await PreferredAsync();
        Silence(first);
        var clock = Clock();
        var models = await StartAsync(Hedging, clock, a, b, c);
        second.Before = async (place, context) =>
        {
            if (place < 3) return;
            await heardThree.Task;
            c.IsDraining = false;
            await Until.TrueAsync(() => models.Hosts.All(h => !h.IsDraining));
            context.GetHttpContext().Abort();
        };

        Assert.Equal("abcdef", Text(await AdvanceUntilAsync(clock, HearAsync(models, Request()))));
        Assert.Equal((1, 1), (first.Requests.Count, second.Requests.Count));
        Assert.Equal([10, 11, 12], Assert.Single(c.Requests).Emitted);
    }

    [Fact]
    public async Task Hosts_behind_a_name_come_and_go_with_its_addresses()
    {
        await using var c = await FakeHost.StartAsync($"http://127.0.0.2:{a.Address.Port}");
        IPAddress[] addresses = [IPAddress.Loopback];
        var asked = new List<string>();
        var models = Gateway(new HostsOptions { Dns = [$"http://hosts.test:{a.Address.Port}"], PollSeconds = 0.05, DnsSeconds = 0.05 }, resolve: (name, _) =>
        {
            asked.Add(name);
            return Task.FromResult(Volatile.Read(ref addresses));
        });
        await models.StartAsync(CancellationToken.None);
        Assert.Equal([a.Name], models.Hosts.Select(h => h.Name));

        // A reply is in its middle there when the address goes and another one comes.
        var mayEnd = new TaskCompletionSource();
        a.Before = (place, _) => place < 3 ? Task.CompletedTask : mayEnd.Task;
        var hearing = HearAsync(models, Request());
        await heardThree.Task.WaitAsync(TimeSpan.FromSeconds(60));
        Volatile.Write(ref addresses, [IPAddress.Parse("127.0.0.2")]);
        await Until.TrueAsync(() => models.Hosts.Any(h => h.Name == c.Name && h.IsUp) && models.Hosts.Single(h => h.Name == a.Name).IsLeaving);
        await HearAsync(models, Request());
        Assert.Equal((1, 1), (a.Requests.Count, c.Requests.Count));

        // Back before it was gone, and gone for good.
        Volatile.Write(ref addresses, [IPAddress.Loopback, IPAddress.Parse("127.0.0.2")]);
        await Until.TrueAsync(() => models.Hosts.All(h => !h.IsLeaving));
        Assert.Equal([a.Name, c.Name], models.Hosts.Select(h => h.Name));
        Volatile.Write(ref addresses, [IPAddress.Parse("127.0.0.2")]);
        await Until.TrueAsync(() => models.Hosts.Any(h => h.IsLeaving));
        mayEnd.SetResult();
        Assert.Equal("abcdef", Text(await hearing));
        await Until.TrueAsync(() => models.Hosts.Count == 1);
        Assert.Equal([c.Name], models.Hosts.Select(h => h.Name));
        Assert.All(asked, name => Assert.Equal("hosts.test", name));
    }

    [Fact]
    public async Task A_name_that_cannot_be_looked_up_keeps_its_hosts_beside_those_that_are_named()
    {
        var fails = false;
        var asked = 0;
        var models = Gateway(new HostsOptions { Dns = [$"http://hosts.test:{a.Address.Port}"], Addresses = [b.Address.OriginalString], PollSeconds = 0.05, DnsSeconds = 0.05 }, resolve: (_, _) =>
        {
            Interlocked.Increment(ref asked);
            return Volatile.Read(ref fails) ? throw new SocketException((int)SocketError.HostNotFound) : Task.FromResult<IPAddress[]>([IPAddress.Loopback]);
        });
        await models.StartAsync(CancellationToken.None);
        Volatile.Write(ref fails, true);
        var before = Volatile.Read(ref asked);
        await Until.TrueAsync(() => Volatile.Read(ref asked) > before + 2);

        Assert.Equal([a.Name, b.Name], models.Hosts.Select(h => h.Name).OrderBy(n => n != a.Name));
        Assert.All(models.Hosts, h => Assert.False(h.IsLeaving));
        Assert.Equal("abcdef", Text(await HearAsync(models, Request())));
    }

    private static readonly HostsOptions Hedging = new() { HedgeAfterSeconds = 2, FirstTokenSeconds = 86_400 };

    /// <summary>A clock that stands unless it is moved. gRPC's deadlines are of the real one.</summary>
    private static FakeTimeProvider Clock() => new(TimeProvider.System.GetUtcNow());

    /// <summary>The host says nothing until it is cancelled.</summary>
    private static TaskCompletionSource Silence(FakeHost host)
    {
        var cancelled = new TaskCompletionSource();
        host.Before = async (_, context) =>
        {
            context.CancellationToken.Register(() => cancelled.TrySetResult());
            await Task.Delay(Timeout.Infinite, context.CancellationToken);
        };
        return cancelled;
    }

    /// <summary>Moves the clock on by what a race waits for, again and again, since nobody sees when the waiting begins.</summary>
    private static async Task<T> AdvanceUntilAsync<T>(FakeTimeProvider clock, Task<T> task)
    {
        await AdvanceUntilAsync(clock, (Task)task);
        return await task;
    }

    private static async Task AdvanceUntilAsync(FakeTimeProvider clock, Task task)
    {
        await Until.TrueAsync(() =>
        {
            clock.Advance(TimeSpan.FromSeconds(Hedging.HedgeAfterSeconds));
            return task.IsCompleted;
        });
        await task;
    }

    /// <summary>The host that <see cref="Request"/> prefers, and the other one.</summary>
    private async Task<(FakeHost First, FakeHost Second)> PreferredAsync()
    {
        await HearAsync(await StartAsync(a, b), Request());
        var pair = a.Requests.IsEmpty ? (b, a) : (a, b);
        a.Requests.Clear();
        b.Requests.Clear();
        heardThree = new();
        return pair;
    }

    /// <summary>The host's connection breaks when the caller has heard three letters.</summary>
    private void DieWhenHeard(FakeHost host) => host.Before = async (place, context) =>
    {
        if (place < 3) return;
        await heardThree.Task;
        context.GetHttpContext().Abort();
    };

    private Task<RemoteChatModels> StartAsync(params FakeHost[] hosts) => StartAsync(new HostsOptions(), hosts);

    private Task<RemoteChatModels> StartAsync(HostsOptions options, params FakeHost[] hosts) => StartAsync(options, TimeProvider.System, hosts);

    private async Task<RemoteChatModels> StartAsync(HostsOptions options, TimeProvider time, params FakeHost[] hosts)
    {
        var gateway = Gateway(options with { Addresses = [.. hosts.Select(h => h.Address.OriginalString)] }, time);
        await gateway.StartAsync(CancellationToken.None);
        return gateway;
    }

    private RemoteChatModels Gateway(HostsOptions options, TimeProvider? time = null, Func<string, CancellationToken, Task<IPAddress[]>>? resolve = null)
    {
        var gateway = new RemoteChatModels(options, new(), Catalog, null, time ?? TimeProvider.System, NullLogger<RemoteChatModels>.Instance, resolve);
        gateways.Add(gateway);
        return gateway;
    }

    private static GenerationRequest Request() => new() { RequestId = "r", Model = "m", Messages = [new(ChatRole.System, "Be brief."), new(ChatRole.User, "Who is there?")] };

    private async Task<List<GenerationChunk>> HearAsync(IChatModels models, GenerationRequest request, List<GenerationChunk>? heard = null, CancellationToken cancellation = default)
    {
        heard ??= [];
        await foreach (var chunk in models.GenerateAsync(request, cancellation))
        {
            heard.Add(chunk);
            if (heard.Count == 3) heardThree.TrySetResult();
        }
        return heard;
    }

    private static string Text(IEnumerable<GenerationChunk> chunks) => string.Concat(chunks.Select(c => c.Text));
}
