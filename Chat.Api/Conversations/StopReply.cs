using Chat.Api.Store;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>Ends a running reply; returns when its terminal event is logged. A reply that is over stays as it is.</summary>
public sealed record StopReply(string? ConversationId, string? ReplyId) : CallerRequest<Unit>;

internal sealed class StopReplyHandler(OwnConversations conversations, ReplyStopper stopper) : IRequestHandler<StopReply, Unit>
{
    public async Task<Unit> Handle(StopReply stop, CancellationToken cancellationToken)
    {
        var replyId = MessageText.Id(stop.ReplyId, "replyId");
        var conversation = await conversations.GetAsync(stop.Caller, stop.ConversationId);
        var reply = (await conversations.TurnsAsync(conversation)).Reply(replyId);
        if (reply.State == TurnState.Running) await stopper.StopAsync(conversation.Id, reply);
        return Unit.Value;
    }
}

/// <summary>Stops a reply wherever its writer is.</summary>
internal sealed class ReplyStopper(RunningReplies replies, ReplyReader reader, ReplyLog log)
{
    private static readonly TimeSpan Limit = TimeSpan.FromMilliseconds(1800);
    private static readonly TimeSpan DrainLimit = TimeSpan.FromMilliseconds(200);

    /// <exception cref="ChatException"><c>busy</c>: the writer did not answer; the wish stays and is heard when it does.</exception>
    public async Task StopAsync(string conversation, Turn reply)
    {
        var local = replies.Find(reply.Id);
        if (local is not null) local.End(EarlyEnd.Stopped);
        else await log.AskStopAsync(conversation, reply.Id);

        using var limit = new CancellationTokenSource(Limit);
        try
        {
            await foreach (var _ in reader.ReadAsync(conversation, reply, after: 0, limit.Token)) { }
        }
        catch (OperationCanceledException)
        {
            throw new ChatException(ChatError.Busy, "The reply's writer has not answered yet; it stops when it does.");
        }
        if (local is not null) await local.DrainedAsync(DrainLimit);
    }
}
