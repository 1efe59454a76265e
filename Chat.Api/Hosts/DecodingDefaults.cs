using System.Globalization;
using System.Text.Json.Nodes;

namespace Chat.Api.Hosts;

/// <summary>
/// <c>Decoding:Default:*</c> as the options object that a client would send. Configuration knows only strings and no case: what reads as a number or a truth
/// value becomes one, except where texts are expected, and the first letter is lowered.
/// </summary>
public static class DecodingDefaults
{
    private static readonly string[] Texts = ["strategy", "stop", "badWords", "guidedRegex"];

    /// <returns><c>null</c> when nothing is configured.</returns>
    public static JsonObject? Read(IConfiguration configuration)
    {
        var options = new JsonObject();
        foreach (var child in configuration.GetSection("Decoding:Default").GetChildren())
        {
            var name = char.ToLowerInvariant(child.Key[0]) + child.Key[1..];
            options[name] = Node(child, Texts.Contains(name));
        }
        return options.Count == 0 ? null : options;
    }

    private static JsonNode? Node(IConfigurationSection section, bool isText)
    {
        IConfigurationSection[] children = [.. section.GetChildren()];
        if (children.Length == 0) return Scalar(section.Value, isText);
        // A list comes as keys 0, 1, …; so may an object of token ids, but its values are never texts.
        return isText ? new JsonArray([.. children.OrderBy(c => int.TryParse(c.Key, CultureInfo.InvariantCulture, out var i) ? i : int.MaxValue).Select(c => Node(c, isText))])
            : new JsonObject(children.Select(c => KeyValuePair.Create(c.Key, Node(c, isText))));
    }

    private static JsonNode? Scalar(string? value, bool isText)
    {
        if (value is null) return null;
        if (isText) return value;
        if (bool.TryParse(value, out var truth)) return truth;
        if (long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole)) return whole;
        return double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) ? number : value;
    }
}
