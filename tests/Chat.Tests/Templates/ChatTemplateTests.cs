using System.Text.Json.Nodes;
using Chat.GoldenRunner;
using Chat.Models.Templates;

namespace Chat.Tests.Templates;

/// <summary>Chat templates against Jinja2's own answers, and the walls of the sandbox.</summary>
public class ChatTemplateTests
{
    private static readonly TimeProvider Clock = new Still();

    [Fact]
    public void Golden_conversations_agree()
    {
        var golden = Golden.Read("families/chat/chat-template.json")["cases"]!.AsArray();
        var stripped = new JsonObject { ["cases"] = new JsonArray([.. golden.Select(one => Without(one!.DeepClone().AsObject(), "expected", "level"))]) };
        var answers = ChatTemplates.Run(new Arguments("chat-template", Golden.At("families/chat"), "", null), stripped)["cases"]!.AsArray();
        foreach (var (one, answer) in golden.Zip(answers))
        {
            var expected = one!["expected"]!;
            Assert.Equal($"{one["id"]} {(string?)expected["text"]} {(string?)expected["error"]}", $"{one["id"]} {(string?)answer!["text"]} {(string?)answer["error"]}");
        }
    }

    /// <summary>The file holds what Jinja2 3.1.6 gave in Hugging Face's set-up: ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls, tojson by json.dumps.</summary>
    [Fact]
    public void Every_construct_prints_what_jinja2_prints()
    {
        var golden = Golden.Read("templates/jinja2.json");
        foreach (var one in golden["cases"]!.AsArray())
            Assert.Equal($"{one!["template"]} → {(string?)one["text"] ?? "error"}", $"{one["template"]} → {Try((string)one["template"]!, golden["variables"]!.AsObject())}");
    }

    [Theory]
    [InlineData("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "at most")]
    [InlineData("{{ 'x' * 999999999999 }}", "at most")]
    [InlineData("{{ [0] * 999999999 }}", "at most")]
    [InlineData("{{ 'x'.center(999999999) }}", "at most")]
    [InlineData("{{ 'x'|indent(999999999, true) }}", "at most")]
    [InlineData("{{ '%999999999d' % 1 }}", "at most")]
    [InlineData("{{ ('a' * 100000).replace('a', 'b' * 100000) }}", "at most")]
    [InlineData("{{ (['a' * 1000] * 100000) | join }}", "at most")]
    [InlineData("{{ [[1]]|tojson(indent=99999999) }}", "at most")]
    [InlineData("{{ range(999999999) }}", "at most")]
    [InlineData("{% for i in range(9999) %}{{ 'x' * 10000 }}{% endfor %}", "at most")]
    [InlineData("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests")]
    [InlineData("{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}", "nests")]
    [InlineData("{{ 2 ** 999999999999 }}", "64 bits")]
    public void A_hostile_template_ends_with_a_clear_error(string source, string says) =>
        Assert.Contains(says, Assert.Throws<TemplateException>(() => ChatTemplate.Parse(source).Render([], Clock)).Message, StringComparison.Ordinal);

    [Fact]
    public void Deep_nesting_of_the_source_ends_with_a_clear_error()
    {
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse("{{ " + new string('(', 100_000) + " }}"));
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse(string.Concat(Enumerable.Repeat("{% if 1 %}", 100_000))));
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse("{{ 1" + string.Concat(Enumerable.Repeat(" + 1", 100_000)) + " }}"));
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse(new string(' ', ChatTemplate.LongestSource + 1)));
    }

    [Theory]
    [InlineData("{% include 'x' %}")]
    [InlineData("{% import 'x' as y %}")]
    [InlineData("{% extends 'x' %}")]
    [InlineData("{% from 'x' import y %}")]
    [InlineData("{{ ''.__class__.__mro__ }}")]
    [InlineData("{{ messages.__class__() }}")]
    [InlineData("{{ namespace.__init__() }}")]
    [InlineData("{{ open('/etc/passwd') }}")]
    [InlineData("{{ '{0.__class__}'.format(1) }}")]
    [InlineData("{{ self.x() }}")]
    public void Nothing_outside_the_template_is_in_reach(string source) =>
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse(source).Render(new JsonObject { ["messages"] = new JsonArray() }, Clock));

    [Theory]
    [InlineData("a\nb {{ 1 | }}", "line 2", "a name")]
    [InlineData("{{ 1|nosuch }}", "'nosuch'", "Known: ")]
    [InlineData("{{ 1 is nosuch }}", "'nosuch'", "Known: ")]
    [InlineData("\n\n{% nosuch %}", "line 3", "Known: ")]
    [InlineData("{{ messages.x.y }}", "'x'", "not defined")]
    [InlineData("{{ 'a' + 1 }}", "a text", "a number")]
    public void An_error_says_where_and_what_there_is(string source, params string[] says)
    {
        var message = Assert.Throws<TemplateException>(() => ChatTemplate.Parse(source).Render(new JsonObject { ["messages"] = new JsonArray() }, Clock)).Message;
        Assert.All(says, part => Assert.Contains(part, message, StringComparison.Ordinal));
    }

    [Fact]
    public void A_long_conversation_is_within_the_limits()
    {
        var template = ChatTemplate.Parse("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{{ m.content | trim }}{{ '<|im_end|>\\n' }}{% endfor %}");
        JsonArray messages = [.. Enumerable.Range(0, 3000).Select(i => (JsonNode)new JsonObject { ["role"] = "user", ["content"] = new string('x', 1000) })];
        Assert.Equal(3000 * (1000 + 28), template.Render(new JsonObject { ["messages"] = messages }, Clock).Length);
    }

    [Fact]
    public void The_date_comes_from_the_clock() =>
        Assert.Equal("07 Mar 2025, Friday March 25 14:05:09 02 PM 066 %", ChatTemplate.Parse("{{ strftime_now('%d %b %Y, %A %B %y %H:%M:%S %I %p %j %%') }}").Render([], Clock));

    [Fact]
    public void One_template_renders_on_many_threads()
    {
        var template = ChatTemplate.Parse("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m %}{% endfor %}{{ ns.n }}");
        Parallel.For(0, 64, i => Assert.Equal($"{3 * i}", template.Render(new JsonObject { ["messages"] = new JsonArray(i, i, i) }, Clock)));
    }

    private static string Try(string source, JsonObject variables)
    {
        try
        {
            return ChatTemplate.Parse(source).Render(variables, Clock);
        }
        catch (TemplateException)
        {
            return "error";
        }
    }

    private static JsonObject Without(JsonObject one, params string[] keys)
    {
        foreach (var key in keys) one.Remove(key);
        return one;
    }

    private sealed class Still : TimeProvider
    {
        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;
        public override DateTimeOffset GetUtcNow() => new(2025, 3, 7, 14, 5, 9, TimeSpan.Zero);
    }
}
