using System.Collections.Concurrent;
using Chat.Api.Store;
using Chat.Domain.Conversations;

namespace Chat.Api.Conversations;

/// <summary>Section <c>Replies</c>.</summary>
internal sealed class ReplySettings
{
    /// <summary>Deltas behind the first are at least this far apart.</summary>
    public int CoalesceMs { get; set; } = 10;

    /// <summary>A reply that nobody reads, on any gateway, is stopped after this.</summary>
    public double NoReaderSeconds { get; set; } = 60;

    public TimeSpan Coalesce => TimeSpan.FromMilliseconds(CoalesceMs);
    public TimeSpan NoReader => TimeSpan.FromSeconds(NoReaderSeconds);
}

/// <summary>
/// The replies that this process writes. Listens for stops from elsewhere, ends what a dead process left running, and ends its own cleanly at
/// shutdown. Thread-safe.
/// </summary>
internal sealed class RunningReplies(ReplyLog log, IHostApplicationLifetime life, TimeProvider time, ILogger<RunningReplies> logger) : IHostedService
{
    private readonly ConcurrentDictionary<string, (RunningReply Reply, Task Writing)> replies = new();
    private Task mending = Task.CompletedTask;
    private volatile bool isShuttingDown;

    public RunningReply? Find(string reply) => replies.TryGetValue(reply, out var running) ? running.Reply : null;

    public int CountOf(Caller caller) => replies.Values.Count(r => r.Reply.Owner == caller && !r.Reply.IsOver);

    /// <exception cref="ChatException"><c>busy</c>: the server is going down.</exception>
    public void RefuseWhenShuttingDown()
    {
        if (isShuttingDown) throw new ChatException(ChatError.Busy, "The server is shutting down. Try again in 5 seconds.") { RetryAfter = TimeSpan.FromSeconds(5) };
    }

    /// <summary>Runs a writer apart from any connection.</summary>
    public void Run(RunningReply reply, Func<Task> write)
    {
        var begin = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var writing = RunAsync();
        replies[reply.Id] = (reply, writing);
        begin.SetResult();
        if (isShuttingDown) reply.End(EarlyEnd.ShuttingDown);

        async Task RunAsync()
        {
            await begin.Task;
            try { await write(); }
            catch (Exception e) { logger.LogError(e, "Reply {Reply}: its writer failed.", reply.Id); }
            finally
            {
                replies.TryRemove(reply.Id, out _);
                reply.Dispose();
            }
        }
    }

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var stops = await log.FollowStopsAsync();
        stops.OnMessage(message => Find((string)message.Message!)?.End(EarlyEnd.Stopped));
        mending = MendAsync();
    }

    /// <summary>A lease outlives its process, so the replies of one that has just died are found only when that time is over.</summary>
    private async Task MendAsync()
    {
        try
        {
            for (var look = 1; look <= 2; look++)
            {
                foreach (var (conversation, reply) in await log.RunningAsync())
                    if (Find(reply) is null) await log.MendRunningAsync(conversation, reply);
                await Task.Delay(ReplyLog.LeaseTime + TimeSpan.FromSeconds(1), time, life.ApplicationStopping);
            }
        }
        catch (ChatException e) { logger.LogWarning(e, "What a dead process left running could not be ended; it is when it is read."); }
        catch (OperationCanceledException) { }
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        isShuttingDown = true;
        await mending;
        var running = replies.Values.ToArray();
        foreach (var (reply, _) in running) reply.End(EarlyEnd.ShuttingDown);
        await Task.WhenAll(running.Select(r => r.Writing)).WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }
}
