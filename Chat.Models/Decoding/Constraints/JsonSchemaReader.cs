using System.Globalization;
using System.Text.Json;

namespace Chat.Models.Decoding.Constraints;

/// <summary>
/// Makes a grammar of a JSON schema: type, properties, required, additionalProperties, items, minItems, maxItems, uniqueItems of values that can be listed, minLength, maxLength, pattern, minimum, maximum,
/// exclusiveMinimum, exclusiveMaximum, enum, const, anyOf, oneOf where the branches exclude each other, $ref within the schema (recursive ones too), true and false. All that the grammar allows is valid; not all that is valid is allowed: properties come in the schema's order, a schema without
/// type gets the one its keywords speak of, properties that are not named are written only where none is. Keywords that could make an allowed text invalid are refused, annotations and
/// format ignored. Each object and array is a rule, so nesting is what <see cref="Grammar.DeepestNesting"/> counts.
/// </summary>
internal sealed class JsonSchemaReader
{
    private const int LargestCount = 10_000, MostDistinct = 10, MostDecimals = 15, MostSchemas = 10_000, DeepestConstant = 16;
    private static readonly string[] Alone = ["$ref", "anyOf", "oneOf", "allOf", "enum", "const"];
    private static readonly string[] OfObjects = ["properties", "required", "additionalProperties"], OfArrays = ["items", "minItems", "maxItems", "uniqueItems"], OfStrings = ["minLength", "maxLength", "pattern"];
    private static readonly string[] OfNumbers = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
    private static readonly string[] Supported = [.. Alone, "type", .. OfObjects, .. OfArrays, .. OfStrings, .. OfNumbers];
    private static readonly string[] Refused =
    [
        "multipleOf", "patternProperties", "propertyNames", "minProperties", "maxProperties", "dependentRequired", "dependentSchemas",
        "dependencies", "unevaluatedProperties", "unevaluatedItems", "prefixItems", "additionalItems", "contains", "minContains", "maxContains", "not", "if", "then", "else",
        "$dynamicRef", "$recursiveRef",
    ];
    private static readonly string[] Types = ["object", "array", "string", "number", "integer", "boolean", "null"];

    private readonly JsonElement root;
    private readonly Grammar grammar = new();
    private readonly Dictionary<string, int> rules = [];                                   // by place in the schema
    private readonly Queue<Action> undefined = new();
    private readonly HashSet<string> open = [];                                            // places being read with no object or array between
    private int read;

    private JsonSchemaReader(JsonElement root) => this.root = root;

    /// <exception cref="ConstraintException">What is wrong, and where in the schema.</exception>
    public static Grammar Read(JsonElement schema)
    {
        var reader = new JsonSchemaReader(schema);
        var start = reader.grammar.NewRule();
        try
        {
            reader.grammar.Define(start, reader.Value(schema, "#"));
            while (reader.undefined.TryDequeue(out var define)) define();
        }
        catch (InvalidOperationException error)                                             // half a surrogate pair in one of the schema's strings
        {
            throw new ConstraintException($"a string of the schema is not text: {error.Message}");
        }
        return reader.grammar.Complete();
    }

    private Pattern Value(JsonElement schema, string at)
    {
        if (schema.ValueKind == JsonValueKind.True) return AnyValue();
        if (schema.ValueKind == JsonValueKind.False) return Pattern.Nothing;
        if (schema.ValueKind != JsonValueKind.Object) throw Wrong(at, "a schema is an object, true or false");
        if (++read > MostSchemas) throw Wrong(at, $"the schema is too large: with its references it has more than {MostSchemas} parts");
        if (!open.Add(at)) throw Wrong(at, "the schema refers to itself with no object or array between");
        try
        {
            return Value(new Keywords(schema, at));
        }
        finally
        {
            open.Remove(at);
        }
    }

