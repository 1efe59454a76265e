using System.Buffers.Text;
using System.Globalization;
using System.Text;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>The caller's conversations, the one last written to first.</summary>
/// <param name="Query">Only those whose title or turns contain this, whatever its case.</param>
/// <param name="Cursor">Where the page before ended.</param>
public sealed record ListConversations(int Limit, string? Cursor, string? Query) : CallerRequest<ConversationList>;

public sealed record ConversationList(IReadOnlyList<ConversationSummary> Conversations, string? NextCursor);

public sealed record ConversationSummary(string ConversationId, string Title, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, string Bot)
{
    public static ConversationSummary Of(Conversation c) => new(c.Id, c.Title, c.CreatedAt, c.UpdatedAt, c.Bot);
}

internal sealed class ListConversationsHandler(ConversationStore store) : IRequestHandler<ListConversations, ConversationList>
{
    private const int LongestQuery = 200;

    public async Task<ConversationList> Handle(ListConversations list, CancellationToken cancellationToken)
    {
        if (list.Limit is < 1 or > 200) throw ChatException.Invalid($"'limit' is {list.Limit}; it must be 1 to 200.");
        if (list.Query?.Length > LongestQuery) throw new ChatException(ChatError.TooLarge, $"'q' has {list.Query.Length} characters; at most {LongestQuery} are allowed.");

        var page = new List<ConversationSummary>();
        ListPlace last = default;
        await foreach (var (conversation, place) in store.ListAsync(list.Caller, Parse(list.Cursor)).WithCancellation(cancellationToken))
        {
            if (!await MatchesAsync(conversation, list.Query)) continue;
            if (page.Count == list.Limit) return new(page, Cursor(last));
            page.Add(ConversationSummary.Of(conversation));
            last = place;
        }
        return new(page, null);
    }

    private async Task<bool> MatchesAsync(Conversation conversation, string? query)
    {
        if (string.IsNullOrWhiteSpace(query)) return true;
        if (Contains(conversation.Title)) return true;
        return (await store.TurnsAsync(conversation.Id)).Turns.Any(t => Contains(t.Text));

        bool Contains(string text) => CultureInfo.InvariantCulture.CompareInfo.IndexOf(text, query, CompareOptions.IgnoreCase) >= 0;
    }

    private static string Cursor(ListPlace last) =>
        Base64Url.EncodeToString(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{last.Score:R}:{last.Id}")));

    private static ListPlace? Parse(string? cursor)
    {
        if (string.IsNullOrEmpty(cursor)) return null;
        try
        {
            var parts = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(cursor)).Split(':', 2);
            var score = double.Parse(parts[0], CultureInfo.InvariantCulture);
            return double.IsFinite(score) ? new(score, parts[1]) : throw new FormatException();
        }
        catch (Exception e) when (e is FormatException or IndexOutOfRangeException)
        {
            throw ChatException.Invalid("'cursor' is not one that this server gave; leave it out for the first page.");
        }
    }
}
