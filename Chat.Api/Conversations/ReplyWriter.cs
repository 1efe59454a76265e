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
            await StoreAsync("", new(TurnState.Refused, Last(ChatEventType.Refused) with { Text = sentence }, FactKind.Refused));
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
            while (await DueAsync())
                if (!await AppendAsync(Take(chunks))) return;
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

    /// <summary>Waits for words and for the beat, for one behind it where the last words are too young. Looks for words at the beat: who waits for nothing else is not woken by the model.</summary>
    /// <returns>False when the model says nothing more.</returns>
    private async Task<bool> DueAsync()
    {
        while (shown.Length > 0)
        {
            await beat.NextAsync();
            reply.Ending.ThrowIfCancellationRequested();
            if (!next.IsCompleted) await next;
            else if (time.GetElapsedTime(lastTaken) >= settings.Coalesce * 0.8) break;
        }
        var isMore = await next;
        lastTaken = time.GetTimestamp();
        return isMore;
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
        foreach (var span in taken.Text.Spans) unshownBytes += span.SourceBytes;
        foreach (var span in taken.Held.Spans) unshownBytes += span.SourceBytes;
        for (; unshown.TryPeek(out var bytes) && bytes <= unshownBytes; shownTokens++) unshownBytes -= unshown.Dequeue();
        var text = taken.Text.Text + taken.Held.Text;

        if ((taken.Text.Refusal ?? taken.Held.Refusal) is { } refusal)
        {
            logger.LogInformation("Reply {Reply} was refused by rule {Rule}.", reply.Id, refusal.Rule);
            await StoreAsync(text, new(TurnState.Refused, Last(ChatEventType.Refused) with { Text = "The rest of this reply is withheld by the safety rules." }, FactKind.Refused));
            return false;
        }
        if (taken.End is not { } end) return text.Length == 0 || await StoreAsync(text);

        (completionTokens, speculation) = (end.CompletionTokens, end.Speculation);
        var (state, finish) = end.Reason switch
        {
            FinishReason.Length => (TurnState.Length, ReplyFinish.Length),
            FinishReason.Stopped => (TurnState.Stopped, ReplyFinish.Stopped),
            _ => (TurnState.Stop, ReplyFinish.Stop),
        };
        await FinishAsync(state, finish, text);
        return false;
    }

    private Task EndEarlyAsync() => reply.EarlyEnd switch
    {
        EarlyEnd.Stopped => FinishAsync(TurnState.Stopped, ReplyFinish.Stopped),
        EarlyEnd.ShuttingDown => FailAsync("The server is shutting down; the reply was interrupted. Send the message again for a new one.", ChatError.Busy),
        _ => Task.CompletedTask,     // another writer has it, or it was erased
    };

    private Task<bool> FinishAsync(TurnState state, ReplyFinish finish, string text = "") =>
        StoreAsync(text, new(state, Last(ChatEventType.Finished) with { FinishReason = finish, Usage = Usage }, state == TurnState.Stopped ? FactKind.Stopped : FactKind.Finished));

    private Task<bool> FailAsync(string sentence, ChatError error = ChatError.Busy) =>
        StoreAsync("", new(TurnState.Interrupted, Last(ChatEventType.Error) with { Text = $"{new ChatException(error, sentence).Code}: {sentence}" }, FactKind.Finished));

    /// <summary>Appends words, the reply's end, or both in one step, and shows them.</summary>
    /// <returns>False when another writer has the reply, or it was erased.</returns>
    private async Task<bool> StoreAsync(string text, ReplyEnd? end = null)
    {
        List<ChatEvent> events = new(2);
        List<JournalFact> facts = [];
        if (text.Length > 0)
        {
            if (firstTokenMs is null)
            {
                firstTokenMs = Elapsed();
                facts.Add(Fact(FactKind.FirstToken) with { Milliseconds = firstTokenMs });
            }
            events.Add(new() { Type = ChatEventType.Delta, ReplyId = reply.Id, Sequence = eventCount + 1, Text = text });
        }
        Turn? ended = null;
        if (end is not null)
        {
            var record = reply.Turn.Reply! with { FirstTokenMs = firstTokenMs, TotalMs = Elapsed(), Usage = Usage, Speculation = speculation };
            ended = reply.Turn with { Text = shown + text, State = end.State, Reply = record };
            facts.Add(Fact(end.Fact) with { State = end.State, Usage = Usage, Milliseconds = record.TotalMs });
            events.Add(end.Event with { Sequence = eventCount + events.Count + 1 });
        }
        var outcome = await log.AppendAsync(reply.Lease, eventCount, events, new(reply.Turn.Reply?.Seed, completionTokens, shownTokens), facts, ended);
        if (outcome != AppendOutcome.Appended)
        {
            reply.End(EarlyEnd.Lost);
            return false;
        }
        eventCount += events.Count;
        shown += text;
        reply.Show(events);
        return true;
    }

    private ChatEvent Last(ChatEventType type) => new() { Type = type, ReplyId = reply.Id, Sequence = 0 };

    /// <summary>How a reply ends.</summary>
    /// <param name="Event">The terminal event; its sequence is not set yet.</param>
    private sealed record ReplyEnd(TurnState State, ChatEvent Event, FactKind Fact);

    /// <summary>Heartbeat, stop flag, and the end of a reply that nobody reads.</summary>
    private async Task WatchAsync(CancellationToken cancellation)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), time);
        var counted = eventCount;
        try
        {
            while (await timer.WaitForNextTickAsync(cancellation))
            {
                try
                {
                    // An append renews the lease as well.
                    if (eventCount == counted && !await log.RenewAsync(reply.Lease)) reply.End(EarlyEnd.Lost);
                    counted = eventCount;
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
