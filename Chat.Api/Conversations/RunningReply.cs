using System.Runtime.CompilerServices;
using Chat.Domain.Conversations;
using Chat.Api.Store;

namespace Chat.Api.Conversations;

/// <summary>Why a reply ends before its model is done.</summary>
internal enum EarlyEnd { None, Stopped, ShuttingDown, Lost }

/// <summary>
/// A reply that this process writes: the events appended so far, for readers in this process, and the wish to end it. One writer, any number of
/// readers, each at its own pace. Thread-safe.
/// </summary>
internal sealed class RunningReply(Caller owner, WriterLease lease, Turn turn, ChatEvent started, TimeProvider time) : IDisposable
{
    private readonly Lock sync = new();
    private readonly List<ChatEvent> events = [started];
    private readonly CancellationTokenSource ending = new();
    private TaskCompletionSource changed = NewSignal();
    private int readers;
    private long lastReader = time.GetTimestamp();
    private bool isOver;

    public Caller Owner => owner;
    public WriterLease Lease => lease;
    public string Id => lease.Reply;

    /// <summary>The turn as it was stored when the reply began.</summary>
    public Turn Turn => turn;

    public EarlyEnd EarlyEnd { get; private set; }

    /// <summary>Fires when <see cref="EarlyEnd"/> is set.</summary>
    public CancellationToken Ending => ending.Token;

    /// <summary>Its last event is there, or comes from another process: whoever has read it may ask the next thing, though the writer has still to tidy up.</summary>
    public bool IsOver { get { lock (sync) return isOver || events[^1].IsTerminal(); } }

    public int EventCount { get { lock (sync) return events.Count; } }

    /// <summary>What was shown so far.</summary>
    public string Text { get { lock (sync) return ReplyLog.TextOf(events); } }

    public TimeSpan TimeWithoutReader { get { lock (sync) return readers > 0 ? TimeSpan.Zero : time.GetElapsedTime(lastReader); } }

    /// <summary>The first reason wins.</summary>
    public void End(EarlyEnd reason)
    {
        lock (sync)
        {
            if (isOver || EarlyEnd != EarlyEnd.None) return;
            EarlyEnd = reason;
        }
        ending.Cancel();
    }

    /// <summary>Shows appended events to the readers.</summary>
    public void Show(IEnumerable<ChatEvent> appended)
    {
        lock (sync) events.AddRange(appended);
        Signal();
    }

    /// <summary>Nothing more comes from this process. Readers go on in the store if the last event was not terminal.</summary>
    public void Close()
    {
        lock (sync) isOver = true;
        Signal();
    }

    /// <summary>The events behind a sequence, until the last; the enumeration ends without a terminal event when another process took over.</summary>
    public async IAsyncEnumerable<ChatEvent> ReadAsync(long after, [EnumeratorCancellation] CancellationToken cancellation)
    {
        lock (sync) readers++;
        try
        {
            var next = (int)Math.Min(after, int.MaxValue);
            if (next > EventCount) yield break;
            for (; ; )
            {
                ChatEvent? current = null;
                Task wait;
                lock (sync)
                {
                    if (next < events.Count) current = events[next++];
                    else if (isOver) yield break;
                    wait = changed.Task;
                }
                if (current is null) await wait.WaitAsync(cancellation);
                else yield return current;
            }
        }
        finally
        {
            lock (sync)
            {
                readers--;
                lastReader = time.GetTimestamp();
            }
            Signal();
        }
    }

    /// <summary>Waits until the readers of this process have passed on all there is, so that nothing trails behind an answered Stop.</summary>
    public async Task DrainedAsync(TimeSpan limit)
    {
        using var timeout = new CancellationTokenSource(limit, time);
        try
        {
            for (; ; )
            {
                Task wait;
                lock (sync)
                {
                    if (isOver && readers == 0) return;
                    wait = changed.Task;
                }
                await wait.WaitAsync(timeout.Token);
            }
        }
        catch (OperationCanceledException) { }     // a reader that does not read must not hold up the one who stops
    }

    public void Dispose() => ending.Dispose();

    private void Signal()
    {
        TaskCompletionSource signal;
        lock (sync) (signal, changed) = (changed, NewSignal());
        signal.SetResult();
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
