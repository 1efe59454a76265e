using StackExchange.Redis;

namespace Chat.Api.Store;

/// <summary>
/// The beat that all replies of this process keep: what they write behind their first words is due at the same moments, and scripts of one moment go to the store as one
/// pipeline, so that sixty-four replies cost one timer and one write. Each has its own answer, and one that fails or is late delays nobody else. Who waits for a beat or an
/// answer goes on on the beat's thread, one after the other, so nothing there may block. Thread-safe.
/// </summary>
/// <param name="interval">Between two beats that few replies wait for; none when it is zero.</param>
internal sealed class ReplyBeat : IDisposable
{
    // Answers that come within this time of each other go on together.
    private static readonly TimeSpan Together = TimeSpan.FromMilliseconds(50);

    // A beat that is overdue; others join it meanwhile.
    private static readonly TimeSpan Soon = TimeSpan.FromMilliseconds(1);

    // A beat costs something for each reply: with more than the first of these on it, it comes as many times later, at most the second.
    private const double Crowd = 16, Widest = 2;

    private readonly StoreConnection connection;
    private readonly TimeSpan interval;
    private readonly TimeProvider time;
    private readonly ITimer timer;
    private readonly Lock sync = new();
    private TaskCompletionSource beat = new();
    private List<Call> waiting = [];
    private int replies, lastReplies;
    private long lastBeat;
    private bool isArmed, isBeating, isSending;

    public ReplyBeat(StoreConnection connection, TimeSpan interval, TimeProvider time)
    {
        (this.connection, this.interval, this.time) = (connection, interval, time);
        timer = time.CreateTimer(_ => Beat(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>A script on its way, and its answer.</summary>
    private sealed class Call(string script, RedisKey[] keys, RedisValue[] values) : TaskCompletionSource<RedisResult>
    {
        public Task<RedisResult> On(IDatabaseAsync store) => store.ScriptEvaluateAsync(script, keys, values);
    }

    /// <summary>Completes at the next beat.</summary>
    public Task NextAsync()
    {
        if (interval <= TimeSpan.Zero) return Task.CompletedTask;
        lock (sync)
        {
            replies++;
            if (!isArmed)
            {
                isArmed = true;
                var wait = interval * Math.Clamp(lastReplies / Crowd, 1, Widest) - time.GetElapsedTime(lastBeat);
                timer.Change(wait > Soon ? wait : Soon, Timeout.InfiniteTimeSpan);
            }
            return beat.Task;
        }
    }

    /// <summary>Runs a script that may be sent twice: at the end of a beat, else at once, with whatever else is waiting. Outlasts a restart of the store.</summary>
    /// <exception cref="Domain.Conversations.ChatException"><c>busy</c>: the store stayed away for a minute.</exception>
    public Task<RedisResult> EvaluateAsync(string script, RedisKey[] keys, RedisValue[] values)
    {
        var call = new Call(script, keys, values);
        lock (sync)
        {
            waiting.Add(call);
            if (isBeating || isSending) return call.Task;
            isSending = true;
        }
        ThreadPool.UnsafeQueueUserWorkItem(static beat => _ = beat.SendAsync(), this, preferLocal: false);
        return call.Task;
    }

    public void Dispose() => timer.Dispose();

    private void Beat()
    {
        TaskCompletionSource due;
        lock (sync)
        {
            (due, beat, lastBeat) = (beat, new(), time.GetTimestamp());
            (isArmed, isBeating, lastReplies, replies) = (false, true, replies, 0);
        }
        due.SetResult();
        lock (sync) isBeating = false;
        _ = SendAsync();
    }

    private async Task SendAsync()
    {
        List<Call> calls;
        lock (sync)
        {
            (calls, waiting) = (waiting, []);
            isSending = false;
        }
        if (calls.Count == 0) return;
        List<Task<RedisResult>> answers = [];
        try
        {
            var batch = connection.Batch();
            answers = calls.ConvertAll(call => call.On(batch));
            batch.Execute();
        }
        catch (RedisException) when (answers.Count > 0) { }     // every answer says so
        catch (Exception e)                                     // the connection is closed: nobody may wait for ever
        {
            foreach (var call in calls) call.SetException(e);
            return;
        }
        await Task.WhenAll((IEnumerable<Task>)answers).WaitAsync(Together, time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        for (var i = 0; i < calls.Count; i++) _ = AnswerAsync(calls[i], answers[i]);
    }

    private async Task AnswerAsync(Call call, Task<RedisResult> answer)
    {
        try { call.SetResult(await connection.EndureAsync(call.On, answer)); }
        catch (Exception e) { call.SetException(e); }
    }
}
