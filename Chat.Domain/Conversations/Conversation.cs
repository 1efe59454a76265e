using System.Text.Json.Nodes;

namespace Chat.Domain.Conversations;

/// <summary>Who calls. The tenant is part of the identity: the same user name in two tenants is two people.</summary>
public sealed record Caller(string Tenant, string User)
{
    /// <summary>Reserved for the roles of the product team and of ops; a plain user has none.</summary>
    public IReadOnlyList<string> Roles { get; init; } = [];

    /// <summary>Tenant and user are the identity; roles are not.</summary>
    public bool Equals(Caller? other) => other is not null && other.Tenant == Tenant && other.User == User;

    public override int GetHashCode() => HashCode.Combine(Tenant, User);
}

/// <summary>What a client may choose for a conversation or a reply. Absent fields take the conversation's, then the bot's, then the model's value.</summary>
public sealed record ReplyOptions
{
    /// <summary>Only when a conversation starts: it belongs to one bot.</summary>
    public string? Bot { get; init; }
    public string? Model { get; init; }

    /// <summary><c>strategy</c>, the common decoding options and the strategy's own; checked by the model.</summary>
    public JsonObject? Decoding { get; init; }

    // The fields below belong to features of later issues. They exist so that a client that sends one is told so instead of being ignored.
    public string? Arm { get; init; }
    public string? Pack { get; init; }
    public string? SoftPrompt { get; init; }
    public string? SafetyProfile { get; init; }

    /// <exception cref="ChatException">A field whose feature this server does not have.</exception>
    public void RefuseWhatIsNotServed()
    {
        var refused = new[] { ("arm", Arm), ("pack", Pack), ("softPrompt", SoftPrompt), ("safetyProfile", SafetyProfile) };
        if (refused.FirstOrDefault(f => f.Item2 is not null) is ({ } name, { }))
            throw ChatException.Invalid($"This server has no '{name}' to choose from; leave the option out. Options served: bot, model, decoding.");
    }

    /// <summary>
    /// These options where they are given, else the <paramref name="fallback"/>'s. Decoding is merged field by field, unless another strategy is
    /// named: the fallback's own options would then be unknown to it.
    /// </summary>
    public ReplyOptions Over(ReplyOptions? fallback)
    {
        if (fallback is null) return this;
        return this with { Bot = Bot ?? fallback.Bot, Model = Model ?? fallback.Model, Decoding = Merge(Decoding, fallback.Decoding) };
    }

    private static JsonObject? Merge(JsonObject? decoding, JsonObject? fallback)
    {
        if (decoding is null || fallback is null) return decoding ?? fallback;
        if (decoding["strategy"] is { } strategy && !JsonNode.DeepEquals(strategy, fallback["strategy"])) return decoding;
        var merged = (JsonObject)fallback.DeepClone();
        foreach (var (name, value) in decoding) merged[name] = value?.DeepClone();
        return merged;
    }
}

/// <summary>A conversation as clients see it.</summary>
public sealed record ConversationInfo(string ConversationId, string Title, DateTimeOffset CreatedAt);

/// <summary>A conversation as it is stored, without its turns. Title and last activity change; the rest never does.</summary>
public sealed record Conversation
{
    public const int CurrentSchema = 1;
    public const int TitleLength = 60;

    public int Schema { get; init; } = CurrentSchema;
    public required string Tenant { get; init; }
    public required string User { get; init; }
    public required string Id { get; init; }
    public required string Bot { get; init; }
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>What the client chose when it started the conversation.</summary>
    public ReplyOptions? Options { get; init; }

    /// <summary>Empty until the first message or a rename.</summary>
    public string Title { get; init; } = "";
    public DateTimeOffset UpdatedAt { get; init; }

    public ConversationInfo Info => new(Id, Title, CreatedAt);

    public bool IsOwnedBy(Caller caller) => caller.Tenant == Tenant && caller.User == User;

    /// <summary>The first characters of the first message; a surrogate pair is not cut in two.</summary>
    public static string TitleOf(string text)
    {
        if (text.Length <= TitleLength) return text;
        return text[..(char.IsHighSurrogate(text[TitleLength - 1]) ? TitleLength - 1 : TitleLength)];
    }
}
