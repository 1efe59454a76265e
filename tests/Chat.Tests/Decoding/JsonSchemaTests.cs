using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Decoding.Constraints;
using Chat.Tests.Engine;
using CsCheck;

namespace Chat.Tests.Decoding;

public sealed class JsonSchemaTests
{
    private static readonly DecodingCatalog Catalog = StrategyConformanceTests.Catalog;
    private static readonly string[] Strategies = [.. Catalog.Strategies.Keys.Order(StringComparer.Ordinal)];
    private static readonly TokenTable Bytes = TokenTable.From(new ByteTokenizer(), new ByteTokenizer().VocabularySize);

    [Fact]
    public void A_reply_that_ends_fits_its_schema_whatever_schema_scores_and_strategy()
    {
        var (ended, used) = (0, 0);
        Gen.Int[0, 10_000_000].Sample(seed =>
        {
            var random = new Random(seed);
            var schema = Element(Schema(random, 3));
            if (schema.ValueKind != JsonValueKind.Object || !IsPossible(schema)) return;
            Interlocked.Increment(ref used);

            var (text, isEnded) = Run(Bytes, Strategies[random.Next(Strategies.Length)], new() { ["guidedJson"] = JsonNode.Parse(schema.GetRawText()) }, seed, maxTokens: 120);

            if (!isEnded) return;
            Interlocked.Increment(ref ended);
            Assert.True(IsValid(schema, JsonDocument.Parse(text).RootElement, schema), $"{schema} does not accept {text}");
        }, iter: 400);
        Assert.InRange(used, 150, 400);
        Assert.InRange(ended, used / 5, used);
    }

    [Theory]
    [InlineData("""{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},"tags":{"type":"array","items":{"enum":["a","好","c d"]},"minItems":1,"maxItems":3}},"required":["name","tags"],"additionalProperties":false}""")]
    [InlineData("""{"$defs":{"tree":{"type":"object","properties":{"value":{"type":["number","null"]},"children":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"required":["value","children"]}},"$ref":"#/$defs/tree"}""")]
    [InlineData("""{"anyOf":[{"type":"object","properties":{"date":{"type":"string","pattern":"^\\d{4}-\\d\\d$"}},"required":["date"]},{"type":"boolean"}]}""")]
    [InlineData("""{"type":"object"}""")]
    public void The_shipped_tokenizer_writes_what_fits(string schema)
    {
        var folder = ModelFolder.Open(Path.Combine(AppContext.BaseDirectory, "Shipped/chat-student"));
        var tokens = TokenTable.From(folder.Tokenizer, folder.VocabularySize);
        var ended = 0;
        for (var seed = 0; seed < 12; seed++)
        {
            var (text, isEnded) = Run(tokens, Strategies[seed % Strategies.Length], new() { ["guidedJson"] = JsonNode.Parse(schema) }, seed, maxTokens: 80);
            if (!isEnded) continue;
            ended++;
            Assert.True(IsValid(Element(JsonNode.Parse(schema)!), JsonDocument.Parse(text).RootElement, Element(JsonNode.Parse(schema)!)), text);
        }
        Assert.InRange(ended, 2, 12);
    }

    [Fact]
    public void A_reply_that_ends_matches_its_expression()
    {
        var ended = 0;
        foreach (var expression in new[] { "(yes|no)", "[a-z]{3,5} [A-Z][a-z]*", "(\\d{1,3}\\.){3}\\d{1,3}", "[\\u4e00-\\u9fff]{2,4}，好\\.?", "(ab|a)(bc|c)?" })
            for (var seed = 0; seed < Strategies.Length; seed++)
            {
                var (text, isEnded) = Run(Bytes, Strategies[seed], new() { ["guidedRegex"] = expression }, seed, maxTokens: 60);
                if (isEnded) ended++;
                if (isEnded) Assert.Matches($"^({expression})$", text);
            }
        Assert.InRange(ended, 40, 5 * Strategies.Length);
    }

    [Fact]
    public void Other_bans_give_way_where_they_would_leave_nothing()
    {
        var (text, ended) = Run(Bytes, "greedy", new() { ["guidedRegex"] = "(aaaa|bbbb)", ["noRepeatNgram"] = 1, ["badWords"] = new JsonArray("a", "b"), ["minTokens"] = 9 }, 1, 20);

        Assert.True(ended);
        Assert.Contains(text, new[] { "aaaa", "bbbb" });
    }

    [Fact]
    public void Nesting_ends_at_its_bound_however_much_the_model_wants_more()
    {
        var schema = JsonNode.Parse("""{"type":"object","properties":{"a":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["a"],"additionalProperties":false}""")!;
        var (text, ended) = Run(Bytes, "greedy", new() { ["guidedJson"] = schema }, 1, 2000, favourites: "{\"a:");

        Assert.True(ended);
        Assert.Equal(Grammar.DeepestNesting, text.Count(c => c == '{'));
        JsonDocument.Parse(text);
    }

