using System.Runtime.InteropServices;
using Chat.Domain.Generation;
using Chat.Models.Decoding;
using Chat.Models.Engine.Speculation;

namespace Chat.Models.Engine;

/// <summary>
/// Continuous batching: in each step some more of new prompts is read, one batch of all live hypotheses is decoded, each request's rules
/// and strategy choose, text goes out, forks and ends are settled. Requests join and leave at every step; what they say does not depend on
/// who else is there. A request that has to make room keeps its search and the tokens of its hypotheses, which are read again later. Equal prompts that come together
/// are read once. Knows no thread: <see cref="GenerationEngine"/> calls <see cref="Step"/> on the thread that owns the runner.
/// </summary>
public sealed class GenerationLoop(EngineOptions options, TimeProvider time)
{
    // What a token costs its tenant, as in the paper that Scheduler names.
    private const double PromptTokenCost = 1, ReplyTokenCost = 2;
    private const int RoomToGoOn = 16;

    private readonly Scheduler scheduler = new(options.Rows, options.QueueLimit);
    private readonly SearchStep step = new();
    private readonly List<(int From, int To)> forks = [];
    private float[] scratch = [], copy = [];
    private double meanSeconds = 1;
    private long prefixQueries, prefixHits;

    public Scheduler Scheduler => scheduler;

    /// <summary>Who guesses ahead; <c>null</c> where nobody does. Set and owned by who steps the loop.</summary>
    public Speculator? Speculator { get; set; }

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

    /// <returns>Whether anything was done; if not, the next step has work only after a request, a cancellation or a reader.</returns>
    public bool Step(IRunner runner)
    {
        foreach (var sequence in scheduler.RemoveCancelled().Concat(scheduler.Running.Where(s => s.IsCancelled)))
            End(runner, sequence, sequence.WasStopped ? "stopped" : "abort", new OperationCanceledException());

        var hasAdmitted = Admit(runner);
        var (readers, parts, active) = Plan(runner);
        if (parts.Count > 0) Read(runner, readers, parts);
        if (active.Count > 0) Decode(runner, active);
        Fork(runner);
        options.OnUsage(runner.Usage);
        return hasAdmitted || parts.Count > 0 || active.Count > 0;
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
        sequence.IsPaused = !sequence.HasRoom(options.OutputChunks);
        if (sequence.IsPaused && sequence.HasRoom(options.OutputChunks)) sequence.IsPaused = false;        // asked again: the reader may have been before the flag
        return !sequence.IsPaused;
    }

