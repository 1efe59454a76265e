using Chat.Domain.Generation;
using Chat.Models.Decoding;

namespace Chat.Models.Engine;

/// <summary>
/// Continuous batching: in each step new requests are read into free rows, one batch of all live hypotheses is decoded, each request's rules
/// and strategy choose, text goes out, forks and ends are settled. Requests join and leave at every step; what they say does not depend on
/// who else is there. Knows no thread: <see cref="GenerationEngine"/> calls <see cref="Step"/> on the thread that owns the runner.
/// </summary>
public sealed class GenerationLoop(EngineOptions options, TimeProvider time)
{
    private readonly Scheduler scheduler = new(options.Rows, options.QueueLimit);
    private readonly SearchStep step = new();
    private readonly List<(int From, int To)> forks = [];
    private float[] scratch = [];
    private double meanSeconds = 1;

    public Scheduler Scheduler => scheduler;

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

    /// <returns>Whether anything was done; if not, the next step has work only after a request, a cancellation or a reader.</returns>
    public bool Step(IRunner runner)
    {
        foreach (var sequence in scheduler.RemoveCancelled().Concat(scheduler.Running.Where(s => s.IsCancelled)))
            End(runner, sequence, sequence.WasStopped ? "stopped" : "abort", new OperationCanceledException());

        var admitted = scheduler.Admit(options.PrefillBatch);
        if (admitted.Count > 0) Read(runner, admitted);
        var active = scheduler.Running.Where(s => !admitted.Contains(s) && HasRoom(s)).ToArray();
        if (active.Length > 0) Decode(runner, active);
        Fork(runner);
        options.OnUsage(scheduler.Usage);
        return admitted.Count > 0 || active.Length > 0;
    }

    /// <summary>Ends everybody, for a model that is gone or in an unknown state; what it holds is freed as far as it can be.</summary>
    public void FailAll(string reason, IRunner? runner = null)
    {
        for (var row = 0; runner is not null && row < options.Rows; row++) Free(runner, row);
        forks.Clear();
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
        if (sequence.HasRoom(options.OutputChunks)) return true;
        sequence.IsPaused = true;
        if (!sequence.HasRoom(options.OutputChunks)) return false;                         // asked again: the reader may have been before the flag
        sequence.IsPaused = false;
        return true;
    }

    private void Read(IRunner runner, IReadOnlyList<Sequence> admitted)
    {
        var items = new PrefillItem[admitted.Count];
        for (var i = 0; i < items.Length; i++)
        {
            items[i] = new(admitted[i].Rows[0], admitted[i].Context, admitted[i].Emitted);
            admitted[i].Live.Add((admitted[i].Rows[0], 0));
            ChatMeter.RequestsWaiting.Add(-1);
            ChatMeter.RequestsRunning.Add(1);
            ChatMeter.QueueTime.Record(time.GetElapsedTime(admitted[i].Arrived).TotalSeconds);
            if (admitted[i].CountsPrompt) ChatMeter.PromptTokens.Add(admitted[i].Context.Length);
        }
        try { Copy(runner.Prefill(items), items.Length * runner.VocabularySize); }
        catch (Exception error)
        {
            Fail(runner, admitted, error);
            return;
        }
        for (var i = 0; i < items.Length; i++) Advance(runner, admitted[i], scratch.AsSpan(i * runner.VocabularySize, runner.VocabularySize));
    }

    private void Decode(IRunner runner, Sequence[] active)
    {
        int[] rows = [.. active.SelectMany(s => s.Live).Select(l => l.Row)], tokens = [.. active.SelectMany(s => s.Live).Select(l => l.Token)];
        try { Copy(runner.Decode(rows, tokens), rows.Length * runner.VocabularySize); }
        catch (Exception error)
        {
            Fail(runner, active, error);
            return;
        }
        var at = 0;
        foreach (var sequence in active)
        {
            var length = sequence.Live.Count * runner.VocabularySize;
            Advance(runner, sequence, scratch.AsSpan(at, length));
            at += length;
        }
    }

    // Searches write into their rows, and the runner's memory is not ours.
    private void Copy(ReadOnlySpan<float> scores, int expected)
    {
        if (scores.Length != expected) throw new InvalidOperationException($"The runner gave {scores.Length} scores, expected {expected}.");
        if (scratch.Length < expected) scratch = new float[expected];
        scores.CopyTo(scratch);
    }

