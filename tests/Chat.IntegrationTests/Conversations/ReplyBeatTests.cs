using Chat.Api.Store;
using Microsoft.Extensions.Time.Testing;
using StackExchange.Redis;

namespace Chat.IntegrationTests.Conversations;

/// <summary>Scripts that go to the store together.</summary>
public sealed class ReplyBeatTests
{
    private const string Push = "return redis.call('RPUSH', KEYS[1], ARGV[1])";

    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(10), Limit = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task One_that_fails_harms_no_other()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var connection = StoreConnection.Open(redis.Configuration, isEmbedded: false, TimeProvider.System);
        using var beat = new ReplyBeat(connection, Interval, TimeProvider.System);

        await beat.NextAsync();
        var good = beat.EvaluateAsync(Push, ["a"], ["words"]);
        var bad = beat.EvaluateAsync("return redis.call('RPUSH', KEYS[1])", ["b"], []);
        var late = beat.EvaluateAsync(Push, ["c"], ["words"]);

        Assert.Equal(1, (int)await good.WaitAsync(Limit));
        await Assert.ThrowsAsync<RedisServerException>(() => bad.WaitAsync(Limit));
        Assert.Equal(1, (int)await late.WaitAsync(Limit));
    }

    [Fact]
    public async Task A_closed_connection_lets_nobody_wait()
    {
        await using var redis = await RedisServer.StartAsync();
        var connection = StoreConnection.Open(redis.Configuration, isEmbedded: false, TimeProvider.System);
        using var beat = new ReplyBeat(connection, Interval, TimeProvider.System);
        await connection.DisposeAsync();

        await Assert.ThrowsAnyAsync<Exception>(() => beat.EvaluateAsync(Push, ["a"], ["words"]).WaitAsync(TimeSpan.FromMinutes(2)));
    }

    [Fact]
    public async Task Calls_that_meet_no_store_wait_for_it()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var connection = StoreConnection.Open(redis.Configuration, isEmbedded: false, TimeProvider.System);
        using var beat = new ReplyBeat(connection, Interval, TimeProvider.System);

        redis.Kill();
        var calls = Enumerable.Range(0, 5).Select(i => beat.EvaluateAsync(Push, [$"{i}"], ["words"])).ToArray();
        await redis.RestartAsync();

        Assert.All(await Task.WhenAll(calls), answer => Assert.Equal(1, (int)answer));
    }

    [Fact]
    public async Task Everybody_waits_for_the_same_beat_and_two_beats_are_an_interval_apart()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var connection = StoreConnection.Open(redis.Configuration, isEmbedded: false, TimeProvider.System);
        var time = new FakeTimeProvider();
        using var beat = new ReplyBeat(connection, Interval, time);
        time.Advance(TimeSpan.FromMinutes(1));

        // Nobody waited for a minute: the first beat is overdue.
        var (first, same) = (beat.NextAsync(), beat.NextAsync());
        time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.True(first.IsCompleted && same.IsCompleted);
        var second = beat.NextAsync();
        time.Advance(Interval / 2);
        Assert.False(second.IsCompleted);
        time.Advance(Interval / 2);
        Assert.True(second.IsCompleted);
    }

    [Theory]
    [InlineData(16, 1)]
    [InlineData(24, 1.5)]
    [InlineData(64, 2)]
    public async Task A_beat_of_many_replies_comes_later(int replies, double intervals)
    {
        await using var redis = await RedisServer.StartAsync();
        await using var connection = StoreConnection.Open(redis.Configuration, isEmbedded: false, TimeProvider.System);
        var time = new FakeTimeProvider();
        using var beat = new ReplyBeat(connection, Interval, time);
        time.Advance(TimeSpan.FromMinutes(1));

        for (var reply = 0; reply < replies; reply++) _ = beat.NextAsync();
        time.Advance(TimeSpan.FromMilliseconds(1));
        var next = beat.NextAsync();
        time.Advance(Interval * intervals - TimeSpan.FromMilliseconds(1));
        Assert.False(next.IsCompleted);
        time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.True(next.IsCompleted);
    }
}
