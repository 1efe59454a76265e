using Chat.Api.Store;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

public sealed record ReadConversation(string Id) : CallerRequest<ConversationSummary>;

internal sealed class ReadConversationHandler(OwnConversations conversations) : IRequestHandler<ReadConversation, ConversationSummary>
{
    public async Task<ConversationSummary> Handle(ReadConversation read, CancellationToken cancellationToken) =>
        ConversationSummary.Of(await conversations.GetAsync(read.Caller, read.Id));
}

/// <summary>Everything that is stored of a conversation, in the form in which it is stored.</summary>
public sealed record ExportConversation(string Id) : CallerRequest<ConversationExport>;

public sealed record ConversationExport(Conversation Conversation, IReadOnlyList<Turn> Turns, IReadOnlyDictionary<string, RatedReply> Ratings, IReadOnlyList<JournalFact> Journal);

internal sealed class ExportConversationHandler(OwnConversations conversations, ConversationStore store) : IRequestHandler<ExportConversation, ConversationExport>
{
    public async Task<ConversationExport> Handle(ExportConversation export, CancellationToken cancellationToken)
    {
        var conversation = await conversations.GetAsync(export.Caller, export.Id);
        var transcript = await conversations.TurnsAsync(conversation);
        var turns = await Task.WhenAll(transcript.Turns.Select(t => conversations.WithShownTextAsync(conversation, t)));
        return new(conversation, turns, await store.RatingsAsync(conversation.Id), await store.JournalAsync(conversation.Id));
    }
}
