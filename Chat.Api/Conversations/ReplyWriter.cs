using System.Text;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Safety;

namespace Chat.Api.Conversations;

/// <summary>
/// Writes one reply, from the model through the safety gate to the log. Runs to its end whoever is connected. The first words go out at once, later
/// ones at the beat of all replies (<c>Replies:CoalesceMs</c>); readers see an event once it is appended. Text enters the log only as <see cref="ClearedText"/>.
/// Between two beats nobody takes what the model says, and a model that runs ahead of a slow store waits.
/// </summary>
internal sealed class ReplyWriter(RunningReply reply, GenerationRequest request, SafetyGate gate, IChatModels models, ReplyLog log, ReplyBeat beat, ReplySettings settings, TimeProvider time, ILogger logger)
{
    private readonly long accepted = time.GetTimestamp();
    private Task<bool> next = Task.FromResult(false);     // the look for the model's next chunk
    private long eventCount = 1;     // "started" is there
    private long lastTaken;
    private string shown = "";
    private int? promptTokens;
    private int completionTokens;
    private SpeculationUse? speculation;
    private readonly Queue<int> unshown = [];     // bytes of the tokens that are not wholly shown
    private int unshownBytes;                     // of the first of them, that are
    private int shownTokens;
    private double? firstTokenMs;

