using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;

namespace Chat.Api.OpenAi;

/// <summary>
/// What a client asks of POST /v1/chat/completions. Reading checks types, ranges and sizes; whether the model knows the options is for
/// <see cref="IChatModels.Check"/>. Fields that nobody here knows are ignored. OpenAI's options become decoding options; beside them the
/// field <c>decoding</c> takes our own ones as the hub does (an option given both ways is OpenAI's).
/// </summary>
public sealed record CompletionRequest
{
    public const int MaxMessages = 1000, MaxMessageLength = 20_000, MaxChoices = 16, MaxTopLogprobs = 20, MaxStops = 4, MaxBiases = 1024;

    public required string Model { get; init; }
    public required IReadOnlyList<ChatMessage> Messages { get; init; }
    public required JsonObject Decoding { get; init; }
    public int Choices { get; init; } = 1;
    public bool IsStreamed { get; init; }
    public bool IncludeUsage { get; init; }

    /// <summary>Null = no log-probabilities.</summary>
    public int? TopLogprobs { get; init; }

    /// <summary>The name under which this request gave a decoding option.</summary>
    public string ParamOf(string option) => Fields.GetValueOrDefault(option) ?? $"decoding.{option}";

    private IReadOnlyDictionary<string, string> Fields { get; init; } = new Dictionary<string, string>();

    /// <exception cref="OpenAiException">The first fault found, by name.</exception>
    public static CompletionRequest Read(JsonElement body)
    {
        var model = Field(body, "model") is { } name
            ? name.ValueKind == JsonValueKind.String && name.GetString() is { Length: > 0 } id ? id : throw Wrong("model", "a model's id", name)
            : throw OpenAiException.Invalid("model", "The field 'model' is needed.", "missing_required_parameter");

        var decoding = Field(body, "decoding") switch
        {
            null => new JsonObject(),
            { ValueKind: JsonValueKind.Object } own => (JsonObject)JsonNode.Parse(own.GetRawText())!,
            { } other => throw Wrong("decoding", "an object", other),
        };
        var fields = new Dictionary<string, string>();
        Take("temperature", "temperature", Number(body, "temperature", 0, 2));
        Take("topP", "top_p", Number(body, "top_p", 0, 1, aboveMinimum: true));
        Take("frequencyPenalty", "frequency_penalty", Number(body, "frequency_penalty", -2, 2));
        Take("presencePenalty", "presence_penalty", Number(body, "presence_penalty", -2, 2));
        Take("seed", "seed", Whole(body, "seed", long.MinValue, long.MaxValue));
        Take("stop", "stop", Stops(body));
        Take("logitBias", "logit_bias", Biases(body));
        Take("guidedJson", "response_format", Schema(body));
        Take("guidedRegex", "guided_regex", Expression(body));
        TakeLimit("max_tokens");
        TakeLimit("max_completion_tokens");
        Refuse(body);

        var wantsLogprobs = Flag(body, "logprobs") ?? false;
        var top = (int?)Whole(body, "top_logprobs", 0, MaxTopLogprobs);
        if (top is not null && !wantsLogprobs) throw OpenAiException.Invalid("top_logprobs", "top_logprobs needs logprobs to be true.");

        var isStreamed = Flag(body, "stream") ?? false;
        var streamOptions = Field(body, "stream_options");
        if (streamOptions is { } given)
        {
            if (given.ValueKind != JsonValueKind.Object) throw Wrong("stream_options", "an object", given);
            if (!isStreamed) throw OpenAiException.Invalid("stream_options", "stream_options needs stream to be true.");
        }

        return new()
        {
            Model = model,
            Messages = ReadMessages(body),
            // Through text, so that every value is a JSON number as from the wire and none a boxed long.
            Decoding = (JsonObject)JsonNode.Parse(decoding.ToJsonString())!,
            Choices = (int)(Whole(body, "n", 1, MaxChoices) ?? 1),
            IsStreamed = isStreamed,
            IncludeUsage = streamOptions is { } options && (Flag(options, "include_usage", "stream_options.include_usage") ?? false),
            TopLogprobs = wantsLogprobs ? top ?? 0 : null,
            Fields = fields,
        };

        void Take(string option, string field, JsonNode? value)
        {
            if (value is null) return;
            decoding[option] = value;
            fields[option] = field;
        }

        void TakeLimit(string field)
        {
            var limit = Whole(body, field, 1, int.MaxValue);
            if (limit is not null && fields.ContainsKey("maxTokens")) throw OpenAiException.Invalid(field, "max_tokens and max_completion_tokens are the same limit: give one of them.");
            Take("maxTokens", field, limit);
        }
    }

