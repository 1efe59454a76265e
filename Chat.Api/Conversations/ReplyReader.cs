using System.Runtime.CompilerServices;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using StackExchange.Redis;

namespace Chat.Api.Conversations;

/// <summary>
/// Reads a reply's events from any sequence to the end: first delivery, a second device and resume are this one path. A reply that this process
/// writes is read from memory; any other from its log and then, event by event, from the channel, with the log again where the channel has a gap.
/// </summary>
internal sealed class ReplyReader(RunningReplies replies, ReplyLog log, TimeProvider time)
{
    // Log and writer are looked at when the channel is silent this long, and now and then when it is not.
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(2);

    /// <param name="turn">The reply's turn as it was read; its owner is already checked.</param>
    /// <param name="after">Events with a greater sequence are given.</param>
    /// <exception cref="ChatException"><c>not_found</c>: the conversation was erased.</exception>
    public async IAsyncEnumerable<ChatEvent> ReadAsync(string conversation, Turn turn, long after, [EnumeratorCancellation] CancellationToken cancellation)
    {
        if (replies.Find(turn.Id) is { } running)
        {
            if (after > running.EventCount) yield break;
            await foreach (var shown in running.ReadAsync(after, cancellation))
            {
                after = shown.Sequence;
                yield return shown;
                if (shown.IsTerminal()) yield break;
            }
        }
        await foreach (var logged in ReadStoreAsync(conversation, turn, after, cancellation)) yield return logged;
    }

    private async IAsyncEnumerable<ChatEvent> ReadStoreAsync(string conversation, Turn turn, long after, [EnumeratorCancellation] CancellationToken cancellation)
    {
        var logged = await log.ReadAsync(conversation, turn.Id, 0);
        if (logged.Count == 0) throw ChatException.NoConversation();     // erased while it was read
        if (after > logged.Count) yield break;
        foreach (var item in logged.Skip((int)after))
        {
            after = item.Sequence;
            yield return item;
        }
        if (logged.Count > 0 && logged[^1].IsTerminal()) yield break;

        var channel = await log.FollowAsync(conversation);
        var isOver = false;
        try
        {
            for (; ; )
            {
                // What came in between, what the channel lost, and a writer that died.
                foreach (var item in await log.ReadAsync(conversation, turn.Id, after))
                {
                    after = item.Sequence;
                    isOver = item.IsTerminal();
                    yield return item;
                    if (isOver) yield break;
                }
                if (!await log.HasWriterAsync(conversation, turn.Id)
                    && (await log.InterruptAsync(conversation, turn) ?? throw ChatException.NoConversation()).State != TurnState.Running)
                {
                    isOver = true;
                    foreach (var item in await log.ReadAsync(conversation, turn.Id, after)) yield return item;
                    yield break;
                }
                await log.MarkReaderAsync(conversation, turn.Id);

                var looked = time.GetTimestamp();
                while (time.GetElapsedTime(looked) < LookAgain && await NextAsync(channel, turn.Id, cancellation) is { } item && item.Sequence <= after + 1)
                {
                    if (item.Sequence <= after) continue;
                    after = item.Sequence;
                    isOver = item.IsTerminal();
                    yield return item;
                    if (isOver) yield break;
                }
            }
        }
        finally
        {
            await channel.UnsubscribeAsync();
            if (!isOver) await LeaveAsync(conversation, turn.Id);
        }
    }

    /// <summary>The time without a reader counts from now; without the mark, from the last one.</summary>
    private async Task LeaveAsync(string conversation, string reply)
    {
        try { await log.MarkReaderAsync(conversation, reply); }
        catch (Exception e) when (e is ChatException or ObjectDisposedException) { }     // the store stays away, or this process ends
    }

    /// <returns>The next event of the reply on the channel; null when it is silent.</returns>
    private static async Task<ChatEvent?> NextAsync(ChannelMessageQueue channel, string reply, CancellationToken cancellation)
    {
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        silence.CancelAfter(Silence);
        try
        {
            for (; ; )
            {
                var message = await channel.ReadAsync(silence.Token);
                var item = ConversationStore.Read(message.Message, StoreJson.Default.ChatEvent);
                if (item.ReplyId == reply) return item;
            }
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return null;
        }
    }
}
