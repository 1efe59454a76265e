using Chat.Domain.Generation;

namespace Chat.Models.Engine;

/// <summary>From messages to ids: what the model reads, and the dialogue that penalties and bans look at. Thread-safe.</summary>
public interface IDialogueReader
{
    /// <returns>At most as many context ids as the model reads; the turns' ids, each turn ended by the separator.</returns>
    /// <exception cref="GenerationException">There is nothing to answer, or the model does not take these messages.</exception>
    (int[] Context, int[] Dialogue) Read(IReadOnlyList<ChatMessage> messages);
}

internal static class PromptBeginning
{
    // They have nothing in common, not a first byte: what their prompts share is the template's and the system message's.
    private static readonly string[] Messages = ["a", "Z", "1", "你", "é", "(", "\"", " x"];

    /// <summary>The tokens that each prompt with this system message begins with, whatever is said behind it; with an empty one, what the model's template puts there.</summary>
    public static int[] Beginning(this IDialogueReader reader, string systemPrompt)
    {
        ChatMessage[] system = systemPrompt.Length > 0 ? [new(ChatRole.System, systemPrompt)] : [];
        int[][] prompts = [.. Messages.Select(text => reader.Read([.. system, new(ChatRole.User, text)]).Context)];
        return prompts.Aggregate((one, other) => one[..one.AsSpan().CommonPrefixLength(other)]);
    }
}