    private static List<ChatMessage> ReadMessages(JsonElement body)
    {
        if (Field(body, "messages") is not { } list) throw OpenAiException.Invalid("messages", "The field 'messages' is needed.", "missing_required_parameter");
        if (list.ValueKind != JsonValueKind.Array) throw Wrong("messages", "an array", list);
        if (list.GetArrayLength() is < 1 or > MaxMessages) throw OpenAiException.Invalid("messages", $"messages takes 1 to {MaxMessages} messages, got {list.GetArrayLength()}.");

        var messages = new List<ChatMessage>();
        foreach (var item in list.EnumerateArray())
        {
            var at = $"messages[{messages.Count}]";
            if (item.ValueKind != JsonValueKind.Object) throw Wrong(at, "an object", item);
            var role = Field(item, "role") switch
            {
                { ValueKind: JsonValueKind.String } text => text.GetString() switch
                {
                    "system" or "developer" => ChatRole.System,
                    "user" => ChatRole.User,
                    "assistant" => ChatRole.Assistant,
                    "tool" or "function" => ChatRole.Tool,
                    _ => throw Wrong($"{at}.role", "one of system, developer, user, assistant, tool", text),
                },
                { } other => throw Wrong($"{at}.role", "one of system, developer, user, assistant, tool", other),
                null => throw OpenAiException.Invalid($"{at}.role", $"The field '{at}.role' is needed.", "missing_required_parameter"),
            };
            var content = ReadContent(item, role, $"{at}.content");
            if (content.Length > MaxMessageLength)
                throw OpenAiException.Invalid($"{at}.content", $"A message has at most {MaxMessageLength} characters, this one has {content.Length}.", "string_above_max_length");
            messages.Add(new(role, content));
        }
        if (string.IsNullOrWhiteSpace(messages[^1].Text)) throw OpenAiException.Invalid($"messages[{messages.Count - 1}].content", "The last message, which is answered, has no text.");
        return messages;
    }

    private static string ReadContent(JsonElement message, ChatRole role, string param)
    {
        switch (Field(message, "content"))
        {
            case null when role == ChatRole.Assistant: return "";
            case null: throw OpenAiException.Invalid(param, $"The field '{param}' is needed.", "missing_required_parameter");
            case { ValueKind: JsonValueKind.String } text: return text.GetString()!;
            case { ValueKind: JsonValueKind.Array } parts:
                var joined = new StringBuilder();
                var index = 0;
                foreach (var part in parts.EnumerateArray())
                {
                    var at = $"{param}[{index++}]";
                    if (part.ValueKind != JsonValueKind.Object) throw Wrong(at, "an object", part);
                    if (Field(part, "type") is not { ValueKind: JsonValueKind.String } type || type.GetString() != "text")
                        throw OpenAiException.Invalid($"{at}.type", "Only parts of type 'text' are understood.");
                    if (Field(part, "text") is not { ValueKind: JsonValueKind.String } text) throw OpenAiException.Invalid($"{at}.text", $"The field '{at}.text' must be a string.");
                    joined.Append(text.GetString());
                }
                return joined.ToString();
            case { } other: throw Wrong(param, "a string or an array of parts", other);
        }
    }

    // Silence about these would be a wrong answer, not an ignored field.
    private static void Refuse(JsonElement body)
    {
        if (Field(body, "tools") is { ValueKind: JsonValueKind.Array } tools && tools.GetArrayLength() > 0)
            throw OpenAiException.Invalid("tools", "The models of this server call no tools.", "unsupported_parameter");
    }

