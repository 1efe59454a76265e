using System.Globalization;
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
    [InlineData("""{"type":"object","properties":{"a":{"multipleOf":3}}}""", "the keyword 'multipleOf' is not supported")]
    [InlineData("""{"type":"object","properties":{"a":{"multipleOf":3}}}""", "at #/properties/a")]
    [InlineData("""{"type":"integer","minimum":"3"}""", "minimum is a number (at #)")]
    [InlineData("""{"type":"integer","exclusiveMaximum":true}""", "exclusiveMaximum is a number (at #)")]
    [InlineData("""{"type":"number","minimum":1e-20}""", "minimum has at most 15 decimals")]
    [InlineData("""{"type":"integer","minimum":3.1,"maximum":3.9}""", "nothing can satisfy it")]
    [InlineData("""{"type":"integer","minimum":4,"exclusiveMaximum":4}""", "nothing can satisfy it")]
    [InlineData("""{"type":"integer","minimum":1e15}""", "nothing can satisfy it")]
    [InlineData("""{"enum":[1,2],"maximum":1}""", "'enum' beside 'maximum' is not supported")]
    [InlineData("""{"oneOf":[]}""", "nothing can satisfy it")]
    [InlineData("""{"oneOf":[{"type":"integer"},{"type":"string"},{"type":"number"}]}""", "branches 0 and 2 are not known to")]
    [InlineData("""{"properties":{"a":{"oneOf":[{"type":"string","pattern":"a"},{"const":"b"}]}}}""", "(at #/properties/a)")]
    [InlineData("""{"oneOf":[{"properties":{"k":{"const":1}},"required":["k"]},{"type":"string"}]}""", "'oneOf' is supported where")]
    [InlineData("""{"oneOf":[{"type":"object","properties":{"k":{"const":1}}},{"type":"object","properties":{"k":{"const":2}}}]}""", "'oneOf' is supported where")]
    [InlineData("""{"oneOf":[{"type":"object","properties":{"k":{"const":1}},"required":["k"]},{"type":"object","properties":{"k":{"const":1.0}},"required":["k"]}]}""", "'oneOf' is supported where")]
    [InlineData("""{"oneOf":[{"type":"object","required":["a"]},{"type":"object","required":["b"]}]}""", "'oneOf' is supported where")]
    [InlineData("""{"type":"array","items":{"type":"string"},"uniqueItems":true}""", "'uniqueItems' is supported where items is an enum")]
    [InlineData("""{"type":"array","uniqueItems":true}""", "'uniqueItems' is supported where items is an enum")]
    [InlineData("""{"type":"array","items":{"enum":[1,2,3,4,5,6,7,8,9,10,11]},"uniqueItems":true}""", "for up to 10 values, here are 11")]
    [InlineData("""{"type":"array","items":{"enum":[1,1.0]},"uniqueItems":true,"minItems":2}""", "nothing can satisfy it")]
    [InlineData("""{"type":"array","items":{"enum":[1]},"uniqueItems":"yes"}""", "uniqueItems is true or false")]
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

    /// <summary>Every number of up to three digits and two decimals, and those about the bounds, against the bounds themselves.</summary>
    [Fact]
    public void Bounded_numbers_are_all_and_only_those_within()
    {
        var bound = Gen.OneOf(Gen.Int[-120, 120].Select(n => (decimal)n), Gen.Int[-12_000, 12_000].Select(n => n / 100m), Gen.Long[-2_000_000_000_000_000, 2_000_000_000_000_000].Select(n => (decimal)n), Gen.Int[-3, 3].Select(n => n / 10m));
        Gen.Select(bound.Array[0, 2], bound.Array[0, 2], Gen.Int[0, 15], Gen.Bool).Sample((low, high, which, isWhole) =>
        {
            (string Name, decimal Value, Func<decimal, bool> Holds)[] bounds =
            [
                .. low.Select((b, i) => (which >> i & 1) == 0 ? ("minimum", b, (Func<decimal, bool>)(n => n >= b)) : ("exclusiveMinimum", b, n => n > b)),
                .. high.Select((b, i) => (which >> (2 + i) & 1) == 0 ? ("maximum", b, (Func<decimal, bool>)(n => n <= b)) : ("exclusiveMaximum", b, n => n < b)),
            ];
            bounds = [.. bounds.DistinctBy(b => b.Name)];
            if (bounds.Length == 0) return;
            var schema = new JsonObject { ["type"] = isWhole ? "integer" : "number" };
            foreach (var (name, value, _) in bounds) schema[name] = value;
            var near = bounds.SelectMany(b => new[] { -2m, -1, -0.01m, 0, 0.01m, 1, 2 }.Select(d => b.Value + d)).Where(n => Math.Abs(n) <= 999_999_999_999_999 && decimal.Round(n, 2) == n && (n == Math.Floor(n) || Math.Abs(n) < 1e13m));
            var automaton = IsPossible(Element(schema)) ? new ByteAutomaton(JsonSchemaReader.Read(Element(schema))) : null;
            foreach (var number in near.Concat(Enumerable.Range(-1500, 3000).Select(n => n / 100m)).Concat(Enumerable.Range(-150, 300).Select(n => (decimal)n)))
            {
                var text = (number == Math.Floor(number) ? Math.Floor(number) : number).ToString("0.##", CultureInfo.InvariantCulture);
                Assert.True(Accepts(automaton, text) == ((!isWhole || number == Math.Floor(number)) && bounds.All(b => b.Holds(number))), $"{schema} and {text}");
            }
            foreach (var form in new[] { "-0", "01", "-", "", "1.", ".5", "1e2", "1000000000000000" }) Assert.False(Accepts(automaton, form), form);
        }, iter: 300);
    }

    [Theory]
    [InlineData("""{"oneOf":[{"type":"string"},{"type":["integer","null"]},{"const":true},{"enum":[false,[1]]}]}""", new[] { "\"a\"", "3", "null", "true", "false", "[1]" }, new[] { "[2]", "1.5" })]
    [InlineData("""{"oneOf":[{"$ref":"#/$defs/cat"},{"$ref":"#/$defs/dog"}],"$defs":{"cat":{"type":"object","properties":{"kind":{"const":"cat"},"lives":{"type":"integer","maximum":9}},"required":["kind"]},"dog":{"type":"object","properties":{"kind":{"enum":["dog","wolf"]}},"required":["kind"]}}}""",
        new[] { """{"kind":"cat"}""", """{"kind":"cat","lives":9}""", """{"kind":"wolf"}""" }, new[] { """{"kind":"cat","lives":10}""", """{"kind":"wolf","lives":9}""", "{}" })]
    [InlineData("""{"oneOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false},{"type":"object","properties":{"b":{"type":"integer"}},"required":["b"],"additionalProperties":false}]}""", new[] { """{"a":1}""", """{"b":1}""" }, new[] { """{"a":1,"b":1}""" })]
    [InlineData("""{"type":"array","items":{"enum":["a","b",1,1.0]},"uniqueItems":true}""", new[] { "[]", """["a"]""", """["b","a"]""", """["b",1,"a"]""" }, new[] { """["a","a"]""", """["a","b","a"]""", """["a","b",1,"a"]""", "[1,1]", "[," })]
    [InlineData("""{"type":"array","items":{"type":["boolean","null"]},"uniqueItems":true,"minItems":2,"maxItems":2}""", new[] { "[true,null]", "[null, false]" }, new[] { "[]", "[null]", "[true,true]", "[true,false,null]" })]
    [InlineData("""{"type":"array","items":{"type":"string"},"uniqueItems":true,"maxItems":1}""", new[] { "[]", """["a"]""" }, new[] { """["a","b"]""" })]
    public void Branches_and_sets_are_kept(string schema, string[] fitting, string[] others)
    {
        var automaton = new ByteAutomaton(JsonSchemaReader.Read(JsonElement.Parse(schema)));
        Assert.All(fitting, text => Assert.True(Accepts(automaton, text), text));
        Assert.All(others, text => Assert.False(Accepts(automaton, text), text));
    }

    private static bool Accepts(ByteAutomaton? automaton, string text)
    {
        var state = automaton?.Start;
        foreach (var value in Encoding.UTF8.GetBytes(text))
            if (state is not null) state = automaton!.Next(state, value);
        return state is { IsEnd: true };
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
        var kind = random.Next(depth == 0 ? 9 : 14);
        return kind switch
        {
            0 => new JsonObject { ["type"] = "string", ["minLength"] = random.Next(3), ["maxLength"] = random.Next(2, 9) },
            1 => new JsonObject { ["type"] = "string", ["pattern"] = new[] { "^[a-z]{1,3}$", "b", "^\\d+\"?$", "^(好|x\\\\)+$" }[random.Next(4)] },
            2 => new JsonObject { ["type"] = random.Next(2) == 0 ? "integer" : "number" },
            3 => new JsonObject { ["type"] = new JsonArray("boolean", random.Next(2) == 0 ? "null" : "integer") },
            4 => new JsonObject { ["enum"] = new JsonArray("你好", 1.5, null, true, new JsonObject { ["a"] = new JsonArray(1, 2) }, "q\"\n\\") },
            5 => new JsonObject { ["const"] = "a" + random.Next(9) },
            6 => random.Next(8) == 0,
            7 => new JsonObject { ["type"] = random.Next(2) == 0 ? "integer" : "number", ["minimum"] = random.Next(-20, 20) / 4.0, [random.Next(2) == 0 ? "maximum" : "exclusiveMaximum"] = random.Next(300) },
            8 => new JsonObject { ["type"] = "array", ["items"] = new JsonObject { ["enum"] = new JsonArray("a", 1, null) }, ["uniqueItems"] = true, ["minItems"] = random.Next(3) },
            9 => new JsonObject { ["anyOf"] = new JsonArray(Schema(random, depth - 1), Schema(random, depth - 1)) },
            10 => new JsonObject { ["oneOf"] = new JsonArray(Schema(random, depth - 1), Schema(random, depth - 1)) },
            11 => new JsonObject { ["type"] = "array", ["items"] = Schema(random, depth - 1), ["minItems"] = random.Next(3), ["maxItems"] = random.Next(2, 5) },
            12 => Object(random, depth),
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
                "oneOf" => keyword.Value.EnumerateArray().Count(s => IsValid(s, value, root)) == 1,
                "minimum" => value.ValueKind != JsonValueKind.Number || value.GetDouble() >= keyword.Value.GetDouble(),
                "maximum" => value.ValueKind != JsonValueKind.Number || value.GetDouble() <= keyword.Value.GetDouble(),
                "exclusiveMaximum" => value.ValueKind != JsonValueKind.Number || value.GetDouble() < keyword.Value.GetDouble(),
                "uniqueItems" => value.ValueKind != JsonValueKind.Array || !value.EnumerateArray().Index().Any(x => value.EnumerateArray().Take(x.Index).Any(y => JsonElement.DeepEquals(x.Item, y))),
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
