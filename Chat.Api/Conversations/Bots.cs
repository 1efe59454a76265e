using System.Globalization;
using System.Text.Json.Nodes;
using Chat.Domain.Conversations;

namespace Chat.Api.Conversations;

/// <summary>A named profile; a conversation belongs to one. From the configuration section <c>Bots</c>.</summary>
public sealed record Bot
{
    public required string Name { get; init; }
    public string? Model { get; init; }
    public JsonObject? Decoding { get; init; }
    public string? SystemPrompt { get; init; }
    public string? Greeting { get; init; }
    public string? Locale { get; init; }

    public ReplyOptions Options => new() { Bot = Name, Model = Model, Decoding = Decoding };
}

/// <summary>The configured bots; the first is the default. Read once at start.</summary>
public sealed class Bots
{
    private static readonly string[] Known = ["name", "model", "decoding", "systemPrompt", "greeting", "locale"];
    private static readonly string[] NotServed = ["arm", "pack", "softPrompt", "safetyProfile"];

    /// <exception cref="InvalidOperationException">A bot without a name, two of one name, or a field that is unknown or not served.</exception>
    public Bots(IConfiguration configuration)
    {
        var bots = configuration.GetSection("Bots").GetChildren().Select(Read).ToArray();
        All = bots.Length > 0 ? bots : [new Bot { Name = "chat" }];
        if (All.GroupBy(b => b.Name).FirstOrDefault(g => g.Count() > 1) is { } twice)
            throw new InvalidOperationException($"Two bots are named '{twice.Key}'.");
    }

    public IReadOnlyList<Bot> All { get; }

    /// <param name="name"><c>null</c> = the default bot.</param>
    /// <exception cref="ChatException">No such bot.</exception>
    public Bot Get(string? name) => name is null ? All[0] : All.FirstOrDefault(b => b.Name == name)
        ?? throw ChatException.Invalid($"No bot '{name}'. Known: {string.Join(", ", All.Select(b => b.Name))}.");

    /// <summary>A conversation outlives its bot's configuration: a bot that is gone gives nothing, and the model's defaults hold.</summary>
    public Bot GetOrPlain(string name) => All.FirstOrDefault(b => b.Name == name) ?? new Bot { Name = name };

    private static Bot Read(IConfigurationSection section)
    {
        foreach (var field in section.GetChildren().Select(c => c.Key))
        {
            if (NotServed.Contains(field, StringComparer.OrdinalIgnoreCase)) throw new InvalidOperationException($"{section.Path}:{field} is not served yet; leave it out.");
            if (!Known.Contains(field, StringComparer.OrdinalIgnoreCase)) throw new InvalidOperationException($"{section.Path} has an unknown field '{field}'. Known: {string.Join(", ", Known)}.");
        }
        return new()
        {
            Name = section["name"] is { } name && !string.IsNullOrWhiteSpace(name) ? name : throw new InvalidOperationException($"{section.Path} has no 'name'."),
            Model = section["model"],
            Decoding = section.GetSection("decoding").Exists() ? (JsonObject)Json(section.GetSection("decoding"))! : null,
            SystemPrompt = section["systemPrompt"],
            Greeting = section["greeting"],
            Locale = section["locale"],
        };
    }

    // Configuration knows only strings: what reads as a number or as true/false is one.
    private static JsonNode? Json(IConfigurationSection section)
    {
        var children = section.GetChildren().ToArray();
        if (children.Length > 0 && children.All(c => int.TryParse(c.Key, out _))) return new JsonArray([.. children.Select(Json)]);
        if (children.Length > 0) return new JsonObject(children.Select(c => KeyValuePair.Create(c.Key, Json(c))));
        if (long.TryParse(section.Value, CultureInfo.InvariantCulture, out var whole)) return whole;
        if (double.TryParse(section.Value, CultureInfo.InvariantCulture, out var number)) return number;
        return bool.TryParse(section.Value, out var flag) ? flag : section.Value;
    }
}
