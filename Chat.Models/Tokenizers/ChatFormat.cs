using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;

namespace Chat.Models.Tokenizers;

/// <summary>
/// How a model wants conversations written: the chat template and the special tokens' names of <c>tokenizer_config.json</c>. The template may stand in <c>chat_template.jinja</c> beside it,
/// or in a list, of which the one named <c>default</c> is taken.
/// </summary>
public sealed record ChatFormat(string Template, string? StartToken, string? EndToken)
{
    public const string ConfigFileName = "tokenizer_config.json";
    public const string TemplateFileName = "chat_template.jinja";
    private const long LargestFile = 16 << 20;

    /// <summary>For T5, which knows texts and no turns: all of them, a line each, and the end token that it expects behind a text.</summary>
    public static ChatFormat TextToText { get; } = new("{% for m in messages %}{{ m.content }}{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}{{ eos_token }}", null, null);

    /// <summary>The format of a model folder, or <c>null</c> when it has no template.</summary>
    /// <exception cref="CheckpointException"><c>bad_config</c>.</exception>
    public static ChatFormat? Load(string folder)
    {
        var json = ReadConfig(Path.Combine(folder, ConfigFileName));
        var file = Path.Combine(folder, TemplateFileName);
        var template = File.Exists(file) ? File.ReadAllText(Sized(file)) : FindTemplate(json["chat_template"]);
        return template is null ? null : new ChatFormat(template, Token(json["bos_token"], "bos_token"), Token(json["eos_token"], "eos_token"));
    }

    private static JsonObject ReadConfig(string path)
    {
        if (!File.Exists(path)) return [];
        try
        {
            return JsonNode.Parse(File.ReadAllBytes(Sized(path)), documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false }) as JsonObject ?? throw Bad("is not an object");
        }
        catch (JsonException error)
        {
            throw Bad($"is not JSON: {error.Message}");
        }
    }

    private static string? FindTemplate(JsonNode? node) => node switch
    {
        null => null,
        JsonValue value when value.TryGetValue<string>(out var text) => text,
        JsonArray list => list.OfType<JsonObject>().Where(each => Text(each["name"]) == "default").Select(each => Text(each["template"])).FirstOrDefault()
            ?? throw Bad("has a list of chat templates without one named 'default'"),
        _ => throw Bad("has a 'chat_template' that is neither a text nor a list"),
    };

    /// <summary>A token's name, alone or in an object with how it is cut out.</summary>
    private static string? Token(JsonNode? node, string key) => node is null ? null : Text(node) ?? Text((node as JsonObject)?["content"]) ?? throw Bad($"has a '{key}' that is no token");

    private static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

    private static string Sized(string path) => new FileInfo(path).Length <= LargestFile ? path : throw new CheckpointException(CheckpointErrors.BadConfig, $"{path} is larger than {LargestFile} bytes.");

    private static CheckpointException Bad(string what) => new(CheckpointErrors.BadConfig, $"{ConfigFileName} {what}.");
}
