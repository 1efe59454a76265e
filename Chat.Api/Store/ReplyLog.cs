using System.Globalization;
using Chat.Domain.Conversations;
using StackExchange.Redis;

namespace Chat.Api.Store;

/// <summary>The right to write one reply: whoever holds the conversation's newest token. Lost without notice; every write checks it.</summary>
internal sealed record WriterLease(string Conversation, string Reply, string Token);

internal enum BeginOutcome { Begun, Gone, Busy, Exists }

internal enum AppendOutcome { Appended, Fenced, Gap }

/// <summary>
/// The reply log: a list of events a reply, the single writer's lease, and the channel that carries events as they are appended. Thread-safe.
/// </summary>
internal sealed class ReplyLog(StoreConnection connection, ReplyBeat beat, Retention retention, TimeProvider time)
{
    /// <summary>A lease outlives its process by at most this. The contract allows 5 s; the rest is for the store's clock.</summary>
    public static readonly TimeSpan LeaseTime = TimeSpan.FromMilliseconds(4800);

    /// <summary>How long a log can be read after its terminal event.</summary>
    private static readonly TimeSpan KeepTime = TimeSpan.FromHours(24);

    /// <summary>How long it is known that a reader on another gateway was there.</summary>
    public static readonly TimeSpan ReaderMark = TimeSpan.FromMinutes(10);

    /// <summary>Takes the lease and stores all that a reply begins with, in one step. Returns when it is durable.</summary>
    /// <param name="message">The user's turn, when it is new.</param>
    /// <param name="request">A Regenerate's id and what was heard under it before, if anything.</param>
    public async Task<(BeginOutcome Outcome, WriterLease? Lease)> BeginAsync(
        string conversation, Turn? message, Turn reply, ChatEvent started, string title, IReadOnlyList<JournalFact> facts,
        (string Id, HeardRequest Heard, HeardRequest? Before)? request)
    {
        RedisKey[] keys =
        [
            Keys.Conversation(conversation), Keys.Lease(conversation), Keys.Fence(conversation), Keys.Turns(conversation), Keys.Order(conversation),
            Keys.Journal(conversation), Keys.Log(conversation, reply.Id), Keys.Requests(conversation), Keys.Ratings(conversation),
        ];
        RedisValue[] values =
        [
            reply.Id, Milliseconds(LeaseTime), message?.Id ?? "", message is null ? "" : ConversationStore.Write(message, StoreJson.Default.Turn),
            ConversationStore.Write(reply, StoreJson.Default.Turn), ConversationStore.Write(started, StoreJson.Default.ChatEvent),
            title, time.GetUtcNow().ToUnixTimeMilliseconds(), Keys.Events(conversation).ToString(),
            request?.Id ?? "", request is { } r ? ConversationStore.Write(r.Heard, StoreJson.Default.HeardRequest) : "",
            request?.Before is { } before ? ConversationStore.Write(before, StoreJson.Default.HeardRequest) : "",
            retention.For(reply.Tenant) is { } kept ? Milliseconds(kept) : 0,
            .. facts.Select(f => (RedisValue)ConversationStore.Write(f, StoreJson.Default.JournalFact)),
        ];
        // Named before it is there, so that a crash in between cannot hide it.
        await connection.CallAsync(db => db.SortedSetAddAsync(Keys.Running, Running(conversation, reply.Id), time.GetUtcNow().ToUnixTimeMilliseconds()));
        var answer = (string[])(await connection.CallAsync(db => db.ScriptEvaluateAsync(StoreScripts.Begin, keys, values)))!;
        if (answer[0] != "ok") await ForgetRunningAsync(conversation, reply.Id);
        switch (answer[0])
        {
            case "ok":
                await connection.CommitAsync();
                return (BeginOutcome.Begun, new(conversation, reply.Id, answer[1]));
            case "busy": return (BeginOutcome.Busy, null);
            case "exists": return (BeginOutcome.Exists, null);
            default: return (BeginOutcome.Gone, null);
        }
    }

