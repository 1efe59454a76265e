using System.Runtime.InteropServices;
using Chat.Domain.Generation;

namespace Chat.Models.Engine;

/// <summary>
/// Who is at the model: lets requests in whose turn it is by the <see cref="Scheduler"/> while the runner has rows and memory for them, says whom each step serves, sets back
/// who has to make room, and sees everybody out. A request that is set back keeps its search and the tokens of its hypotheses, which are read again later. Equal prompts
/// that come together are read once. <see cref="Submit"/> and <see cref="Load"/> are thread-safe, all else is for the thread that owns the runner.
/// </summary>
public sealed class Seating(Scheduler scheduler, EngineOptions options, TimeProvider time)
{
    private const int RoomToGoOn = 16;
    private double meanSeconds = 1;
    private long prefixQueries, prefixHits;

    /// <summary>Thread-safe. The share of the cache is not known here.</summary>
    public EngineLoad Load => new(scheduler.Running.Count, scheduler.Waiting, 0, Interlocked.Read(ref prefixQueries), Interlocked.Read(ref prefixHits));

    /// <summary>Thread-safe.</summary>
    /// <exception cref="GenerationException">The queue is full.</exception>
    public void Submit(Sequence sequence)
    {
        if (!scheduler.TryEnqueue(sequence))
        {
            var seconds = Math.Clamp(meanSeconds * scheduler.Waiting / options.Rows, 1, 60);
            throw new GenerationException(GenerationError.Busy, $"The model has {scheduler.Waiting} requests waiting. Try again in {seconds:0} seconds.") { RetryAfter = TimeSpan.FromSeconds(Math.Round(seconds)) };
        }
        ChatMeter.RequestsWaiting.Add(1);
    }

    /// <summary>Ends requests that were given up, waiting or running.</summary>
    public void EndCancelled(IRunner runner)
    {
        foreach (var sequence in scheduler.RemoveCancelled().Concat(scheduler.Running.Where(s => s.IsCancelled)))
            End(runner, sequence, sequence.WasStopped ? "stopped" : "abort", new OperationCanceledException());
    }

    /// <summary>Lets requests in, as long as this step could begin to read their prompts.</summary>
    public bool Admit(IRunner runner)
    {
        var hasAdmitted = false;
        while (scheduler.Running.Sum(s => s.Due) < options.PrefillTokens && scheduler.Next(HasRoom) is { } next)
        {
            if (!TryPlace(runner, next)) break;
            hasAdmitted = true;
        }
        return hasAdmitted;
    }

    /// <summary>Gives a request rows, and memory for its whole prompt beside what others still have to read; weaker ones make room.</summary>
    /// <returns><c>false</c> when it has to wait.</returns>
    private bool TryPlace(IRunner runner, Sequence next)
    {
        if (scheduler.VictimsFor(next) is not { } victims) return false;
        while (!scheduler.TryAdmit(next)) Preempt(runner, victims.Dequeue());
        ChatMeter.RequestsWaiting.Add(-1);
        ChatMeter.RequestsRunning.Add(1);
        next.IsReading = true;
        for (var i = 0; i < next.Live.Count; i++) next.Live[i] = next.Live[i] with { Row = next.Rows[i] };
        next.Leader = scheduler.Running.FirstOrDefault(other => other != next && ReadsThePromptOf(other, next));
        if (next.Leader is null && !TryOpen(runner, next)) return true;
        while (!Fits(runner))
        {
            if (victims.TryDequeue(out var victim)) Preempt(runner, victim);
            else if (scheduler.Running.Count > 1)
            {
                PutBack(runner, next);
                return false;
            }
            else
            {
                FailForMemory(runner, next);
                return true;
            }
        }
        if (next.Leader is null) CountPrefix(next);
        if (next.HasStarted) return true;
        next.HasStarted = true;
        ChatMeter.QueueTime.Record(time.GetElapsedTime(next.Arrived).TotalSeconds);
        if (next.CountsPrompt) ChatMeter.PromptTokens.Add(next.Context.Length);
        return true;
    }

    private static bool ReadsThePromptOf(Sequence other, Sequence next) => other is { IsReading: true, Leader: null, Live: [{ Reply: null }] } && next is { Live: [{ Reply: null }] }
        && other.Context.AsSpan().SequenceEqual(next.Context) && other.Emitted.AsSpan().SequenceEqual(next.Emitted);

    private bool TryOpen(IRunner runner, Sequence sequence)
    {
        try { sequence.Due = runner.Open(sequence.Prompt()); }
        catch (Exception error)
        {
            Fail(runner, [sequence], error);
            return false;
        }
        return true;
    }

    private void CountPrefix(Sequence sequence)
    {
        var tokens = sequence.Context.Length + sequence.Emitted.Length;
        var found = Math.Max(0, tokens - sequence.Due);
        ChatMeter.PrefixCacheQueries.Add(tokens);
        ChatMeter.PrefixCacheHits.Add(found);
        Interlocked.Add(ref prefixQueries, tokens);
        Interlocked.Add(ref prefixHits, found);
    }

    /// <summary>Whether memory suffices for all that is still to be read, and some tokens for each that answers, so that nobody is let in only to be set back.</summary>
    private bool Fits(IRunner runner)
    {
        var feeds = new List<RowTokens>();
        foreach (var sequence in scheduler.Running)
            if (!sequence.IsReading) AddLive(feeds, sequence, RoomToGoOn);
            else if (sequence.Due > 0) feeds.Add(new(sequence.Live[sequence.Read].Row, sequence.Due));
        return runner.Fits(CollectionsMarshal.AsSpan(feeds));
    }