    public async Task RunAsync()
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(reply.Ending);
        var watching = WatchAsync(over.Token);
        var chunks = models.GenerateAsync(request, over.Token).GetAsyncEnumerator(over.Token);
        try
        {
            await WriteAsync(chunks);
            if (reply.EarlyEnd == EarlyEnd.Lost) await log.LeaveAsync(reply.Lease);
        }
        catch (ChatException e) when (e.Error == ChatError.Busy)
        {
            logger.LogError(e, "Reply {Reply} could not be written to its end: the store stayed away.", reply.Id);
        }
        finally
        {
            reply.Close();
            await over.CancelAsync();
            await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await chunks.DisposeAsync();
            await watching;
        }
    }

    /// <summary>A refused message: the reply ends before a model is asked.</summary>
    public async Task RefuseAsync(string sentence)
    {
        try
        {
            await EndAsync(TurnState.Refused, new() { Type = ChatEventType.Refused, ReplyId = reply.Id, Sequence = eventCount + 1, Text = sentence }, FactKind.Refused);
        }
        finally
        {
            reply.Close();
        }
    }

    private async Task WriteAsync(IAsyncEnumerator<GenerationChunk> chunks)
    {
        try
        {
            next = chunks.MoveNextAsync().AsTask();
            while (await next)
            {
                await DueAsync();
                if (!await AppendAsync(Take(chunks))) return;
            }
            await FailAsync("The model stopped without an end.");
        }
        catch (OperationCanceledException) when (reply.EarlyEnd != EarlyEnd.None)
        {
            await EndEarlyAsync();
        }
        catch (GenerationException e)
        {
            logger.LogWarning(e, "Reply {Reply}: the model failed.", reply.Id);
            await FailAsync(e.Message, e.Error is GenerationError.Busy or GenerationError.Unavailable ? ChatError.Busy : ChatError.Invalid);
        }
        catch (Exception e) when (e is not ChatException)
        {
            logger.LogError(e, "Reply {Reply} failed.", reply.Id);
            await FailAsync("The reply failed on the server. Send the message again for a new one.");
        }
    }

    /// <summary>Waits for the beat, for one behind it where the last words are too young.</summary>
    private async Task DueAsync()
    {
        if (shown.Length > 0)
            do await beat.NextAsync().WaitAsync(reply.Ending);
            while (time.GetElapsedTime(lastTaken) < settings.Coalesce * 0.8);
        lastTaken = time.GetTimestamp();
    }

    /// <summary>Takes all that the model has said by now through the gate.</summary>
    private (ClearedText Text, ClearedText Held, GenerationEnd? End) Take(IAsyncEnumerator<GenerationChunk> chunks)
    {
        var text = new StringBuilder();
        for (; ; )
        {
            var chunk = chunks.Current;
            promptTokens ??= chunk.PromptTokens ?? chunk.End?.PromptTokens;
            completionTokens += chunk.Tokens.Count;
            foreach (var token in chunk.Tokens) unshown.Enqueue(token.Chosen.Bytes.Length);
            text.Append(chunk.Text);
            if (chunk.End is { } end) return (gate.Push(text.ToString()), gate.Complete(), end);
            next = chunks.MoveNextAsync().AsTask();
            if (!next.IsCompletedSuccessfully || !next.Result) return (gate.Push(text.ToString()), default, null);
        }
    }

    /// <returns>False when the reply is over.</returns>
    private async Task<bool> AppendAsync((ClearedText Text, ClearedText Held, GenerationEnd? End) taken)
    {
        foreach (var span in taken.Text.Spans.Concat(taken.Held.Spans)) unshownBytes += span.SourceBytes;
        for (; unshown.TryPeek(out var bytes) && bytes <= unshownBytes; shownTokens++) unshownBytes -= unshown.Dequeue();
        var text = taken.Text.Text + taken.Held.Text;
        if (text.Length > 0 && !await AppendDeltaAsync(text)) return false;

        if ((taken.Text.Refusal ?? taken.Held.Refusal) is { } refusal)
        {
            logger.LogInformation("Reply {Reply} was refused by rule {Rule}.", reply.Id, refusal.Rule);
            await EndAsync(TurnState.Refused, new() { Type = ChatEventType.Refused, ReplyId = reply.Id, Sequence = eventCount + 1, Text = "The rest of this reply is withheld by the safety rules." }, FactKind.Refused);
            return false;
        }
        if (taken.End is not { } end) return true;

        (completionTokens, speculation) = (end.CompletionTokens, end.Speculation);
        var (state, finish) = end.Reason switch
        {
            FinishReason.Length => (TurnState.Length, ReplyFinish.Length),
            FinishReason.Stopped => (TurnState.Stopped, ReplyFinish.Stopped),
            _ => (TurnState.Stop, ReplyFinish.Stop),
        };
        await FinishAsync(state, finish);
        return false;
    }

    private async Task<bool> AppendDeltaAsync(string text)
    {
        List<JournalFact> facts = [];
        if (firstTokenMs is null)
        {
            firstTokenMs = Elapsed();
            facts.Add(Fact(FactKind.FirstToken) with { Milliseconds = firstTokenMs });
        }
        var delta = new ChatEvent { Type = ChatEventType.Delta, ReplyId = reply.Id, Sequence = eventCount + 1, Text = text };
        if (!await StoreAsync(delta, facts, end: null)) return false;
        shown += text;
        return true;
    }

    private Task EndEarlyAsync() => reply.EarlyEnd switch
    {
        EarlyEnd.Stopped => FinishAsync(TurnState.Stopped, ReplyFinish.Stopped),
        EarlyEnd.ShuttingDown => FailAsync("The server is shutting down; the reply was interrupted. Send the message again for a new one.", ChatError.Busy),
        _ => Task.CompletedTask,     // another writer has it, or it was erased
    };

    private Task FinishAsync(TurnState state, ReplyFinish finish) => EndAsync(
        state,
        new() { Type = ChatEventType.Finished, ReplyId = reply.Id, Sequence = eventCount + 1, FinishReason = finish, Usage = Usage },
        state == TurnState.Stopped ? FactKind.Stopped : FactKind.Finished);

    private Task FailAsync(string sentence, ChatError error = ChatError.Busy) => EndAsync(
        TurnState.Interrupted,
        new() { Type = ChatEventType.Error, ReplyId = reply.Id, Sequence = eventCount + 1, Text = $"{new ChatException(error, sentence).Code}: {sentence}" },
        FactKind.Finished);

    private async Task EndAsync(TurnState state, ChatEvent last, FactKind kind)
    {
        var record = reply.Turn.Reply! with { FirstTokenMs = firstTokenMs, TotalMs = Elapsed(), Usage = Usage, Speculation = speculation };
        var end = reply.Turn with { Text = shown, State = state, Reply = record };
        await StoreAsync(last, [Fact(kind) with { State = state, Usage = Usage, Milliseconds = record.TotalMs }], end);
    }

    private async Task<bool> StoreAsync(ChatEvent appended, IReadOnlyList<JournalFact> facts, Turn? end)
    {
        var outcome = await log.AppendAsync(reply.Lease, eventCount, [appended], new(reply.Turn.Reply?.Seed, completionTokens, shownTokens), facts, end);
        if (outcome != AppendOutcome.Appended)
        {
            reply.End(EarlyEnd.Lost);
            return false;
        }
        eventCount++;
        reply.Show([appended]);
        return true;
    }

    /// <summary>Heartbeat, stop flag, and the end of a reply that nobody reads.</summary>
    private async Task WatchAsync(CancellationToken cancellation)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellation))
            {
                try
                {
                    if (!await log.RenewAsync(reply.Lease)) reply.End(EarlyEnd.Lost);
                    if (await log.IsStopAskedAsync(reply.Lease.Conversation, reply.Id)) reply.End(EarlyEnd.Stopped);
                    if (reply.TimeWithoutReader > settings.NoReader && await log.TimeWithoutRemoteReaderAsync(reply.Lease.Conversation, reply.Id) > settings.NoReader) reply.End(EarlyEnd.Stopped);
                }
                catch (ChatException e)
                {
                    logger.LogWarning(e, "Reply {Reply}: the heartbeat did not reach the store.", reply.Id);
                }
            }
        }
        catch (OperationCanceledException) { }
    }

    private Usage Usage => new(promptTokens ?? 0, completionTokens);

    private double Elapsed() => Math.Round(time.GetElapsedTime(accepted).TotalMilliseconds, 3);

    private JournalFact Fact(FactKind kind) => new() { Tenant = reply.Turn.Tenant, Kind = kind, At = time.GetUtcNow(), Turn = reply.Id, Model = request.Model };
}
