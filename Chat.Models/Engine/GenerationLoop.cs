using System.Runtime.InteropServices;
using Chat.Domain.Generation;
using Chat.Models.Decoding;
using Chat.Models.Engine.Speculation;

namespace Chat.Models.Engine;

/// <summary>
/// Continuous batching: in each step some more of new prompts is read, one batch of all live hypotheses is decoded, each request's rules
/// and strategy choose, text goes out, forks and ends are settled. Requests join and leave at every step (<see cref="Seating"/>); what they say does not depend on
/// who else is there. Knows no thread: <see cref="GenerationEngine"/> calls <see cref="Step"/> on the thread that owns the runner.
/// </summary>
public sealed class GenerationLoop
{
    // What a token costs its tenant, as in the paper that Scheduler names.
    private const double PromptTokenCost = 1, ReplyTokenCost = 2;

    private readonly EngineOptions options;
    private readonly TimeProvider time;
    private readonly Scheduler scheduler;
    private readonly Seating seating;
    private readonly SearchStep step = new();
    private readonly HashSet<int> kept = [];
    private readonly List<int> spare = [], rows = [], counts = [], tokens = [], borrowed = [];
    private readonly List<ReplySpeculation> guessing = [];
    private List<Hypothesis> parents = [];
    private float[] scratch = [], copy = [];

    public GenerationLoop(EngineOptions options, TimeProvider time)
    {
        (this.options, this.time) = (options, time);
        scheduler = new(options.Rows, options.QueueLimit);
        seating = new(scheduler, options, time);
    }

    public Scheduler Scheduler => scheduler;

    /// <summary>Who guesses ahead; <c>null</c> where nobody does. Set and owned by who steps the loop.</summary>
    public Speculator? Speculator { get; set; }

    /// <inheritdoc cref="Seating.Load"/>
    public EngineLoad Load => seating.Load;

    /// <inheritdoc cref="Seating.Submit"/>
    public void Submit(Sequence sequence) => seating.Submit(sequence);

    /// <inheritdoc cref="Seating.FailAll"/>
    public void FailAll(string reason, IRunner? runner = null) => seating.FailAll(reason, runner);

    /// <returns>Whether anything was done; if not, the next step has work only after a request, a cancellation or a reader.</returns>
    public bool Step(IRunner runner)
    {
        seating.EndCancelled(runner);
        var hasAdmitted = seating.Admit(runner);
        var (readers, parts, active) = seating.Plan(runner);
        if (parts.Count > 0) Read(runner, readers, parts);
        if (active.Count > 0) Decode(runner, active);
        Fork(runner);
        options.OnUsage(runner.Usage);
        return hasAdmitted || parts.Count > 0 || active.Count > 0;
    }

