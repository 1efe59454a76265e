using Chat.Api.Conversations;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Microsoft.Extensions.Logging.Abstractions;

namespace Chat.IntegrationTests.Conversations;

/// <summary>A process's own replies.</summary>
public sealed class RunningReplyTests
{
    [Fact]
    public async Task A_reply_whose_last_event_is_shown_counts_no_more_though_its_writer_still_works()
    {
        var alice = new Caller("", "alice");
        var reply = new RunningReply(alice, new("c", "r", "1"), new() { Tenant = "", Id = "r", Role = ChatRole.Assistant, Text = "", State = TurnState.Running, CreatedAt = DateTimeOffset.UnixEpoch }, Event(ChatEventType.Started, 1), TimeProvider.System);
        var replies = new RunningReplies(null!, null!, TimeProvider.System, NullLogger<RunningReplies>.Instance);
        var tidying = new TaskCompletionSource();
        replies.Run(reply, () => tidying.Task);

        Assert.Equal(1, replies.CountOf(alice));
        Assert.Equal(0, replies.CountOf(new("", "bob")));
        reply.Show([Event(ChatEventType.Delta, 2)]);
        Assert.Equal(1, replies.CountOf(alice));
        reply.Show([Event(ChatEventType.Finished, 3)]);
        Assert.Equal(0, replies.CountOf(alice));
        Assert.Same(reply, replies.Find("r"));

        tidying.SetResult();
        await Until.TrueAsync(() => replies.Find("r") is null);
    }

    private static ChatEvent Event(ChatEventType type, long sequence) => new() { Type = type, ReplyId = "r", Sequence = sequence };
}
