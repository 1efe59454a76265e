using System.Diagnostics.Metrics;
using Chat.Api.Hosts;
using Chat.Domain.Generation;
using Grpc.Core;
using Microsoft.Extensions.Time.Testing;

namespace Chat.IntegrationTests.Hosts;

/// <summary>A second host that is asked beside a slow one.</summary>
public sealed class HedgingTests : TwoHosts
{
    private readonly MeterListener listener = new();
    private readonly List<string> outcomes = [];

    public HedgingTests()
    {
        listener.InstrumentPublished = (instrument, l) => { if (instrument.Name == "chat_hedges_total") l.EnableMeasurementEvents(instrument); };
        listener.SetMeasurementEventCallback<long>((_, count, tags, _) => outcomes.AddRange(Enumerable.Repeat((string)tags[0].Value!, (int)count)));
        listener.Start();
    }

    public override ValueTask DisposeAsync()
    {
        listener.Dispose();
        return base.DisposeAsync();
    }

    [Fact]
    public async Task A_second_host_is_asked_beside_one_that_is_slow_to_begin_and_the_loser_is_cancelled()
    {
        var (first, second) = await PreferredAsync();
        var cancelled = Silence(first);
        var clock = Clock();
        var models = await StartAsync(Hedging, clock, A, B);

        var hearing = HearAsync(models, Request() with { Decoding = new() { ["seed"] = 5 } });
        await Until.TrueAsync(() => first.Requests.Count == 1);
        Assert.Empty(second.Requests);
        var chunks = await AdvanceUntilAsync(clock, hearing);

        Assert.Equal("abcdef", Text(chunks));
        await cancelled.Task.WaitAsync(TimeSpan.FromSeconds(60));
        var (lost, won) = (Assert.Single(first.Requests), Assert.Single(second.Requests));
        Assert.Equal(lost, won);     // the same words, as the seed is the same
        Assert.Equal(["won"], outcomes);
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
        var models = await StartAsync(Hedging, clock, A, B);
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
        Assert.Equal(["lost", "lost"], outcomes);
    }

    [Fact]
    public async Task A_reply_is_raced_once_and_not_at_all_unless_it_is_configured_or_begins_late()
    {
        await using var c = await FakeHost.StartAsync();
        FakeHost[] all = [A, B, c];
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
        Assert.Equal(["abort"], outcomes);
    }

    [Fact]
    public async Task A_raced_reply_whose_host_dies_goes_on_where_nobody_was_asked_yet()
    {
        await using var c = await FakeHost.StartAsync();
        c.IsDraining = true;
        var (first, second) = await PreferredAsync();
        Silence(first);
        var clock = Clock();
        var models = await StartAsync(Hedging, clock, A, B, c);
        second.Before = async (place, context) =>
        {
            if (place < 3) return;
            await HeardThree.Task;
            c.IsDraining = false;
            await Until.TrueAsync(() => models.Hosts.All(h => !h.IsDraining));
            context.GetHttpContext().Abort();
        };

        Assert.Equal("abcdef", Text(await AdvanceUntilAsync(clock, HearAsync(models, Request()))));
        Assert.Equal((1, 1), (first.Requests.Count, second.Requests.Count));
        Assert.Equal([10, 11, 12], Assert.Single(c.Requests).Emitted);
        Assert.Equal(["won"], outcomes);
    }

    [Fact]
    public async Task Where_neither_begins_the_race_has_failed()
    {
        var (first, second) = await PreferredAsync();
        var mayFail = new TaskCompletionSource();
        first.Before = second.Before = async (_, _) =>
        {
            await mayFail.Task;
            throw new RpcException(new(StatusCode.Unavailable, "not me"));
        };
        var clock = Clock();
        var models = await StartAsync(Hedging, clock, A, B);

        var hearing = HearAsync(models, Request());
        await AdvanceUntilAsync(clock, Until.TrueAsync(() => second.Requests.Count == 1));
        mayFail.SetResult();

        Assert.Equal(GenerationError.Unavailable, (await Assert.ThrowsAsync<GenerationException>(() => hearing)).Error);
        Assert.Equal(["failed"], outcomes);
    }

    private static readonly HostsOptions Hedging = new() { HedgeAfterSeconds = 2, FirstTokenSeconds = 86_400 };

    /// <summary>A clock that stands unless it is moved. gRPC's deadlines are of the real one.</summary>
    private static FakeTimeProvider Clock() => new(TimeProvider.System.GetUtcNow());

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
}
