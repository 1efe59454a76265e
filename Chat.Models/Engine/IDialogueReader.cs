using Chat.Domain.Generation;

namespace Chat.Models.Engine;

/// <summary>From messages to ids: what the model reads, and the dialogue that penalties and bans look at. Thread-safe.</summary>
public interface IDialogueReader
{
    /// <returns>At most as many context ids as the model reads; the turns' ids, each turn ended by the separator.</returns>
    /// <exception cref="GenerationException">There is nothing to answer, or the model does not take these messages.</exception>
    (int[] Context, int[] Dialogue) Read(IReadOnlyList<ChatMessage> messages);
}
