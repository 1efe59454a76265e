using Chat.Domain.Generation;
using Chat.Models.Tokenizers;

namespace Chat.Models.Engine;

/// <summary>
/// From messages to ids: what the model reads, and the dialogue that penalties and bans look at (turns ended by separators; at least as much as
/// the model reads, at most <see cref="LongestDialogue"/> ids). System messages are read as the oldest utterance and stay when older turns drop, as long
/// as the last turn fits beside them; they were said by nobody, so repetition is not counted against them. Thread-safe.
/// </summary>
public sealed class DialogueReader(ITextTokenizer tokenizer, int longestContext) : IDialogueReader
{
    public const int LongestDialogue = 4096;

    // No token of a usual vocabulary is longer; a text's end that holds more than the limit's tokens is all that can be kept anyway.
    private const int LongestToken = 64;

    /// <exception cref="GenerationException">There is nothing to answer.</exception>
    public (int[] Context, int[] Dialogue) Read(IReadOnlyList<ChatMessage> messages)
    {
        var turns = new List<IReadOnlyList<int>>();
        var length = 0;
        for (var i = messages.Count - 1; i >= 0 && length < Math.Max(longestContext, LongestDialogue); i--)
            if (messages[i].Role != ChatRole.System)
            {
                turns.Add(Encode(messages[i].Text));
                length += turns[^1].Count + 1;
            }
        turns.Reverse();
        if (turns.Count == 0) throw new GenerationException(GenerationError.InvalidOption, "There is no message to answer: messages needs at least one that is not from the system.", "messages");

        int[] dialogue = [.. turns.SelectMany(t => t.Append(tokenizer.Special.Separator)).TakeLast(Math.Max(longestContext, LongestDialogue))];
        return (Pack(System(messages), turns), dialogue);
    }

    private int[] Pack(IReadOnlyList<int> system, List<IReadOnlyList<int>> turns)
    {
        var beside = longestContext - system.Count - 1;
        if (system.Count == 0 || turns[^1].Count + 2 > beside) return ContextPacker.Pack(turns, tokenizer.Special, longestContext);
        return [.. system, tokenizer.Special.Separator, .. ContextPacker.Pack(turns, tokenizer.Special, beside)];
    }

    private IReadOnlyList<int> System(IReadOnlyList<ChatMessage> messages) =>
        Encode(string.Join('\n', messages.Where(m => m.Role == ChatRole.System).Select(m => m.Text)));

    private IReadOnlyList<int> Encode(string text)
    {
        var most = Math.Max(longestContext, LongestDialogue) * LongestToken;
        if (text.Length <= most) return tokenizer.Encode(text);
        var from = text.Length - most;
        return tokenizer.Encode(text[(char.IsLowSurrogate(text[from]) ? from + 1 : from)..]);
    }
}