    /// <summary>Appends events in one step, together with what other replies append just then, and publishes them; with <paramref name="end"/> the reply is over and the call returns when that is durable.</summary>
    /// <param name="before">How many events the log has, as the writer knows it.</param>
    /// <param name="progress">Where the model stood.</param>
    public async Task<AppendOutcome> AppendAsync(WriterLease lease, long before, IReadOnlyList<ChatEvent> events, ReplyProgress progress, IReadOnlyList<JournalFact> facts, Turn? end = null)
    {
        var id = lease.Conversation;
        RedisKey[] keys = [Keys.Fence(id), Keys.Lease(id), Keys.Log(id, lease.Reply), Keys.Turns(id), Keys.Journal(id)];
        RedisValue[] values =
        [
            lease.Token, Milliseconds(LeaseTime), lease.Reply, before, Keys.Events(id).ToString(), end is null ? "" : ConversationStore.Write(end, StoreJson.Default.Turn),
            Milliseconds(KeepTime), events.Count,
            .. events.Select(e => (RedisValue)ConversationStore.Write(new LoggedEvent(e, progress), StoreJson.Default.LoggedEvent)),
            .. facts.Select(f => (RedisValue)ConversationStore.Write(f, StoreJson.Default.JournalFact)),
        ];
        var answer = (string?)await beat.EvaluateAsync(StoreScripts.Append, keys, values);
        if (answer != "ok") return answer == "fenced" ? AppendOutcome.Fenced : AppendOutcome.Gap;
        if (end is not null)
        {
            // On one connection: what is forgotten is never more durable than the end.
            var forgotten = ForgetRunningAsync(id, lease.Reply);
            await connection.CommitAsync();
            await forgotten;
        }
        return AppendOutcome.Appended;
    }

    /// <summary>The heartbeat. False when another writer took over or the conversation was erased.</summary>
    public async Task<bool> RenewAsync(WriterLease lease) =>
        "fenced" != (string?)await connection.CallAsync(db => db.ScriptEvaluateAsync(StoreScripts.Renew,
            [Keys.Fence(lease.Conversation), Keys.Lease(lease.Conversation), Keys.Log(lease.Conversation, lease.Reply)], [lease.Token, Milliseconds(LeaseTime), lease.Reply]));

    /// <summary>The events behind a sequence; none when the log is not there (any more).</summary>
    public async Task<IReadOnlyList<ChatEvent>> ReadAsync(string conversation, string reply, long after)
    {
        var events = await connection.CallAsync(db => db.ListRangeAsync(Keys.Log(conversation, reply), after));
        return [.. events.Select(e => ConversationStore.Read(e, StoreJson.Default.ChatEvent))];
    }

    public Task<bool> ExistsAsync(string conversation, string reply) => connection.CallAsync(db => db.KeyExistsAsync(Keys.Log(conversation, reply)));

    /// <summary>Whether somebody is writing this reply.</summary>
    public async Task<bool> HasWriterAsync(string conversation, string reply)
    {
        var holder = (string?)await connection.CallAsync(db => db.StringGetAsync(Keys.Lease(conversation)));
        return holder is not null && holder.EndsWith(":" + reply, StringComparison.Ordinal);
    }

    /// <summary>
    /// Ends a reply whose writer is gone as <c>interrupted</c>, with the text that was logged. Nothing happens where a writer lives.
    /// </summary>
    /// <returns>The turn as it now is; null when it was erased.</returns>
    public async Task<Turn?> InterruptAsync(string conversation, Turn turn)
    {
        for (; ; )
        {
            var stored = await connection.CallAsync(db => db.HashGetAsync(Keys.Turns(conversation), turn.Id));
            if (stored.IsNull) return null;
            turn = ConversationStore.Read(stored, StoreJson.Default.Turn);
            if (turn.State != TurnState.Running || await HasWriterAsync(conversation, turn.Id)) return turn;

            var log = await ReadAsync(conversation, turn.Id, 0);
            var ended = turn with { State = TurnState.Interrupted, Text = TextOf(log) };
            var lost = new ChatEvent { Type = ChatEventType.Error, ReplyId = turn.Id, Sequence = log.Count + 1, Text = "The reply was interrupted: the server that wrote it is gone. Send the message again for a new one." };
            var fact = new JournalFact { Tenant = turn.Tenant, Kind = FactKind.Finished, At = time.GetUtcNow(), Turn = turn.Id, Model = turn.Reply?.Model, State = TurnState.Interrupted };
            var answer = (string?)await connection.CallAsync(db => db.ScriptEvaluateAsync(StoreScripts.Interrupt,
                [Keys.Fence(conversation), Keys.Lease(conversation), Keys.Log(conversation, turn.Id), Keys.Turns(conversation), Keys.Journal(conversation)],
                [turn.Id, log.Count, stored, ConversationStore.Write(ended, StoreJson.Default.Turn), ConversationStore.Write(lost, StoreJson.Default.ChatEvent),
                 Keys.Events(conversation).ToString(), Milliseconds(KeepTime), ConversationStore.Write(fact, StoreJson.Default.JournalFact)]));
            if (answer == "ok")
            {
                await ForgetRunningAsync(conversation, turn.Id);
                return ended;
            }
            if (answer == "alive") return turn;
        }
    }

