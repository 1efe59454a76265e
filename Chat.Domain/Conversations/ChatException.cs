namespace Chat.Domain.Conversations;

public enum ChatError { NotFound, Invalid, Conflict, Busy, Limited, TooLarge }

/// <summary>
/// A request that is not answered, for a reason that its caller may read. The message is one or two sentences, names the value and the
/// choices, and never says whether somebody else's thing exists.
/// </summary>
public sealed class ChatException(ChatError error, string message, Exception? inner = null) : Exception(message, inner)
{
    public ChatError Error { get; } = error;

    /// <summary>When it is worth coming again; <c>busy</c> and <c>limited</c> have it where it is known.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>The error's word on the wire.</summary>
    public string Code => Error switch
    {
        ChatError.NotFound => "not_found",
        ChatError.Invalid => "invalid",
        ChatError.Conflict => "conflict",
        ChatError.Busy => "busy",
        ChatError.Limited => "limited",
        ChatError.TooLarge => "too_large",
        _ => throw new InvalidOperationException($"No word for {Error}."),
    };

    /// <summary>One sentence for an unknown id and for somebody else's: the two may not be told apart.</summary>
    public static ChatException NoConversation() => new(ChatError.NotFound, "No such conversation.");

    public static ChatException NoTurn(string what) => new(ChatError.NotFound, $"No such {what} in this conversation.");

    public static ChatException Invalid(string message) => new(ChatError.Invalid, message);
}
