using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Chat.Api.OpenAi;

/// <summary>
/// The body of POST /v1/chat/completions as /openapi/v1.json describes it. It is read by <see cref="CompletionRequest"/>, field by field, so that
/// each fault is answered by its name.
/// </summary>
public sealed record CompletionBody
{
    [Description("A served model's id.")]
    public required string Model { get; init; }

    [Description("The dialogue, oldest first; the last message is answered."), MinLength(1), MaxLength(CompletionRequest.MaxMessages)]
    public required IReadOnlyList<MessageBody> Messages { get; init; }

    [Description("Answer by server-sent events.")]
    public bool? Stream { get; init; }

    [JsonPropertyName("stream_options")]
    public StreamOptionsBody? StreamOptions { get; init; }

    [Description("Choices to generate."), Range(1, CompletionRequest.MaxChoices)]
    public int? N { get; init; }

    [JsonPropertyName("max_tokens"), Range(1, int.MaxValue)]
    public int? MaxTokens { get; init; }

    [JsonPropertyName("max_completion_tokens"), Description("The newer name of max_tokens."), Range(1, int.MaxValue)]
    public int? MaxCompletionTokens { get; init; }

    [Range(0.0, 2.0), Description("0 means the most probable token always.")]
    public double? Temperature { get; init; }

    [JsonPropertyName("top_p"), Range(0.0, 1.0), Description("Above 0; 1 = off.")]
    public double? TopP { get; init; }

    [Description("One seed, one answer.")]
    public long? Seed { get; init; }

    [Description("A string, or up to four, before which the answer ends.")]
    public JsonElement? Stop { get; init; }

    [JsonPropertyName("frequency_penalty"), Range(-2.0, 2.0)]
    public double? FrequencyPenalty { get; init; }

    [JsonPropertyName("presence_penalty"), Range(-2.0, 2.0)]
    public double? PresencePenalty { get; init; }

    [JsonPropertyName("logit_bias"), Description("Token id to a number from -100 to 100.")]
    public IReadOnlyDictionary<string, double>? LogitBias { get; init; }

    [Description("Report the log-probability of each token.")]
    public bool? Logprobs { get; init; }

    [JsonPropertyName("top_logprobs"), Range(0, CompletionRequest.MaxTopLogprobs), Description("Alternatives to report with each token; needs logprobs.")]
    public int? TopLogprobs { get; init; }

    [JsonPropertyName("response_format"), Description("text, json_object, or json_schema with a schema that the whole answer will fit; keywords that are not supported are named in the error.")]
    public ResponseFormatBody? ResponseFormat { get; init; }

    [JsonPropertyName("guided_regex"), Description("An expression that the whole answer will fit."), MaxLength(4096)]
    public string? GuidedRegex { get; init; }

    [Description("Decoding options of this server: strategy and the strategy's own; see /api/plugins.")]
    public JsonObject? Decoding { get; init; }
}

public sealed record MessageBody
{
    [Description("system, developer, user, assistant or tool.")]
    public required string Role { get; init; }

    [Description("A string, or an array of parts of type text; at most 20,000 characters.")]
    public required JsonElement Content { get; init; }
}

public sealed record ResponseFormatBody
{
    [Description("text, json_object or json_schema.")]
    public required string Type { get; init; }

    [JsonPropertyName("json_schema")]
    public JsonSchemaBody? JsonSchema { get; init; }
}

public sealed record JsonSchemaBody
{
    public string? Name { get; init; }

    [Description("The JSON schema.")]
    public required JsonObject Schema { get; init; }
}

public sealed record StreamOptionsBody
{
    [JsonPropertyName("include_usage"), Description("Send the token counts in a last chunk.")]
    public bool? IncludeUsage { get; init; }
}