    private Pattern Value(Keywords keywords)
    {
        foreach (var keyword in Alone.Where(keywords.Has))
        {
            var beside = keywords.Names.Where(n => n != keyword && Supported.Contains(n) && !(n == "type" && keyword is "enum" or "const")).ToArray();
            if (beside.Length > 0) throw Wrong(keywords.At, $"'{keyword}' beside '{beside[0]}' is not supported");
            return keyword switch
            {
                "$ref" => Reference(keywords),
                "const" => Values([keywords["const"]], keywords),
                "enum" => Values([.. keywords.Array("enum")], keywords),
                "allOf" when keywords.Array("allOf") is { Count: not 1 } => throw Wrong(keywords.At, "'allOf' of several schemas is not supported"),
                "oneOf" => OneOf(keywords),
                _ => new Pattern.Choice([.. keywords.Array(keyword).Select((schema, i) => Value(schema, $"{keywords.At}/{keyword}/{i}"))]),
            };
        }
        var types = TypesOf(keywords);
        return types.Count == 0 ? AnyValue() : new Pattern.Choice([.. types.Select(type => OfType(type, keywords))]);
    }

    private static IReadOnlyList<string> TypesOf(Keywords keywords)
    {
        if (!keywords.Has("type")) return KindOfKeywords(keywords.Names) is { } kind ? [kind] : [];
        IReadOnlyList<JsonElement> given = keywords["type"].ValueKind == JsonValueKind.Array ? keywords.Array("type") : [keywords["type"]];
        return [.. given.Select(type => type.ValueKind == JsonValueKind.String && Types.Contains(type.GetString()) ? type.GetString()!
            : throw Wrong(keywords.At, $"type is one of {string.Join(", ", Types)}, or a list of them"))];
    }

    /// <summary>What a schema without type is about; <c>null</c> where none of its keywords says so.</summary>
    internal static string? KindOfKeywords(IReadOnlyList<string> names) =>
        names.Any(OfObjects.Contains) ? "object" : names.Any(OfArrays.Contains) ? "array" : names.Any(OfStrings.Contains) ? "string" : names.Any(OfNumbers.Contains) ? "number" : null;

    private Pattern OfType(string type, Keywords keywords) => type switch
    {
        "object" => Nested(keywords.At + " object", () => Object(keywords)),
        "array" => Nested(keywords.At + " array", () => Array(keywords)),
        "string" => String(keywords),
        "number" or "integer" when OfNumbers.Any(keywords.Has) =>
            JsonText.Between(keywords.Bound("minimum"), keywords.Bound("exclusiveMinimum"), keywords.Bound("maximum"), keywords.Bound("exclusiveMaximum"), isWhole: type == "integer"),
        "number" => JsonText.Number,
        "integer" => JsonText.Integer,
        "boolean" => JsonText.Boolean,
        _ => JsonText.Null,
    };

    /// <summary>Of branches that exclude each other one holds where any does.</summary>
    private Pattern.Choice OneOf(Keywords keywords)
    {
        var branches = keywords.Array("oneOf");
        for (var second = 1; second < branches.Count; second++)
            for (var first = 0; first < second; first++)
                if (!new SchemaBranches(root).AreDisjoint(branches[first], branches[second]))
                    throw Wrong(keywords.At, $"'oneOf' is supported where its branches exclude each other by type, const or enum, or by a required property that differs so; branches {first} and {second} are not known to. Use 'anyOf' if both may hold");
        return new([.. branches.Select((schema, i) => Value(schema, $"{keywords.At}/oneOf/{i}"))]);
    }

    private static Pattern String(Keywords keywords)
    {
        var (least, most) = (keywords.Count("minLength") ?? 0, keywords.Count("maxLength"));
        if (!keywords.Has("pattern")) return most < least ? Pattern.Nothing : JsonText.String(least, most);
        if (keywords.Has("minLength") || keywords.Has("maxLength")) throw Wrong(keywords.At, "'pattern' beside 'minLength' or 'maxLength' is not supported; write the length into the pattern");
        if (keywords["pattern"].ValueKind != JsonValueKind.String) throw Wrong(keywords.At, "pattern is a string");
        try
        {
            return JsonText.Quoted(RegexReader.Read(keywords["pattern"].GetString()!, isWhole: false));
        }
        catch (ConstraintException error)
        {
            throw Wrong(keywords.At, $"pattern: {error.Message.TrimEnd('.')}");
        }
    }

