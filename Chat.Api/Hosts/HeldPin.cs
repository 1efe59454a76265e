using System.Security.Cryptography;
using System.Text;
using Chat.Models.Engine;

namespace Chat.Api.Hosts;

/// <summary>A pin as whoever holds it tells of it: the prompt itself stays there.</summary>
internal sealed record HeldPin(string Name, string PromptSha256, bool IsConfigured, int Tokens, long Bytes)
{
    public static HeldPin Of(PinnedPrompt pinned) => new(pinned.Name, HashOf(pinned.SystemPrompt), pinned.IsConfigured, pinned.Kept.Tokens, pinned.Kept.Bytes);

    public static string HashOf(string systemPrompt) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(systemPrompt)));
}
