using System.Collections.Concurrent;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;

namespace Chat.Models.Decoding;

/// <summary>
/// Between an options record and its wire form: names are the properties' in camelCase, limits their attributes. Whole numbers must be whole,
/// numbers finite; everything else is a <see cref="GenerationError.InvalidOption"/> whose message says what is allowed. <c>null</c> means absent.
/// </summary>
internal static class OptionBinder
{
    // Reflection is slow, and every reply's options come by.
    private static readonly ConcurrentDictionary<Type, PropertyInfo[]> ByType = new();
    private static readonly ConcurrentDictionary<PropertyInfo, (string Name, RangeAttribute? Range)> NamesAndRanges = new();

    public static IEnumerable<string> Names(DecodingOptions options) => Properties(options).Select(Name).Order(StringComparer.Ordinal);

    public static bool Knows(DecodingOptions options, string name) => Properties(options).Any(p => Name(p) == name);

    /// <summary>A copy of the options with one value replaced.</summary>
    public static DecodingOptions With(DecodingOptions options, string name, JsonNode value)
    {
        var property = Properties(options).First(p => Name(p) == name);
        var copy = options.Copy();
        property.SetValue(copy, Read(property, value));
        return copy;
    }

    public static JsonObject Write(string strategy, DecodingOptions options)
    {
        var json = new JsonObject { ["strategy"] = strategy };
        foreach (var property in Properties(options).OrderBy(Name, StringComparer.Ordinal))
            json[Name(property)] = property.GetValue(options) switch
            {
                null => null,
                string x => x,
                JsonElement x => JsonNode.Parse(x.GetRawText()),
                double x => x,
                int x => x,
                long x => x,
                bool x => x,
                Enum x => JsonNamingPolicy.CamelCase.ConvertName(x.ToString()),
                IReadOnlyList<string> list => new JsonArray([.. list.Select(s => JsonValue.Create(s))]),
                IReadOnlyDictionary<int, double> map => new JsonObject(map.Select(p => KeyValuePair.Create(p.Key.ToString(CultureInfo.InvariantCulture), (JsonNode?)p.Value))),
                _ => throw Unsupported(property),
            };
        return json;
    }

    private static PropertyInfo[] Properties(DecodingOptions options) =>
        ByType.GetOrAdd(options.GetType(), static type => [.. type.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(p => p.CanWrite)]);

    private static string Name(PropertyInfo property) => NamesAndRanges.GetOrAdd(property, Look).Name;

    private static RangeAttribute? RangeOf(PropertyInfo property) => NamesAndRanges.GetOrAdd(property, Look).Range;

    private static (string, RangeAttribute?) Look(PropertyInfo property) => (JsonNamingPolicy.CamelCase.ConvertName(property.Name), property.GetCustomAttribute<RangeAttribute>());

    private static InvalidOperationException Unsupported(PropertyInfo property) => new($"Option {Name(property)} has the type {property.PropertyType}, which has no wire form.");