    /// <summary>The replies that have been running for longer than a lease lasts, as far as <c>chat:running</c> knows.</summary>
    public async Task<IReadOnlyList<(string Conversation, string Reply)>> RunningAsync()
    {
        var latest = (time.GetUtcNow() - LeaseTime).ToUnixTimeMilliseconds();
        var members = await connection.CallAsync(db => db.SortedSetRangeByScoreAsync(Keys.Running, stop: latest));
        return [.. members.Select(m => ((string)m!).Split('/')).Select(p => (p[0], p[1]))];
    }

    /// <summary>Ends a reply whose writer is gone, and takes what is over out of <c>chat:running</c>.</summary>
    public async Task MendRunningAsync(string conversation, string reply)
    {
        var stored = await connection.CallAsync(db => db.HashGetAsync(Keys.Turns(conversation), reply));
        if (!stored.IsNull && ConversationStore.Read(stored, StoreJson.Default.Turn) is { State: TurnState.Running } turn
            && await InterruptAsync(conversation, turn) is { State: TurnState.Running }) return;     // its writer lives
        await ForgetRunningAsync(conversation, reply);
    }

    /// <summary>A subscription to the events of a conversation's replies, as JSON. Dispose it by unsubscribing.</summary>
    public Task<ChannelMessageQueue> FollowAsync(string conversation) => connection.Subscriber.SubscribeAsync(Keys.Events(conversation));

    /// <summary>Tells the writer, wherever it is, that somebody on another gateway reads along.</summary>
    public Task MarkReaderAsync(string conversation, string reply) => connection.CallAsync(db => db.StringSetAsync(Keys.Reader(conversation, reply), "1", ReaderMark));

    /// <returns>How long ago a reader on another gateway was last there; at least <see cref="ReaderMark"/> when nobody knows of one.</returns>
    public async Task<TimeSpan> TimeWithoutRemoteReaderAsync(string conversation, string reply) =>
        ReaderMark - (await connection.CallAsync(db => db.KeyTimeToLiveAsync(Keys.Reader(conversation, reply))) ?? TimeSpan.Zero);

    /// <summary>Asks the writer, wherever it is, to stop. The flag stays for a writer that is cut off just now.</summary>
    public async Task AskStopAsync(string conversation, string reply)
    {
        await connection.CallAsync(db => db.StringSetAsync(Keys.Stop(conversation, reply), "1", TimeSpan.FromMinutes(5)));
        await connection.CallAsync(db => db.PublishAsync(Keys.Stops, reply));
    }

    public Task<bool> IsStopAskedAsync(string conversation, string reply) => connection.CallAsync(db => db.KeyExistsAsync(Keys.Stop(conversation, reply)));

    /// <summary>The ids of replies that are to stop, whoever writes them.</summary>
    public Task<ChannelMessageQueue> FollowStopsAsync() => connection.FirstSubscriptionAsync(Keys.Stops);

    public static string TextOf(IEnumerable<ChatEvent> log) => string.Concat(log.Where(e => e.Type == ChatEventType.Delta).Select(e => e.Text));

    private static string Running(string conversation, string reply) => $"{conversation}/{reply}";

    /// <summary>Takes a reply that another writer has, or that was erased, out of <c>chat:running</c>; whoever took it over ends it.</summary>
    public Task LeaveAsync(WriterLease lease) => ForgetRunningAsync(lease.Conversation, lease.Reply);

    private Task<bool> ForgetRunningAsync(string conversation, string reply) => connection.CallAsync(db => db.SortedSetRemoveAsync(Keys.Running, Running(conversation, reply)));

    private static long Milliseconds(TimeSpan time) => (long)time.TotalMilliseconds;
}