    private Pattern Array(Keywords keywords)
    {
        var item = keywords.Has("items") ? Value(keywords["items"], keywords.At + "/items") : AnyValue();
        var (least, most) = (keywords.Count("minItems") ?? 0, keywords.Count("maxItems"));
        if (most < least) return Pattern.Nothing;
        if (most == 0) return Pattern.Text("[]");
        if (keywords.Flag("uniqueItems") && most is not 1)
        {
            var values = keywords.Has("items") ? SchemaBranches.ValuesOf(new SchemaBranches(root).Resolve(keywords["items"])) : null;
            if (values is null) throw Wrong(keywords.At, "'uniqueItems' is supported where items is an enum, a const, boolean or null");
            if (values.Count > MostDistinct) throw Wrong(keywords.At, $"'uniqueItems' is supported for up to {MostDistinct} values, here are {values.Count}");
            return new Pattern.Sequence(Pattern.Text("["), new Pattern.Distinct([.. values.Select(JsonText.Value)], JsonText.Comma, least, most ?? values.Count), Pattern.Text("]"));
        }
        var items = new Pattern.Sequence(item, new Pattern.Repeat(new Pattern.Sequence(JsonText.Comma, item), Math.Max(0, least - 1), most - 1));
        return new Pattern.Sequence(Pattern.Text("["), least == 0 ? Pattern.Optional(items) : items, Pattern.Text("]"));
    }

    private Pattern.Sequence Object(Keywords keywords)
    {
        var properties = new List<(string Name, JsonElement Schema, string At)>();
        if (keywords.Has("properties"))
        {
            if (keywords["properties"].ValueKind != JsonValueKind.Object) throw Wrong(keywords.At, "properties is an object");
            foreach (var property in keywords["properties"].EnumerateObject())
                properties.Add((property.Name, property.Value, $"{keywords.At}/properties/{Escaped(property.Name)}"));
        }
        if (properties.GroupBy(p => p.Name).FirstOrDefault(g => g.Count() > 1) is { } twice) throw Wrong(keywords.At, $"the property '{twice.Key}' stands twice");
        var required = keywords.Has("required") ? keywords.Array("required") : [];
        if (required.Any(name => name.ValueKind != JsonValueKind.String)) throw Wrong(keywords.At, "required is a list of strings");
        JsonElement? others = keywords.Has("additionalProperties") ? keywords["additionalProperties"] : null;
        foreach (var name in required.Select(r => r.GetString()!).Distinct().Where(name => properties.All(p => p.Name != name)).ToArray())
            properties.Add((name, others ?? JsonElement.Parse("true"), others is null ? "#any" : keywords.At + "/additionalProperties"));

        var members = properties.Count == 0
            ? Free(others is null ? AnyValue() : Value(others.Value, keywords.At + "/additionalProperties"))
            : new Pattern.Members([.. properties.Select(p => ((Pattern)new Pattern.Sequence(JsonText.Value(p.Name), JsonText.Colon, Value(p.Schema, p.At)), required.Any(r => r.GetString() == p.Name)))], JsonText.Comma);
        return new Pattern.Sequence(Pattern.Text("{"), members, Pattern.Text("}"));
    }

    private static Pattern Free(Pattern value)
    {
        var member = new Pattern.Sequence(JsonText.String(0, null), JsonText.Colon, value);
        return Pattern.Optional(new Pattern.Sequence(member, new Pattern.Repeat(new Pattern.Sequence(JsonText.Comma, member), 0, null)));
    }

    private Pattern.Choice AnyValue() => new(JsonText.String(0, null), JsonText.Number, JsonText.Boolean, JsonText.Null,
        Nested("any object", () => new Pattern.Sequence(Pattern.Text("{"), Free(AnyValue()), Pattern.Text("}"))),
        Nested("any array", () => new Pattern.Sequence(Pattern.Text("["), Pattern.Optional(new Pattern.Sequence(AnyValue(), new Pattern.Repeat(new Pattern.Sequence(JsonText.Comma, AnyValue()), 0, null))), Pattern.Text("]"))));

    private Pattern.Choice Values(IReadOnlyList<JsonElement> values, Keywords keywords)
    {
        var types = TypesOf(keywords);
        if (values.Any(v => Depth(v) > DeepestConstant)) throw Wrong(keywords.At, $"a constant nests deeper than {DeepestConstant} levels");
        return new([.. values.Where(v => types.Count == 0 || types.Any(type => IsOf(type, v))).Select(JsonText.Value)]);
    }

    private static int Depth(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => 1 + value.EnumerateObject().Select(p => Depth(p.Value)).DefaultIfEmpty(0).Max(),
        JsonValueKind.Array => 1 + value.EnumerateArray().Select(Depth).DefaultIfEmpty(0).Max(),
        _ => 0,
    };