    private static object Read(PropertyInfo property, JsonNode value)
    {
        if (property.PropertyType == typeof(double)) return InRange(property, Number(property, value));
        if (property.PropertyType == typeof(int)) return (int)InRange(property, Whole(property, value));
        if (property.PropertyType == typeof(long)) return Whole(property, value);
        if (property.PropertyType == typeof(bool)) return value.GetValueKind() switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Invalid(property, value, "must be true or false"),
        };
        if (property.PropertyType.IsEnum) return Named(property, value);
        if (property.PropertyType == typeof(string)) return Text(property, value);
        if (property.PropertyType == typeof(JsonElement?)) return value is JsonObject ? JsonElement.Parse(value.ToJsonString()) : throw Invalid(property, value, "must be an object");
        if (property.PropertyType == typeof(IReadOnlyList<string>)) return Strings(property, value);
        if (property.PropertyType == typeof(IReadOnlyDictionary<int, double>)) return Bias(property, value);
        throw Unsupported(property);
    }

    private static double Number(PropertyInfo property, JsonNode value)
    {
        if (value is not JsonValue scalar || !TryNumber(scalar, out var number)) throw Invalid(property, value, "must be a number" + Range(property));
        return double.IsFinite(number) ? number : throw Invalid(property, value, "must be a finite number" + Range(property));
    }

    private static long Whole(PropertyInfo property, JsonNode value)
    {
        if (value is JsonValue scalar && TryLong(scalar, out var whole)) return whole;
        var number = Number(property, value);
        // 2⁶³ itself does not fit, and its double is the nearest one above the largest long.
        if (number != Math.Floor(number) || Math.Abs(number) >= 9.2233720368547758e18) throw Invalid(property, value, "must be a whole number" + Range(property));
        return (long)number;
    }

    // A JsonValue made from a CLR number converts to that type alone, one that was parsed to all.
    private static bool TryNumber(JsonValue value, out double number)
    {
        number = 0;
        if (value.TryGetValue(out number)) return true;
        if (value.TryGetValue<float>(out var single)) { number = single; return true; }
        if (value.TryGetValue<decimal>(out var exact)) { number = (double)exact; return true; }
        if (value.TryGetValue<ulong>(out var unsigned)) { number = unsigned; return true; }
        var ok = TryLong(value, out var whole);
        number = whole;
        return ok;
    }

    private static bool TryLong(JsonValue value, out long whole)
    {
        if (value.TryGetValue(out whole)) return true;
        if (value.TryGetValue<int>(out var i)) { whole = i; return true; }
        if (value.TryGetValue<uint>(out var u)) { whole = u; return true; }
        if (value.TryGetValue<short>(out var s)) { whole = s; return true; }
        if (value.TryGetValue<ushort>(out var us)) { whole = us; return true; }
        if (value.TryGetValue<byte>(out var b)) { whole = b; return true; }
        if (value.TryGetValue<sbyte>(out var sb)) { whole = sb; return true; }
        return false;
    }

    private static double InRange(PropertyInfo property, double number)
    {
        if (RangeOf(property) is not { } range) return number;
        var (min, max) = (Convert.ToDouble(range.Minimum, CultureInfo.InvariantCulture), Convert.ToDouble(range.Maximum, CultureInfo.InvariantCulture));
        var inside = number <= max && (range.MinimumIsExclusive ? number > min : number >= min);
        return inside ? number : throw Invalid(property, JsonValue.Create(number), "must be" + Range(property));
    }

    private static object Named(PropertyInfo property, JsonNode value)
    {
        string[] names = [.. Enum.GetNames(property.PropertyType).Select(JsonNamingPolicy.CamelCase.ConvertName)];
        var at = value.GetValueKind() == JsonValueKind.String ? Array.IndexOf(names, value.ToString()) : -1;
        return at >= 0 ? Enum.GetValues(property.PropertyType).GetValue(at)! : throw Invalid(property, value, $"must be one of {string.Join(", ", names)}");
    }

    private static string Text(PropertyInfo property, JsonNode value)
    {
        if (value.GetValueKind() != JsonValueKind.String) throw Invalid(property, value, "must be a string");
        var text = value.ToString();
        return property.GetCustomAttribute<LengthAttribute>() is not { } length || (text.Length >= length.MinimumLength && text.Length <= length.MaximumLength) ? text
            : throw new GenerationException(GenerationError.InvalidOption, $"{Name(property)} has {length.MinimumLength} to {length.MaximumLength} characters, this one has {text.Length}.", Name(property));
    }

    private static string[] Strings(PropertyInfo property, JsonNode value)
    {
        JsonNode?[] nodes = value is JsonArray array ? [.. array] : [value];
        var strings = nodes.Select(n => n is JsonValue s && s.GetValueKind() == JsonValueKind.String ? s.ToString() : throw Invalid(property, value, "must be a string or a list of strings")).ToArray();
        CheckLength(property, strings.Length);
        foreach (var s in strings)
            if (s.Length is 0 or > 256) throw new GenerationException(GenerationError.InvalidOption, $"{Name(property)}: each string has 1 to 256 characters, one has {s.Length}.", Name(property));
        return strings;
    }

    private static Dictionary<int, double> Bias(PropertyInfo property, JsonNode value)
    {
        if (value is not JsonObject map) throw Invalid(property, value, "must be an object of token ids and numbers");
        CheckLength(property, map.Count);
        var bias = new Dictionary<int, double>();
        foreach (var (key, amount) in map)
        {
            if (!int.TryParse(key, NumberStyles.None, CultureInfo.InvariantCulture, out var id))
                throw new GenerationException(GenerationError.InvalidOption, $"{Name(property)}: '{Shorten(key)}' is not a token id.", Name(property));
            bias[id] = InRange(property, Number(property, amount ?? throw Invalid(property, value, "must hold numbers")));
        }
        return bias;
    }

    private static void CheckLength(PropertyInfo property, int count)
    {
        if (property.GetCustomAttribute<LengthAttribute>() is { } length && count > length.MaximumLength)
            throw new GenerationException(GenerationError.InvalidOption, $"{Name(property)} holds at most {length.MaximumLength} entries, not {count}.", Name(property));
    }

    private static string Range(PropertyInfo property) => RangeOf(property) is not { } r ? ""
        : FormattableString.Invariant($" {(r.MinimumIsExclusive ? "above" : "from")} {r.Minimum} {(r.MinimumIsExclusive ? "and at most" : "to")} {r.Maximum}");

    private static GenerationException Invalid(PropertyInfo property, JsonNode value, string rule)
    {
        string shown;
        try { shown = value.ToJsonString(); }
        catch (ArgumentException) { shown = "NaN or infinite"; }                             // they have no JSON form
        return new(GenerationError.InvalidOption, $"{Name(property)} {rule}, not {Shorten(shown)}.", Name(property));
    }

    private static string Shorten(string text) => text.Length <= 40 ? text : text[..40] + "…";
}
