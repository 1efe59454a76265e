using System.Text.Json;
using System.Text.Json.Serialization;

namespace Chat.Api.OpenAi;

/// <summary>An answer in one piece.</summary>
public sealed record Completion(string Id, long Created, string Model, [property: JsonPropertyName("system_fingerprint")] string SystemFingerprint, IReadOnlyList<Choice> Choices, CompletionUsage Usage)
{
    public string Object => "chat.completion";
}

public sealed record Choice(int Index, AssistantMessage Message, Logprobs? Logprobs, [property: JsonPropertyName("finish_reason")] string FinishReason);

public sealed record AssistantMessage(string? Content, string? Refusal)
{
    public string Role => "assistant";
}

/// <summary>One event of a streamed answer.</summary>
public sealed record CompletionChunk(string Id, long Created, string Model, [property: JsonPropertyName("system_fingerprint")] string SystemFingerprint, IReadOnlyList<ChunkChoice> Choices)
{
    public string Object => "chat.completion.chunk";

    /// <summary>Absent unless asked for; then null on every chunk but the last.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public JsonElement? Usage { get; init; }
}

public sealed record ChunkChoice(int Index, Delta Delta, Logprobs? Logprobs, [property: JsonPropertyName("finish_reason")] string? FinishReason);

public sealed record Delta
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public string? Role { get; init; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public string? Content { get; init; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public string? Refusal { get; init; }
}

public sealed record CompletionUsage([property: JsonPropertyName("prompt_tokens")] int PromptTokens, [property: JsonPropertyName("completion_tokens")] int CompletionTokens)
{
    [JsonPropertyName("total_tokens")]
    public int TotalTokens => PromptTokens + CompletionTokens;
}

public sealed record Logprobs(IReadOnlyList<TokenEntry> Content)
{
    public IReadOnlyList<TokenEntry>? Refusal => null;
}

/// <summary>A token's share of the content. All entries' bytes put together are the content, also where the safety gate changed it.</summary>
public record TokenChoice(string Token, double Logprob, int[] Bytes);

public sealed record TokenEntry(string Token, double Logprob, int[] Bytes, [property: JsonPropertyName("top_logprobs")] IReadOnlyList<TokenChoice> TopLogprobs) : TokenChoice(Token, Logprob, Bytes);

public sealed record ModelList(IReadOnlyList<ModelEntry> Data)
{
    public string Object => "list";
}

public sealed record ModelEntry(string Id, long Created)
{
    public string Object => "model";
    [JsonPropertyName("owned_by")]
    public string OwnedBy => "chat";
}
