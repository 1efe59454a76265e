namespace Chat.Domain.Conversations;

/// <summary>What a text or an id from a client must look like before anything is done with it.</summary>
public static class MessageText
{
    public const int MaxLength = 20_000;
    public const int MaxComment = 2_000;
    public const int MaxTitle = 200;
    public const int MaxId = 128;

    /// <summary>A message: 1 to 20,000 UTF-16 code units, well-formed, not only white space.</summary>
    public static string Message(string? text)
    {
        if (string.IsNullOrWhiteSpace(text)) throw ChatException.Invalid("'text' is empty; a message has 1 to 20,000 characters, not only white space.");
        return WellFormed(Capped(text, MaxLength, "text"), "text");
    }

    public static string? Comment(string? comment) => comment is null ? null : WellFormed(Capped(comment, MaxComment, "comment"), "comment");

    public static string Title(string? title)
    {
        if (string.IsNullOrWhiteSpace(title) || title.Length > MaxTitle) throw ChatException.Invalid($"'title' has {title?.Length ?? 0} characters; it must have 1 to {MaxTitle}, not only white space.");
        return WellFormed(title, "title");
    }

    /// <summary>An id that a client chose: 1 to 128 characters of any script, no control characters.</summary>
    public static string Id(string? id, string name)
    {
        if (string.IsNullOrWhiteSpace(id)) throw ChatException.Invalid($"'{name}' is missing.");
        if (id.Length > MaxId) throw ChatException.Invalid($"'{name}' has {id.Length} characters; at most {MaxId} are allowed.");
        if (id.Any(char.IsControl)) throw ChatException.Invalid($"'{name}' contains a control character.");
        return WellFormed(id, name);
    }

    private static string Capped(string text, int length, string name) => text.Length <= length ? text
        : throw new ChatException(ChatError.TooLarge, $"'{name}' has {text.Length} characters; at most {length} are allowed.");

    private static string WellFormed(string text, string name)
    {
        for (var i = 0; i < text.Length; i++)
        {
            if (!char.IsSurrogate(text[i])) continue;
            if (i + 1 >= text.Length || !char.IsSurrogatePair(text[i], text[i + 1])) throw ChatException.Invalid($"'{name}' has half a surrogate pair at position {i}.");
            i++;
        }
        return text;
    }
}