    /// <summary>The schema that a response_format asks for; <c>null</c> for text.</summary>
    private static JsonNode? Schema(JsonElement body)
    {
        if (Field(body, "response_format") is not { } format) return null;
        if (format.ValueKind != JsonValueKind.Object) throw Wrong("response_format", "an object", format);
        switch (Field(format, "type"))
        {
            case { ValueKind: JsonValueKind.String } type when type.GetString() == "text": return null;
            case { ValueKind: JsonValueKind.String } type when type.GetString() == "json_object": return new JsonObject { ["type"] = "object" };
            case { ValueKind: JsonValueKind.String } type when type.GetString() == "json_schema": break;
            case { } other: throw Wrong("response_format.type", "one of text, json_object, json_schema", other);
            case null: throw OpenAiException.Invalid("response_format.type", "The field 'response_format.type' is needed.", "missing_required_parameter");
        }
        if (Field(format, "json_schema") is not { ValueKind: JsonValueKind.Object } named || Field(named, "schema") is not { } schema)
            throw OpenAiException.Invalid("response_format.json_schema", "The field 'response_format.json_schema.schema' is needed.", "missing_required_parameter");
        return schema.ValueKind == JsonValueKind.Object ? JsonNode.Parse(schema.GetRawText()) : throw Wrong("response_format.json_schema.schema", "an object", schema);
    }

    private static string? Expression(JsonElement body) => Field(body, "guided_regex") switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } text => text.GetString(),
        { } other => throw Wrong("guided_regex", "a string", other),
    };

    private static JsonArray? Stops(JsonElement body)
    {
        if (Field(body, "stop") is not { } stop) return null;
        var texts = stop.ValueKind == JsonValueKind.Array ? [.. stop.EnumerateArray()] : new[] { stop };
        if (texts.Length > MaxStops) throw OpenAiException.Invalid("stop", $"stop takes at most {MaxStops} strings, got {texts.Length}.");
        if (Array.Find(texts, t => t.ValueKind != JsonValueKind.String || t.GetString()!.Length is 0 or > 256) is { ValueKind: not JsonValueKind.Undefined } wrong)
            throw Wrong("stop", "a string of 1 to 256 characters or an array of them", wrong);
        return texts.Length == 0 ? null : new JsonArray([.. texts.Select(t => JsonValue.Create(t.GetString()))]);
    }

    private static JsonObject? Biases(JsonElement body)
    {
        if (Field(body, "logit_bias") is not { } map) return null;
        if (map.ValueKind != JsonValueKind.Object) throw Wrong("logit_bias", "an object", map);
        // Each entry is looked for among all: 20,000 of them cost a processor half a minute.
        if (map.GetPropertyCount() > MaxBiases) throw OpenAiException.Invalid("logit_bias", $"logit_bias takes at most {MaxBiases} entries, got {map.GetPropertyCount()}.");
        var biases = new JsonObject();
        foreach (var pair in map.EnumerateObject())
        {
            if (!int.TryParse(pair.Name, NumberStyles.None, CultureInfo.InvariantCulture, out _)) throw OpenAiException.Invalid("logit_bias", $"logit_bias maps token ids, '{Shown(pair.Name)}' is none.");
            biases[pair.Name] = Number(map, pair.Name, -100, 100, shownAs: "logit_bias");
        }
        return biases.Count == 0 ? null : biases;
    }

    private static JsonElement? Field(JsonElement owner, string name) =>
        owner.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private static double? Number(JsonElement owner, string name, double minimum, double maximum, bool aboveMinimum = false, string? shownAs = null)
    {
        if (Field(owner, name) is not { } value) return null;
        var isIn = value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && (aboveMinimum ? number > minimum : number >= minimum) && number <= maximum;
        return isIn ? value.GetDouble() : throw Wrong(shownAs ?? name, $"a number {(aboveMinimum ? "above" : "from")} {minimum} to {maximum}", value);
    }

    private static long? Whole(JsonElement owner, string name, long minimum, long maximum)
    {
        if (Field(owner, name) is not { } value) return null;
        var isIn = value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var number) && number >= minimum && number <= maximum;
        return isIn ? value.GetInt64() : throw Wrong(name, minimum == long.MinValue ? "a whole number of 64 bits" : $"a whole number from {minimum} to {maximum}", value);
    }

    private static bool? Flag(JsonElement owner, string name, string? shownAs = null) => Field(owner, name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } other => throw Wrong(shownAs ?? name, "true or false", other),
    };

    private static OpenAiException Wrong(string param, string expected, JsonElement got) =>
        OpenAiException.Invalid(param, $"{param} must be {expected}, got {Shown(got.GetRawText())}.", got.ValueKind is JsonValueKind.Number or JsonValueKind.String ? "invalid_value" : "invalid_type");

    private static string Shown(string value) => value.Length <= 40 ? value : value[..40] + "…";
}
