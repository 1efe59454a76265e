using Chat.Api.Hosts;

namespace Chat.IntegrationTests.Hosts;

public sealed class HostWorkTests
{
    [Fact]
    public async Task A_limit_that_fires_after_the_work_is_over_harms_nobody()
    {
        var time = new LateTime();
        var work = new HostWork(time);

        Assert.Equal(0, await work.IdleAsync(null, TimeSpan.FromSeconds(1), TestContext.Current.CancellationToken));

        Assert.NotEmpty(time.Callbacks);
        foreach (var fire in time.Callbacks) fire();
    }

    [Fact]
    public async Task What_still_runs_when_the_time_is_over_is_counted()
    {
        var time = new LateTime();
        var work = new HostWork(time);
        using var request = work.Begin("m");

        var idle = work.IdleAsync("m", TimeSpan.FromSeconds(1), TestContext.Current.CancellationToken);
        Assert.False(idle.IsCompleted);
        foreach (var fire in time.Callbacks) fire();

        Assert.Equal(1, await idle);
    }

    /// <summary>A clock whose timers fire when a test says so, disposed or not: as a real one's do whose callback had begun.</summary>
    private sealed class LateTime : TimeProvider
    {
        public List<Action> Callbacks { get; } = [];

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Callbacks.Add(() => callback(state));
            return new Timer();
        }

        private sealed class Timer : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose() { }

            public ValueTask DisposeAsync() => default;
        }
    }
}