    private static void AddLive(List<RowTokens> feeds, Sequence sequence, int tokens)
    {
        foreach (var (row, _) in sequence.Live) feeds.Add(new(row, tokens));
    }

    /// <summary>What to read and whom to decode in this step. Those who run beyond the memory make room, the weakest first.</summary>
    public (List<Sequence> Readers, List<RowTokens> Parts, List<Sequence> Active) Plan(IRunner runner)
    {
        while (true)
        {
            var running = scheduler.Running;
            foreach (var sequence in running.Where(s => s is { IsReading: true, Leader.IsReading: false } || (s.Leader is { } leader && !running.Contains(leader)))) sequence.Leader = null;
            foreach (var sequence in running)
                if (sequence is { IsReading: true, Leader: null, Due: 0 }) TryOpen(runner, sequence);
            running = scheduler.Running;

            var (readers, parts, active) = (new List<Sequence>(), new List<RowTokens>(), running.Where(s => !s.IsReading && HasRoom(s)).ToList());
            var left = options.PrefillTokens;
            foreach (var sequence in running.Where(s => s is { IsReading: true, Leader: null }).OrderByDescending(s => s.Priority))
            {
                var tokens = runner.ReadsInParts ? Math.Min(sequence.Due, left) : sequence.Due;
                if (left == 0 || (tokens > left && parts.Count > 0)) break;
                readers.Add(sequence);
                parts.Add(new(sequence.Live[sequence.Read].Row, tokens));
                left = Math.Max(0, left - tokens);
            }
            var feeds = parts.ToList();
            foreach (var sequence in active) AddLive(feeds, sequence, 1);
            if (runner.Fits(CollectionsMarshal.AsSpan(feeds))) return (readers, parts, active);
            if (scheduler.Victim() is { } victim) Preempt(runner, victim);
            else FailForMemory(runner, running[0]);
        }
    }

    /// <summary>Ends requests at which the model failed.</summary>
    public void Fail(IRunner runner, IReadOnlyList<Sequence> sequences, Exception error)
    {
        options.OnFailure(error);
        foreach (var sequence in sequences)
            End(runner, sequence, "error", new GenerationException(GenerationError.Unavailable, "The model failed while it answered.", inner: error));
    }

    /// <summary>Sees a request out, running or waiting, and frees what it held.</summary>
    /// <param name="reason">As metrics name it.</param>
    /// <param name="error">What its reader is told; <c>null</c> for a reply that is whole.</param>
    public void End(IRunner runner, Sequence sequence, string reason, Exception? error)
    {
        var ran = scheduler.Release(sequence);
        (ran ? ChatMeter.RequestsRunning : ChatMeter.RequestsWaiting).Add(-1);
        ChatMeter.Ended(reason);
        var seconds = time.GetElapsedTime(sequence.Arrived).TotalSeconds;
        ChatMeter.RequestLatency.Record(seconds);
        meanSeconds = 0.9 * meanSeconds + 0.1 * seconds;
        if (ran)
        {
            EndGuessing(sequence);
            Free(runner, sequence.Rows);
        }
        sequence.Complete(error);
    }

    /// <summary>Ends everybody, for a model that is gone or in an unknown state; what it holds is freed as far as it can be.</summary>
    public void FailAll(string reason, IRunner? runner = null)
    {
        if (runner is not null) Free(runner, Enumerable.Range(0, options.Rows));
        foreach (var sequence in scheduler.Clear())
        {
            ChatMeter.Ended("error");
            (sequence.Rows.Length > 0 ? ChatMeter.RequestsRunning : ChatMeter.RequestsWaiting).Add(-1);
            sequence.Complete(new GenerationException(GenerationError.Unavailable, reason));
        }
        options.OnUsage(0);
    }

    private bool HasRoom(Sequence sequence)
    {
        sequence.IsPaused = !sequence.HasRoom(options.OutputChunks);
        if (sequence.IsPaused && sequence.HasRoom(options.OutputChunks)) sequence.IsPaused = false;        // asked again: the reader may have been before the flag
        return !sequence.IsPaused;
    }

    private void Preempt(IRunner runner, Sequence sequence)
    {
        sequence.WasSetBack = true;
        ChatMeter.Preemptions.Add(1);
        PutBack(runner, sequence);
    }

    /// <summary>Takes a request's rows away; it waits for others, into which its hypotheses are read again.</summary>
    private void PutBack(IRunner runner, Sequence sequence)
    {
        EndGuessing(sequence);
        Free(runner, sequence.Rows);
        scheduler.SetBack(sequence);
        (sequence.IsReading, sequence.Read, sequence.Due, sequence.Scores, sequence.Leader) = (false, 0, 0, [], null);
        ChatMeter.RequestsRunning.Add(-1);
        ChatMeter.RequestsWaiting.Add(1);
    }

    private void FailForMemory(IRunner runner, Sequence sequence) =>
        Fail(runner, [sequence], new InvalidOperationException($"A reply of {sequence.Width} hypotheses needs more memory for keys and values than the model has."));

    private void EndGuessing(Sequence sequence)
    {
        try { sequence.Ahead?.End(); }
        catch (Exception error) { options.OnFailure(error); }                              // the row is overwritten by its next reader anyway
    }

    /// <summary>Frees rows; one that cannot be freed is told of, and overwritten by its next reader.</summary>
    public void Free(IRunner runner, IEnumerable<int> rows)
    {
        foreach (var row in rows)
        {
            try { runner.Free(row); }
            catch (Exception error) { options.OnFailure(error); }
        }
    }
}
