using System.Text.Json;

namespace Chat.Models.Decoding.Constraints;

/// <summary>
/// Finds out whether two JSON schemas exclude each other, as far as their keywords say so plainly; <c>false</c> means «not known». A schema without type counts here for what <see cref="JsonSchemaReader"/>
/// writes for it, while the other one is asked what it would accept.
/// </summary>
internal sealed class SchemaBranches(JsonElement root)
{
    private const int Deepest = 16;
    private static readonly string[] Kinds = ["object", "array", "string", "number", "boolean", "null"];

    public bool AreDisjoint(JsonElement a, JsonElement b) => AreDisjoint(a, b, 0);

    /// <summary>What stands where a chain of references ends; the last reference where it does not end.</summary>
    public JsonElement Resolve(JsonElement schema)
    {
        for (var step = 0; step < Deepest && Has(schema, "$ref", out var reference) && reference.ValueKind == JsonValueKind.String; step++)
        {
            if (JsonSchemaReader.Find(root, reference.GetString()!, out _) is not { } target) break;
            schema = target;
        }
        return schema;
    }

    /// <summary>All values that a resolved schema accepts, each once, where they can be listed.</summary>
    public static IReadOnlyList<JsonElement>? ValuesOf(JsonElement schema)
    {
        var types = TypesOf(schema);
        IEnumerable<JsonElement>? values = Has(schema, "const", out var one) ? [one] : Has(schema, "enum", out var some) && some.ValueKind == JsonValueKind.Array ? some.EnumerateArray() : null;
        if (values is null)
            return types is not null && types.All(type => type is "boolean" or "null") && !Combines(schema)
                ? [.. types.Distinct().SelectMany(type => type == "null" ? ["null"] : new[] { "true", "false" }).Select(text => JsonElement.Parse(text))] : null;
        var distinct = new List<JsonElement>();
        foreach (var value in values)
            if ((types is null || types.Any(type => JsonSchemaReader.IsOf(type, value))) && !distinct.Any(known => JsonElement.DeepEquals(known, value))) distinct.Add(value);
        return distinct;
    }

    private bool AreDisjoint(JsonElement a, JsonElement b, int depth)
    {
        (a, b) = (Resolve(a), Resolve(b));
        if (a.ValueKind == JsonValueKind.False || b.ValueKind == JsonValueKind.False) return true;
        if (a.ValueKind != JsonValueKind.Object || b.ValueKind != JsonValueKind.Object || depth > Deepest) return false;
        foreach (var keyword in new[] { "anyOf", "oneOf" })
        {
            if (Has(a, keyword, out var options) && options.ValueKind == JsonValueKind.Array) return options.EnumerateArray().All(option => AreDisjoint(option, b, depth + 1));
            if (Has(b, keyword, out options) && options.ValueKind == JsonValueKind.Array) return options.EnumerateArray().All(option => AreDisjoint(a, option, depth + 1));
        }
        if (ValuesOf(a) is { } values && ValuesOf(b) is { } others) return !values.Any(value => others.Any(other => JsonElement.DeepEquals(value, other)));
        var (written, accepted) = (Written(a).Intersect(Accepted(b)), Accepted(a).Intersect(Written(b)));
        return written.Union(accepted).All(kind => kind == "object" && HaveDifferentProperty(a, b, depth));
    }

    /// <summary>Whether a property that one of the two requires cannot be what both want.</summary>
    private bool HaveDifferentProperty(JsonElement a, JsonElement b, int depth) => Required(a).Union(Required(b)).Any(name => AreDisjoint(Property(a, name), Property(b, name), depth + 1));

    /// <summary>What an object's property must be.</summary>
    private static JsonElement Property(JsonElement schema, string name) =>
        Has(schema, "properties", out var properties) && Has(properties, name, out var property) ? property : Has(schema, "additionalProperties", out var others) ? others : JsonElement.Parse("true");

    private static string[] Required(JsonElement schema) =>
        Has(schema, "required", out var required) && required.ValueKind == JsonValueKind.Array ? [.. required.EnumerateArray().Where(name => name.ValueKind == JsonValueKind.String).Select(name => name.GetString()!)] : [];

    private static string[] Accepted(JsonElement schema) =>
        ValuesOf(schema) is { } values ? [.. values.Select(Kind).Distinct()] : TypesOf(schema) is { } types ? [.. types.Select(type => type == "integer" ? "number" : type).Distinct()] : Kinds;

    private static string[] Written(JsonElement schema)
    {
        if (TypesOf(schema) is not null || ValuesOf(schema) is not null) return Accepted(schema);
        return JsonSchemaReader.KindOfKeywords([.. schema.EnumerateObject().Select(p => p.Name)]) is { } kind ? [kind] : Kinds;
    }

    private static string[]? TypesOf(JsonElement schema) => !Has(schema, "type", out var type) ? null
        : type.ValueKind == JsonValueKind.Array ? [.. type.EnumerateArray().Where(t => t.ValueKind == JsonValueKind.String).Select(t => t.GetString()!)] : type.ValueKind == JsonValueKind.String ? [type.GetString()!] : null;

    private static string Kind(JsonElement value) => Kinds.First(kind => JsonSchemaReader.IsOf(kind, value));

    private static bool Combines(JsonElement schema) => Has(schema, "$ref", out _) || Has(schema, "allOf", out _);

    private static bool Has(JsonElement schema, string name, out JsonElement value)
    {
        value = default;
        return schema.ValueKind == JsonValueKind.Object && schema.TryGetProperty(name, out value);
    }
}