    [Theory]
    [InlineData("""{"type":"obj"}""", "type is one of object, array")]
    [InlineData("""{"type":"object","properties":{"a":{"minimum":3}}}""", "the keyword 'minimum' is not supported")]
    [InlineData("""{"type":"object","properties":{"a":{"minimum":3}}}""", "at #/properties/a")]
    [InlineData("""{"oneOf":[]}""", "'oneOf' is not supported")]
    [InlineData("""{"$ref":"#/x"}""", "the schema has no #/x")]
    [InlineData("""{"$ref":"http://a/b"}""", "within the schema")]
    [InlineData("""{"$ref":"#"}""", "refers to itself")]
    [InlineData("""{"anyOf":[{"type":"null"},{"$ref":"#"}]}""", "refers to itself")]
    [InlineData("""{"$ref":"#/a","type":"null","a":true}""", "beside 'type'")]
    [InlineData("""{"type":"string","minLength":-1}""", "whole number from 0")]
    [InlineData("""{"type":"string","pattern":"(a"}""", "pattern: a group has no end")]
    [InlineData("""{"type":"string","pattern":"a","maxLength":3}""", "write the length into the pattern")]
    [InlineData("""{"type":"string","minLength":3,"maxLength":2}""", "nothing can satisfy it")]
    [InlineData("""{"type":"object","properties":{},"required":["x"],"additionalProperties":false}""", "nothing can satisfy it")]
    [InlineData("""{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}""", "nested deeper than 32")]
    [InlineData("""{"type":"array","items":{"type":"string","minLength":9999},"minItems":9999}""", "too large")]
    [InlineData("""{"enum":[]}""", "nothing can satisfy it")]
    [InlineData("""{"type":"integer","enum":["a"]}""", "nothing can satisfy it")]
    [InlineData("""{"type":"object","required":[3]}""", "required is a list of strings")]
    [InlineData("""{"properties":[]}""", "properties is an object")]
    [InlineData("""{"anyOf":{}}""", "anyOf is a list")]
    public void What_cannot_be_kept_is_refused_by_name_and_place(string schema, string message)
    {
        Assert.Contains(message, Assert.Throws<ConstraintException>(() => JsonSchemaReader.Read(Element(JsonNode.Parse(schema)!))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void References_that_multiply_are_too_large()
    {
        var schema = new JsonObject { ["$ref"] = "#/x0", ["x60"] = true };
        for (var i = 0; i < 60; i++) schema[$"x{i}"] = new JsonObject { ["anyOf"] = new JsonArray(new JsonObject { ["$ref"] = $"#/x{i + 1}" }, new JsonObject { ["$ref"] = $"#/x{i + 1}" }) };

        Assert.Contains("too large", Assert.Throws<ConstraintException>(() => JsonSchemaReader.Read(Element(schema))).Message, StringComparison.Ordinal);
    }

    /// <summary>A reply of a model whose scores are a function of the ids before, and that tires of strings and lists.</summary>
    private static (string Text, bool Ended) Run(TokenTable tokens, string strategy, JsonObject decoding, int seed, int maxTokens, string favourites = "")
    {
        decoding["strategy"] = strategy;
        decoding["maxTokens"] = maxTokens;
        decoding["seed"] = seed;
        var resolved = Catalog.Resolve(decoding, null, null, new(maxTokens, 16, tokens.Count, tokens.HasAntonyms, WritesEveryByte: tokens.WritesEveryByte), () => seed);
        var search = resolved.Strategy.Start(resolved.Options, new() { Tokens = tokens, Random = new(seed, 0), Rules = Catalog.StartRules(resolved.Options, tokens, default) });
        var model = new ToyModel(seed, tokens.Count);
        var live = new List<int[]> { Array.Empty<int>() };
        var step = new SearchStep();
        var text = new List<byte>();
        do
        {
            search.Step(live.SelectMany(Scores).ToArray(), step);
            foreach (var token in step.Certain) text.AddRange(tokens.Bytes(token.Id));
            live = [.. step.Next.Select(n => live[n.Parent].Append(n.Token).ToArray())];
        }
        while (!step.IsDone);
        return (Encoding.UTF8.GetString([.. text]), step.Ended);

        float[] Scores(int[] ids)
        {
            var row = model.Logits(ids);
            foreach (var c in "\"]}") row[Single(c)] += 0.25f * ids.Length;
            foreach (var c in favourites) row[Single(c)] += 100;
            row[tokens.Separator] += 9;
            return row;
        }

        int Single(char c) => Enumerable.Range(0, tokens.Count).First(id => tokens.Bytes(id).Length == 1 && tokens.Bytes(id)[0] == c);
    }

    private static bool IsPossible(JsonElement schema)
    {
        try { JsonSchemaReader.Read(schema); }
        catch (ConstraintException) { return false; }
        return true;
    }

    private static JsonElement Element(JsonNode node) => JsonElement.Parse(node.ToJsonString());

    private static JsonNode Schema(Random random, int depth)
    {
        var kind = random.Next(depth == 0 ? 7 : 11);
        return kind switch
        {
            0 => new JsonObject { ["type"] = "string", ["minLength"] = random.Next(3), ["maxLength"] = random.Next(2, 9) },
            1 => new JsonObject { ["type"] = "string", ["pattern"] = new[] { "^[a-z]{1,3}$", "b", "^\\d+\"?$", "^(好|x\\\\)+$" }[random.Next(4)] },
            2 => new JsonObject { ["type"] = random.Next(2) == 0 ? "integer" : "number" },
            3 => new JsonObject { ["type"] = new JsonArray("boolean", random.Next(2) == 0 ? "null" : "integer") },
            4 => new JsonObject { ["enum"] = new JsonArray("你好", 1.5, null, true, new JsonObject { ["a"] = new JsonArray(1, 2) }, "q\"\n\\") },
            5 => new JsonObject { ["const"] = "a" + random.Next(9) },
            6 => random.Next(8) == 0,
            7 => new JsonObject { ["anyOf"] = new JsonArray(Schema(random, depth - 1), Schema(random, depth - 1)) },
            8 => new JsonObject { ["type"] = "array", ["items"] = Schema(random, depth - 1), ["minItems"] = random.Next(3), ["maxItems"] = random.Next(2, 5) },
            9 => Object(random, depth),
            _ => new JsonObject { ["type"] = "object", ["additionalProperties"] = Schema(random, depth - 1) },
        };
    }

    private static JsonObject Object(Random random, int depth)
    {
        var names = new[] { "a", "好", "x y", "\"q\"" }[..random.Next(1, 5)];
        var schema = new JsonObject
        {
            ["type"] = "object",
            ["properties"] = new JsonObject(names.Select(name => KeyValuePair.Create(name, (JsonNode?)(random.Next(9) == 0 ? new JsonObject { ["$ref"] = "#" } : Schema(random, depth - 1))))),
            ["required"] = new JsonArray([.. names.Where(_ => random.Next(2) == 0).Select(name => (JsonNode?)name)]),
        };
        if (random.Next(2) == 0) schema["additionalProperties"] = false;
        return schema;
    }

    /// <summary>JSON schema's meaning of the keywords above, one after the other.</summary>
    private static bool IsValid(JsonElement schema, JsonElement value, JsonElement root)
    {
        if (schema.ValueKind is JsonValueKind.True or JsonValueKind.False) return schema.ValueKind == JsonValueKind.True;
        foreach (var keyword in schema.EnumerateObject())
        {
            var ok = keyword.Name switch
            {
                "$ref" => IsValid(keyword.Value.GetString() == "#" ? root : root.GetProperty("$defs").GetProperty("tree"), value, root),
                "type" => keyword.Value.ValueKind == JsonValueKind.Array ? keyword.Value.EnumerateArray().Any(t => IsOf(t.GetString()!, value)) : IsOf(keyword.Value.GetString()!, value),
                "enum" => keyword.Value.EnumerateArray().Any(v => JsonElement.DeepEquals(v, value)),
                "const" => JsonElement.DeepEquals(keyword.Value, value),
                "anyOf" => keyword.Value.EnumerateArray().Any(s => IsValid(s, value, root)),
                "minLength" => value.ValueKind != JsonValueKind.String || value.GetString()!.EnumerateRunes().Count() >= keyword.Value.GetInt32(),
                "maxLength" => value.ValueKind != JsonValueKind.String || value.GetString()!.EnumerateRunes().Count() <= keyword.Value.GetInt32(),
                "pattern" => value.ValueKind != JsonValueKind.String || Regex.IsMatch(value.GetString()!, keyword.Value.GetString()!, RegexOptions.ECMAScript),
                "items" => value.ValueKind != JsonValueKind.Array || value.EnumerateArray().All(v => IsValid(keyword.Value, v, root)),
                "minItems" => value.ValueKind != JsonValueKind.Array || value.GetArrayLength() >= keyword.Value.GetInt32(),
                "maxItems" => value.ValueKind != JsonValueKind.Array || value.GetArrayLength() <= keyword.Value.GetInt32(),
                "required" => value.ValueKind != JsonValueKind.Object || keyword.Value.EnumerateArray().All(n => value.TryGetProperty(n.GetString()!, out _)),
                "properties" => value.ValueKind != JsonValueKind.Object || keyword.Value.EnumerateObject().All(p => !value.TryGetProperty(p.Name, out var v) || IsValid(p.Value, v, root)),
                "additionalProperties" => value.ValueKind != JsonValueKind.Object || value.EnumerateObject()
                    .All(p => (schema.TryGetProperty("properties", out var own) && own.TryGetProperty(p.Name, out _)) || IsValid(keyword.Value, p.Value, root)),
                "$defs" => true,
                _ => throw new InvalidOperationException(keyword.Name),
            };
            if (!ok) return false;
        }
        return true;
    }

    private static bool IsOf(string type, JsonElement value) => type switch
    {
        "object" => value.ValueKind == JsonValueKind.Object,
        "array" => value.ValueKind == JsonValueKind.Array,
        "string" => value.ValueKind == JsonValueKind.String,
        "number" => value.ValueKind == JsonValueKind.Number,
        "integer" => value.ValueKind == JsonValueKind.Number && value.GetDouble() is var number && number == Math.Floor(number),
        "boolean" => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
        _ => value.ValueKind == JsonValueKind.Null,
    };
}
