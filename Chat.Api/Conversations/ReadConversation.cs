using Chat.Api.Store;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

public sealed record ReadConversation(string Id) : CallerRequest<ConversationDetails>;

/// <param name="Ratings">By replyId; what was taken back is absent. History does not carry them.</param>
public sealed record ConversationDetails(string ConversationId, string Title, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, string Bot, IReadOnlyDictionary<string, Rating> Ratings);

internal sealed class ReadConversationHandler(OwnConversations conversations, ConversationStore store) : IRequestHandler<ReadConversation, ConversationDetails>
{
    public async Task<ConversationDetails> Handle(ReadConversation read, CancellationToken cancellationToken)
    {
        var conversation = await conversations.GetAsync(read.Caller, read.Id);
        var ratings = await store.RatingsAsync(conversation.Id);
        return new(conversation.Id, conversation.Title, conversation.CreatedAt, conversation.UpdatedAt, conversation.Bot,
            ratings.Where(r => r.Value.Value is not null).ToDictionary(r => r.Key, r => r.Value.Value!.Value));
    }
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
