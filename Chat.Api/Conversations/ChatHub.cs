using Chat.Api.Identity;
using Chat.Domain.Conversations;
using MediatR;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.SignalR;

namespace Chat.Api.Conversations;

/// <summary>
/// The way in for chat clients, JSON or MessagePack. Each method puts the caller's identity in and hands the request on; what it does stands in
/// the request's file. Errors are «code: sentence» (<see cref="HubErrors"/>).
/// </summary>
[Authorize]
internal sealed class ChatHub(IMediator mediator) : Hub
{
    private Caller Caller => Context.User!.Caller();

    public Task<ConversationInfo> StartConversation(ReplyOptions? options) =>
        mediator.Send(new StartConversation(options) { Caller = Caller });

    public Task<IAsyncEnumerable<ChatEvent>> Send(SendMessage? message, CancellationToken cancellation) =>
        mediator.Send((message ?? throw ChatException.Invalid("'message' is missing.")) with { Caller = Caller }, cancellation);

    public Task<IAsyncEnumerable<ChatEvent>> Attach(string? conversationId, string? replyId, long afterSequence, CancellationToken cancellation) =>
        mediator.Send(new AttachReply(conversationId, replyId, afterSequence) { Caller = Caller }, cancellation);

    public Task Stop(string? conversationId, string? replyId) =>
        mediator.Send(new StopReply(conversationId, replyId) { Caller = Caller });

    public Task<IAsyncEnumerable<ChatEvent>> Regenerate(string? conversationId, string? replyId, string? requestId, ReplyOptions? options, CancellationToken cancellation) =>
        mediator.Send(new RegenerateReply(conversationId, replyId, requestId, options) { Caller = Caller }, cancellation);

    public Task<IAsyncEnumerable<ChatEvent>> Edit(string? conversationId, string? messageId, string? newMessageId, string? text, CancellationToken cancellation) =>
        mediator.Send(new EditMessage(conversationId, messageId, newMessageId, text) { Caller = Caller }, cancellation);

    public Task Rate(string? conversationId, string? replyId, string? rating, string? comment) =>
        mediator.Send(new RateReply(conversationId, replyId, rating, comment) { Caller = Caller });

    public Task Choose(string? conversationId, string? pairId, string? replyId) =>
        mediator.Send(new ChooseReply(conversationId, pairId, replyId) { Caller = Caller });

    public Task<History> History(string? conversationId, string? before, int limit) =>
        mediator.Send(new ReadHistory(conversationId, before, limit) { Caller = Caller });
}
