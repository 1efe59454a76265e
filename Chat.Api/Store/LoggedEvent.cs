using System.Diagnostics.CodeAnalysis;
using Chat.Domain.Conversations;

namespace Chat.Api.Store;

/// <summary>How far a reply's model was, for a process that goes on with it: under the same seed the same tokens come again.</summary>
/// <param name="Step">Tokens the model had chosen, those the safety gate still held among them.</param>
/// <param name="Tokens">Tokens of which every byte had been shown, or masked.</param>
internal sealed record ReplyProgress(long? Seed, int Step, int Tokens);

/// <summary>An event as the reply log keeps it. Readers take the event; what stands beside it never leaves the store.</summary>
internal sealed record LoggedEvent : ChatEvent
{
    [SetsRequiredMembers]
    public LoggedEvent(ChatEvent shown, ReplyProgress progress) : base(shown) => Progress = progress;

    public ReplyProgress Progress { get; }
}
