using Chat.Domain.Generation;

namespace Chat.Domain.Conversations;

/// <summary>
/// A conversation as it leaves the product for training: only with its owner's consent, without user and tenant, personal data masked. One line of the training export; what training reads.
/// </summary>
/// <param name="Schema"><see cref="Conversation.CurrentSchema"/>.</param>
/// <param name="Conversation">Its id, so that a later export without it takes it out of the training data.</param>
public sealed record ConsentedConversation(int Schema, string Conversation, string Bot, IReadOnlyList<ConsentedTurn> Turns);

/// <param name="ReplyTo">As in the history: siblings are edits of one message, or several replies to one.</param>
/// <param name="Rating">Only on replies.</param>
public sealed record ConsentedTurn(string Id, ChatRole Role, string Text, string? ReplyTo, Rating? Rating);