    private void Advance(IRunner runner, Sequence sequence, Span<float> scores)
    {
        try { sequence.Search.Step(scores, step); }
        catch (Exception error)
        {
            Fail(runner, [sequence], error);
            return;
        }

        foreach (var token in step.Certain)
        {
            sequence.Text.Append(token);
            Count(sequence);
            if (sequence.Text.IsStopped) break;
        }
        var done = step.IsDone || sequence.Text.IsStopped;
        var (text, tokens) = sequence.Text.Take(final: done);
        if (done)
        {
            var reason = step.Ended || sequence.Text.IsStopped ? FinishReason.Stop : FinishReason.Length;
            Write(sequence, new(text, tokens, new(reason, sequence.Context.Length, sequence.Emitted.Length + sequence.Chosen)));
            End(runner, sequence, reason == FinishReason.Stop ? "stop" : "length", null);
            return;
        }
        // The first chunk goes out even if it is empty: a reply that is stopped early has its prompt counted too.
        if (tokens.Count > 0 || !sequence.HasSpoken) Write(sequence, new(text, tokens));
        GoOn(sequence);
    }

    private static void Write(Sequence sequence, GenerationChunk chunk)
    {
        sequence.Write(sequence.HasSpoken ? chunk : chunk with { PromptTokens = sequence.Context.Length });
        sequence.HasSpoken = true;
    }

    /// <summary>Gives each next hypothesis a row: the first child of a parent keeps the parent's, others get copies in rows that nobody needs.</summary>
    private void GoOn(Sequence sequence)
    {
        var parents = sequence.Live.ToArray();
        var rows = new int[step.Next.Count];
        var taken = new HashSet<int>();
        for (var i = 0; i < rows.Length; i++)
            rows[i] = taken.Add(parents[step.Next[i].Parent].Row) ? parents[step.Next[i].Parent].Row : -1;
        var spare = new Stack<int>(sequence.Rows.Where(r => !taken.Contains(r)));
        sequence.Live.Clear();
        for (var i = 0; i < rows.Length; i++)
        {
            if (rows[i] < 0) forks.Add((parents[step.Next[i].Parent].Row, rows[i] = spare.Pop()));
            sequence.Live.Add((rows[i], step.Next[i].Token));
        }
    }

    private void Fork(IRunner runner)
    {
        if (forks.Count == 0) return;
        try { runner.Fork([.. forks]); }
        catch (Exception error)
        {
            var targets = forks.Select(f => f.To).ToHashSet();
            Fail(runner, [.. scheduler.Running.Where(s => s.Rows.Any(targets.Contains))], error);
        }
        forks.Clear();
    }

    private void Count(Sequence sequence)
    {
        var now = time.GetTimestamp();
        if (sequence.Chosen++ == 0) ChatMeter.TimeToFirstToken.Record(time.GetElapsedTime(sequence.Arrived, now).TotalSeconds);
        else ChatMeter.InterTokenLatency.Record(time.GetElapsedTime(sequence.LastToken, now).TotalSeconds);
        sequence.LastToken = now;
        ChatMeter.GenerationTokens.Add(1);
    }

    private void Fail(IRunner runner, IReadOnlyList<Sequence> sequences, Exception error)
    {
        options.OnFailure(error);
        foreach (var sequence in sequences)
            End(runner, sequence, "error", new GenerationException(GenerationError.Unavailable, "The model failed while it answered.", inner: error));
    }

    private void End(IRunner runner, Sequence sequence, string reason, Exception? error)
    {
        var ran = scheduler.Release(sequence);
        (ran ? ChatMeter.RequestsRunning : ChatMeter.RequestsWaiting).Add(-1);
        ChatMeter.Ended(reason);
        var seconds = time.GetElapsedTime(sequence.Arrived).TotalSeconds;
        ChatMeter.RequestLatency.Record(seconds);
        meanSeconds = 0.9 * meanSeconds + 0.1 * seconds;
        if (ran)
        {
            forks.RemoveAll(f => sequence.Rows.Contains(f.To));
            foreach (var row in sequence.Rows) Free(runner, row);
        }
        sequence.Complete(error);
    }

    private void Free(IRunner runner, int row)
    {
        try { runner.Free(row); }
        catch (Exception error) { options.OnFailure(error); }                              // the row is overwritten by its next reader anyway
    }
}