    /// <summary>Lets requests in, as long as this step could begin to read their prompts.</summary>
    private bool Admit(IRunner runner)
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
        if (!scheduler.CanMakeRoom(next)) return false;
        while (!scheduler.TryAdmit(next))
        {
            // A reader may have come back since the room was counted; its request is no longer one that makes room.
            if (scheduler.VictimFor(next) is not { } victim) return false;
            Preempt(runner, victim);
        }
        ChatMeter.RequestsWaiting.Add(-1);
        ChatMeter.RequestsRunning.Add(1);
        next.IsReading = true;
        for (var i = 0; i < next.Live.Count; i++) next.Live[i] = next.Live[i] with { Row = next.Rows[i] };
        next.Leader = scheduler.Running.FirstOrDefault(other => other != next && ReadsThePromptOf(other, next));
        if (next.Leader is null && !TryOpen(runner, next)) return true;
        while (!Fits(runner))
        {
            if (scheduler.VictimFor(next) is { } victim) Preempt(runner, victim);
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
    private (List<Sequence> Readers, List<RowTokens> Parts, List<Sequence> Active) Plan(IRunner runner)
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

    private void Read(IRunner runner, List<Sequence> readers, List<RowTokens> parts)
    {
        Sequence[] ended = [.. readers.Where((s, i) => s.Due == parts[i].Tokens)];
        try { Copy(runner.Read(CollectionsMarshal.AsSpan(parts)), ended.Length * runner.VocabularySize); }
        catch (Exception error)
        {
            Fail(runner, readers, error);
            return;
        }
        for (var i = 0; i < readers.Count; i++)
        {
            readers[i].Due -= parts[i].Tokens;
            if (!readers[i].WasSetBack) scheduler.Charge(readers[i], parts[i].Tokens * PromptTokenCost);
        }
        var followers = CopyLeaders(runner, ended);
        for (var i = 0; i < ended.Length; i++)
        {
            var scores = scratch.AsSpan(i * runner.VocabularySize, runner.VocabularySize);
            foreach (var follower in followers.Where(f => f.Leader == ended[i]))
            {
                // Searches write into their rows.
                if (copy.Length < scores.Length) copy = new float[scores.Length];
                scores.CopyTo(copy);
                follower.IsReading = false;
                Advance(runner, follower, copy.AsSpan(0, scores.Length));
            }
            Gather(runner, ended[i], scores);
        }
        foreach (var follower in followers) follower.Leader = null;
    }

    /// <summary>Gives those that wait for a leader a copy of its row.</summary>
    private Sequence[] CopyLeaders(IRunner runner, Sequence[] ended)
    {
        Sequence[] followers = [.. scheduler.Running.Where(s => s.Leader is { } leader && ended.Contains(leader))];
        if (followers.Length == 0) return [];
        try { runner.Fork([.. followers.Select(f => (f.Leader!.Rows[0], f.Rows[0]))]); }
        catch (Exception error)
        {
            Fail(runner, followers, error);
            return [];
        }
        return followers;
    }

    /// <summary>Takes the scores behind a hypothesis that has been read. The search goes on when it has those of all.</summary>
    private void Gather(IRunner runner, Sequence sequence, Span<float> scores)
    {
        if (sequence.Live.Count > 1)
        {
            if (sequence.Read == 0) sequence.Scores = new float[sequence.Live.Count * scores.Length];
            scores.CopyTo(sequence.Scores.AsSpan(sequence.Read * scores.Length));
            if (++sequence.Read < sequence.Live.Count) return;                             // the next step opens it: by then the cache knows the one just read
            scores = sequence.Scores;
            sequence.Scores = [];
        }
        sequence.IsReading = false;
        Advance(runner, sequence, scores);
    }

    private void Decode(IRunner runner, List<Sequence> active)
    {
        var hasGuesses = Guess(runner, active);
        int[] rows = [.. active.SelectMany(s => s.Live).Select(l => l.Row)], tokens = [.. active.SelectMany(s => s.Live.Select(l => l.Reply!.Token).Concat(s.Guess))];
        var start = time.GetTimestamp();
        try { Copy(hasGuesses ? runner.Verify(rows, [.. active.SelectMany(s => s.Live.Select(_ => 1 + s.Guess.Count))], tokens) : runner.Decode(rows, tokens), tokens.Length * runner.VocabularySize); }
        catch (Exception error)
        {
            Fail(runner, active, error);
            return;
        }
        Speculator?.Passed(tokens.Length, time.GetElapsedTime(start).TotalSeconds);
        var at = 0;
        foreach (var sequence in active)
        {
            var length = (sequence.Live.Count + sequence.Guess.Count) * runner.VocabularySize;
            scheduler.Charge(sequence, (sequence.Live.Count + sequence.Guess.Count) * ReplyTokenCost);
            Advance(runner, sequence, scratch.AsSpan(at, length));
            at += length;
        }
    }

    /// <summary>Lets replies of one hypothesis be guessed ahead.</summary>
    /// <returns>Whether any was.</returns>
    private bool Guess(IRunner runner, List<Sequence> active)
    {
        if (Speculator is null) return false;
        var ahead = new List<ReplySpeculation>();
        foreach (var sequence in active.Where(s => s is { Speculation: not Decoding.Speculation.None, Live.Count: 1 }))
        {
            sequence.Ahead ??= Speculator.Start(sequence.Speculation, new() { Row = sequence.Live[0].Row, Context = sequence.Context, Reply = [.. sequence.Prompt().Emitted.Span], Search = sequence.Search });
            if (sequence.Ahead is not { } reply) continue;
            reply.Place(sequence.Live[0].Row);
            // The model adds a token of its own to those guessed.
            reply.Room = Math.Min(sequence.MaxTokens - 1, runner.MaxReply) - reply.Request.Reply.Count;
            ahead.Add(reply);
        }
        if (ahead.Count == 0) return false;
        try { Speculator.Guess(ahead, active.Sum(s => s.Live.Count) - ahead.Count); }
        catch (Exception error)
        {
            // Replies go on as they would have without guesses.
            options.OnFailure(error);
            Speculator = null;
            foreach (var reply in ahead) reply.Request.Guess.Clear();
        }
        if (ahead.All(reply => reply.Request.Guess.Count == 0)) return false;
        var feeds = new List<RowTokens>();
        foreach (var sequence in active) AddLive(feeds, sequence, 1 + sequence.Guess.Count);
        if (runner.Fits(CollectionsMarshal.AsSpan(feeds))) return true;
        foreach (var reply in ahead) reply.Request.Guess.Clear();                          // nobody makes room for guesses
        return false;
    }

    // Searches write into their rows, and the runner's memory is not ours.
    private void Copy(ReadOnlySpan<float> scores, int expected)
    {
        if (scores.Length != expected) throw new InvalidOperationException($"The runner gave {scores.Length} scores, expected {expected}.");
        if (scratch.Length < expected) scratch = new float[expected];
        scores.CopyTo(scratch);
    }

    /// <summary>Lets a search look at the scores behind its hypotheses, and behind the guesses for as long as it says the same; what was guessed wrong is taken back.</summary>
    /// <param name="scores">[live × V], or where there are guesses [1 + guesses × V].</param>
    private void Advance(IRunner runner, Sequence sequence, Span<float> scores)
    {
        var (right, done) = (0, false);
        var looks = sequence.Guess.Count > 0 ? 1 + sequence.Guess.Count : 1;
        while (!done)
        {
            try { sequence.Search.Step(scores.Slice(right * (scores.Length / looks), scores.Length / looks), step); }
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
            done = step.IsDone || sequence.Text.IsStopped;
            if (!done) GoOn(sequence);
            if (done || right == sequence.Guess.Count || sequence.Live[0].Reply!.Token != sequence.Guess[right]) break;
            right++;
        }
        var wrong = sequence.Guess.Count - right;
        sequence.Ahead?.Count(right, done && !step.Ended ? right : right + Math.Min(wrong, 1));

        var (text, tokens) = sequence.Text.Take(final: done);
        if (done)
        {
            var reason = step.Ended || sequence.Text.IsStopped ? FinishReason.Stop : FinishReason.Length;
            Write(sequence, new(text, tokens, new(reason, sequence.Context.Length, sequence.Emitted.Length + sequence.Chosen) { Speculation = sequence.Ahead?.Use }));
            End(runner, sequence, reason == FinishReason.Stop ? "stop" : "length", null);
            return;
        }
        // The first chunk goes out even if it is empty: a reply that is stopped early has its prompt counted too.
        if (tokens.Count > 0 || !sequence.HasSpoken) Write(sequence, new(text, tokens));
        if (wrong > 0) TakeBack(runner, sequence);
    }

    private void TakeBack(IRunner runner, Sequence sequence)
    {
        // The newest token is not fed yet.
        try { runner.Truncate(sequence.Live[0].Row, sequence.Emitted.Length + sequence.Chosen - 1); }
        catch (Exception error) { Fail(runner, [sequence], error); }
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
            sequence.Live.Add(new(rows[i], new(step.Next[i].Token, parents[step.Next[i].Parent].Reply)));
        }
        sequence.Ahead?.Request.Reply.Add(sequence.Live[0].Reply!.Token);
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
        foreach (var row in sequence.Rows) Free(runner, row);
        scheduler.SetBack(sequence);
        (sequence.IsReading, sequence.Read, sequence.Due, sequence.Scores, sequence.Leader) = (false, 0, 0, [], null);
        ChatMeter.RequestsRunning.Add(-1);
        ChatMeter.RequestsWaiting.Add(1);
    }

    private void FailForMemory(IRunner runner, Sequence sequence) =>
        Fail(runner, [sequence], new InvalidOperationException($"A reply of {sequence.Width} hypotheses needs more memory for keys and values than the model has."));

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
            EndGuessing(sequence);
            forks.RemoveAll(f => sequence.Rows.Contains(f.To));
            foreach (var row in sequence.Rows) Free(runner, row);
        }
        sequence.Complete(error);
    }

    private void EndGuessing(Sequence sequence)
    {
        try { sequence.Ahead?.End(); }
        catch (Exception error) { options.OnFailure(error); }                              // the row is overwritten by its next reader anyway
    }

    private void Free(IRunner runner, int row)
    {
        try { runner.Free(row); }
        catch (Exception error) { options.OnFailure(error); }                              // the row is overwritten by its next reader anyway
    }
}