    private void Read(IRunner runner, List<Sequence> readers, List<RowTokens> parts)
    {
        Sequence[] ended = [.. readers.Where((s, i) => s.Due == parts[i].Tokens)];
        try { Copy(runner.Read(CollectionsMarshal.AsSpan(parts)), ended.Length * runner.VocabularySize); }
        catch (Exception error)
        {
            seating.Fail(runner, readers, error);
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
            seating.Fail(runner, followers, error);
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
        Guess(runner, active);
        rows.Clear();
        counts.Clear();
        tokens.Clear();
        borrowed.Clear();
        foreach (var sequence in active)
            foreach (var (row, reply) in sequence.Live)
            {
                var request = sequence.Ahead?.Request;
                Feed(row, reply!.Token, request?.Guess);
                for (var i = 0; i < request?.Others.Count; i++)
                {
                    Feed(request.SpareRows[i], reply.Token, request.Others[i]);
                    borrowed.Add(request.SpareRows[i]);
                }
            }
        Span<int> fedRows = CollectionsMarshal.AsSpan(rows), fedTokens = CollectionsMarshal.AsSpan(tokens);
        var start = time.GetTimestamp();
        try { Copy(guessing.Count > 0 ? runner.Verify(fedRows, CollectionsMarshal.AsSpan(counts), fedTokens) : runner.Decode(fedRows, fedTokens), tokens.Count * runner.VocabularySize); }
        catch (Exception error)
        {
            seating.Fail(runner, active, error);
            seating.Free(runner, borrowed);
            return;
        }
        Speculator?.Passed(tokens.Count, time.GetElapsedTime(start).TotalSeconds);
        var at = 0;
        foreach (var sequence in active)
        {
            var fed = Math.Max(sequence.Live.Count, sequence.Ahead?.Checked ?? 0);
            scheduler.Charge(sequence, fed * ReplyTokenCost);
            Advance(runner, sequence, scratch.AsSpan(at, fed * runner.VocabularySize));
            at += fed * runner.VocabularySize;
        }
        if (borrowed.Count > 0) seating.Free(runner, borrowed);
    }

    private void Feed(int row, int newest, List<int>? chain)
    {
        rows.Add(row);
        counts.Add(1 + (chain?.Count ?? 0));
        tokens.Add(newest);
        if (chain is not null) tokens.AddRange(chain);
    }

    /// <summary>Lets replies of one hypothesis be guessed ahead: who has guesses stands in <c>guessing</c>. Chains beside the first get copies of the reply's row in rows that nobody holds, until the end of the step.</summary>
    private void Guess(IRunner runner, List<Sequence> active)
    {
        guessing.Clear();
        if (Speculator is null) return;
        foreach (var sequence in active.Where(s => s is { Speculation: not Decoding.Speculation.None, Live.Count: 1 }))
        {
            sequence.Ahead ??= Speculator.Start(sequence.Speculation, new() { Row = sequence.Live[0].Row, Context = sequence.Context, Reply = [.. sequence.Prompt().Emitted.Span], Search = sequence.Search }, sequence.SpeculationWidth);
            if (sequence.Ahead is not { } reply) continue;
            reply.Place(sequence.Live[0].Row);
            // The model adds a token of its own to those guessed.
            reply.Room = Math.Min(sequence.MaxTokens - 1, runner.MaxReply) - reply.Request.Reply.Count;
            guessing.Add(reply);
        }
        if (guessing.Count == 0) return;
        try { Speculator.Guess(guessing, active.Sum(s => s.Live.Count) - guessing.Count, scheduler.FreeRows); }
        catch (Exception error)
        {
            // Replies go on as they would have without guesses.
            options.OnFailure(error);
            Speculator = null;
            foreach (var reply in guessing) reply.Request.Clear();
        }
        guessing.RemoveAll(reply => reply.Request.Guess.Count == 0);
        if (guessing.Count == 0 || (ForkOthers(runner) && Fits(runner, active))) return;
        // Nobody makes room for guesses: first those beside the first go, then all.
        foreach (var reply in guessing)
        {
            seating.Free(runner, reply.Request.SpareRows);
            reply.Request.Others.Clear();
        }
        if (Fits(runner, active)) return;
        foreach (var reply in guessing) reply.Request.Clear();
        guessing.Clear();
    }

    private bool ForkOthers(IRunner runner)
    {
        (int, int)[] copies = [.. guessing.SelectMany(reply => reply.Request.Others.Zip(reply.Request.SpareRows, (_, spare) => (reply.Request.Row, spare)))];
        try
        {
            if (copies.Length > 0) runner.Fork(copies);
            return true;
        }
        catch (Exception error)
        {
            options.OnFailure(error);
            return false;
        }
    }

    private bool Fits(IRunner runner, List<Sequence> active)
    {
        var feeds = new List<RowTokens>();
        foreach (var sequence in active) feeds.AddRange(sequence.Live.Select(l => new RowTokens(l.Row, 1 + (sequence.Ahead?.Request.Guess.Count ?? 0))));
        foreach (var reply in guessing) feeds.AddRange(reply.Request.Others.Zip(reply.Request.SpareRows, (chain, spare) => new RowTokens(spare, 1 + chain.Count)));
        return runner.Fits(CollectionsMarshal.AsSpan(feeds));
    }

    // Searches write into their rows, and the runner's memory is not ours.
    private void Copy(ReadOnlySpan<float> scores, int expected)
    {
        if (scores.Length != expected) throw new InvalidOperationException($"The runner gave {scores.Length} scores, expected {expected}.");
        if (scratch.Length < expected) scratch = new float[expected];
        scores.CopyTo(scratch);
    }

    /// <summary>Lets a search look at the scores behind its hypotheses, and behind a chain of guesses for as long as it says the same; what was guessed wrong is taken back.</summary>
    /// <param name="scores">[live × V], or where there are guesses, chain after chain, [1 + guesses × V].</param>
    private void Advance(IRunner runner, Sequence sequence, Span<float> scores)
    {
        var request = sequence.Ahead?.Request;
        var guess = request?.Guess ?? [];
        var size = guess.Count > 0 ? runner.VocabularySize : scores.Length;
        // The number of the chain that is right so far, and where its scores begin; while nothing is said the first one stands for all.
        var (chain, at, right, done) = (0, 0, 0, false);
        while (true)
        {
            try { sequence.Search.Step(scores.Slice((at + right) * size, size), step); }
            catch (Exception error)
            {
                seating.Fail(runner, [sequence], error);
                return;
            }
            foreach (var token in step.Certain)
            {
                sequence.Text.Append(token);
                Count(sequence);
                if (sequence.Text.IsStopped) break;
            }
            done = step.IsDone || sequence.Text.IsStopped;
            if (done) break;
            GoOn(sequence);
            if (right == guess.Count) break;
            var said = sequence.Live[0].Reply!.Token;
            while (right == 0 && guess[0] != said && chain < request!.Others.Count) (at, guess) = (at + 1 + guess.Count, request.Others[chain++]);
            if (guess[right] != said) break;
            right++;
        }
        if (right == 0) (chain, guess) = (0, request?.Guess ?? []);
        var wrong = guess.Count - right;
        var row = chain > 0 ? request!.SpareRows[chain - 1] : -1;
        sequence.Ahead?.Count(chain, right, done && !step.Ended ? right : right + Math.Min(wrong, 1));

        var (text, tokens) = sequence.Text.Take(final: done);
        if (done)
        {
            var reason = step.Ended || sequence.Text.IsStopped ? FinishReason.Stop : FinishReason.Length;
            Write(sequence, new(text, tokens, new(reason, sequence.Context.Length, sequence.Emitted.Length + sequence.Chosen) { Speculation = sequence.Ahead?.Use }));
            seating.End(runner, sequence, reason == FinishReason.Stop ? "stop" : "length", null);
            return;
        }
        // The first chunk goes out even if it is empty: a reply that is stopped early has its prompt counted too.
        if (tokens.Count > 0 || !sequence.HasSpoken) Write(sequence, new(text, tokens));
        if (wrong > 0 || row >= 0) TakeBack(runner, sequence, row);
    }

    /// <summary>Makes the reply's row what was said.</summary>
    /// <param name="from">The row in which it was guessed right; -1: its own.</param>
    private void TakeBack(IRunner runner, Sequence sequence, int from)
    {
        try
        {
            if (from >= 0) runner.Fork([(from, sequence.Live[0].Row)]);
            // The newest token is not fed yet.
            runner.Truncate(sequence.Live[0].Row, sequence.Emitted.Length + sequence.Chosen - 1);
        }
        catch (Exception error) { seating.Fail(runner, [sequence], error); }
    }

    private static void Write(Sequence sequence, GenerationChunk chunk)
    {
        sequence.Write(sequence.HasSpoken ? chunk : chunk with { PromptTokens = sequence.Context.Length });
        sequence.HasSpoken = true;
    }

    /// <summary>Gives each next hypothesis a row: the first child of a parent keeps the parent's, others get copies in rows that nobody needs.</summary>
    private void GoOn(Sequence sequence)
    {
        (parents, sequence.Live) = (sequence.Live, parents);
        spare.Clear();
        spare.AddRange(sequence.Rows);
        foreach (var next in step.Next) spare.Remove(parents[next.Parent].Row);
        sequence.Live.Clear();
        kept.Clear();
        foreach (var (parent, token) in step.Next)
        {
            var row = parents[parent].Row;
            if (!kept.Add(row))
            {
                row = spare[^1];
                spare.RemoveAt(spare.Count - 1);
                sequence.Forks.Add((parents[parent].Row, row));
            }
            sequence.Live.Add(new(row, new(token, parents[parent].Reply)));
        }
        sequence.Ahead?.Request.Reply.Add(sequence.Live[0].Reply!.Token);
    }

    private void Fork(IRunner runner)
    {
        Sequence[] forking = [.. scheduler.Running.Where(s => s.Forks.Count > 0)];
        if (forking.Length == 0) return;
        try { runner.Fork([.. forking.SelectMany(s => s.Forks)]); }
        catch (Exception error) { seating.Fail(runner, forking, error); }
        foreach (var sequence in forking) sequence.Forks.Clear();
    }

    private void Count(Sequence sequence)
    {
        var now = time.GetTimestamp();
        if (sequence.Chosen++ == 0) ChatMeter.TimeToFirstToken.Record(time.GetElapsedTime(sequence.Arrived, now).TotalSeconds);
        else ChatMeter.InterTokenLatency.Record(time.GetElapsedTime(sequence.LastToken, now).TotalSeconds);
        sequence.LastToken = now;
        ChatMeter.GenerationTokens.Add(1);
    }
}