    internal static bool IsOf(string type, JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => type == "object",
        JsonValueKind.Array => type == "array",
        JsonValueKind.String => type == "string",
        JsonValueKind.Number => type == "number" || (type == "integer" && value.TryGetDouble(out var number) && number == Math.Floor(number)),
        JsonValueKind.True or JsonValueKind.False => type == "boolean",
        _ => type == "null",
    };

    private Pattern Reference(Keywords keywords)
    {
        var reference = keywords["$ref"].ValueKind == JsonValueKind.String ? keywords["$ref"].GetString()! : throw Wrong(keywords.At, "$ref is a string");
        if (reference != "#" && !reference.StartsWith("#/", StringComparison.Ordinal)) throw Wrong(keywords.At, "$ref must stay within the schema: # or #/…");
        return Find(root, reference, out var place) is { } target ? Value(target, place) : throw Wrong(keywords.At, $"$ref: the schema has no {place}");
    }

    /// <summary>What a reference of the form # or #/… points to; <c>null</c> where there is nothing.</summary>
    /// <param name="place">The place in one spelling, as far as it was found and one step on.</param>
    internal static JsonElement? Find(JsonElement root, string reference, out string place)
    {
        var target = root;
        place = "#";
        foreach (var part in reference.Split('/').Skip(1).Select(Uri.UnescapeDataString))
        {
            var name = part.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            place += $"/{Escaped(name)}";
            if (target.ValueKind == JsonValueKind.Object && target.TryGetProperty(name, out var member)) target = member;
            else if (target.ValueKind == JsonValueKind.Array && int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var index) && index < target.GetArrayLength()) target = target[index];
            else return null;
        }
        return target;
    }

    /// <summary>A rule of its own for the place, read later: what is open now is not open inside it.</summary>
    private Pattern.Nested Nested(string place, Func<Pattern> read)
    {
        if (rules.TryGetValue(place, out var rule)) return new(rule);
        rules[place] = rule = grammar.NewRule();
        undefined.Enqueue(() => grammar.Define(rule, read()));
        return new(rule);
    }

    private static string Escaped(string name) => name.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);

    private static ConstraintException Wrong(string at, string what) => new($"{what} (at {at}).");

    /// <summary>A schema's keywords, none of which is refused.</summary>
    private sealed class Keywords
    {
        private readonly JsonElement schema;

        public Keywords(JsonElement schema, string at)
        {
            (this.schema, At) = (schema, at);
            Names = [.. schema.EnumerateObject().Select(p => p.Name)];
            if (Names.FirstOrDefault(n => Refused.Contains(n)) is { } refused)
                throw Wrong(at, $"the keyword '{refused}' is not supported. Supported: {string.Join(", ", Supported)}");
        }

        public string At { get; }
        public IReadOnlyList<string> Names { get; }
        public JsonElement this[string name] => schema.GetProperty(name);

        public bool Has(string name) => Names.Contains(name);

        public IReadOnlyList<JsonElement> Array(string name) => this[name].ValueKind == JsonValueKind.Array ? [.. this[name].EnumerateArray()] : throw Wrong(At, $"{name} is a list");

        public bool Flag(string name) => Has(name) && (this[name].ValueKind is JsonValueKind.True or JsonValueKind.False ? this[name].GetBoolean() : throw Wrong(At, $"{name} is true or false"));

        /// <summary>A number as it is written; one beyond what a constraint can write is as far as it goes.</summary>
        public decimal? Bound(string name)
        {
            if (!Has(name)) return null;
            if (this[name].ValueKind != JsonValueKind.Number || !this[name].TryGetDouble(out var nearly)) throw Wrong(At, $"{name} is a number");
            if (Math.Abs(nearly) >= 1e15) return nearly < 0 ? -1e15m : 1e15m;
            return this[name].TryGetDecimal(out var bound) && bound.Scale <= MostDecimals ? bound : throw Wrong(At, $"{name} has at most {MostDecimals} decimals");
        }

        public int? Count(string name) => !Has(name) ? null : this[name].ValueKind == JsonValueKind.Number && this[name].TryGetDouble(out var count) && count == Math.Floor(count) && count is >= 0 and <= LargestCount
            ? (int)count : throw Wrong(At, $"{name} is a whole number from 0 to {LargestCount}");
    }
}
