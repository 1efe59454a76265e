using System.Text.Json.Nodes;

namespace Chat.Models.Templates;

/// <summary>
/// A chat template: the part of Jinja2 that models' <c>tokenizer_config.json</c> use, rendered as Hugging Face renders it (<c>trim_blocks</c>, <c>lstrip_blocks</c>, <c>raise_exception</c>,
/// <c>strftime_now</c>, its <c>tojson</c>). A sandbox by construction: an interpreter of its own over plain values, with no way to files, code or the machine, and a fixed amount of steps and text.
/// What it does not know is an error when the template is read, or when it is rendered, never a guess. Thread-safe and immutable.
/// </summary>
public sealed class ChatTemplate
{
    public const int LongestSource = 1 << 20;
    private readonly IReadOnlyList<TemplateStatement> body;
    private readonly long steps;
    private readonly int characters;

    private ChatTemplate(IReadOnlyList<TemplateStatement> body, long steps, int characters) => (this.body, this.steps, this.characters) = (body, steps, characters);

    /// <param name="steps">Statements and expressions one rendering may evaluate.</param>
    /// <param name="characters">Longest text or list a rendering may make.</param>
    /// <exception cref="TemplateException">The source is too long, or not of this language.</exception>
    public static ChatTemplate Parse(string source, long steps = 2_000_000, int characters = 4 << 20)
    {
        if (source.Length > LongestSource) throw new TemplateException($"The chat template has {source.Length} characters; at most {LongestSource} are read.");
        return new ChatTemplate(TemplateParser.Parse(source), steps, characters);
    }

    /// <summary>The text of a conversation.</summary>
    /// <param name="variables">What the template finds under names: <c>messages</c>, <c>tools</c>, <c>add_generation_prompt</c>, <c>bos_token</c> and so on. Absent names are undefined.</param>
    /// <param name="time">The clock behind <c>strftime_now</c>.</param>
    /// <exception cref="TemplateException">The template raised an exception, used what is not there, or went over a limit.</exception>
    public string Render(JsonObject variables, TimeProvider time)
    {
        var budget = new TemplateBudget(steps, characters);
        var run = new TemplateRun(budget, TemplateGlobals.Create(time), variables.ToDictionary(pair => pair.Key, pair => TemplateValues.FromJson(pair.Value)));
        TemplateStatement.All(body, run);
        return run.Output;
    }
}
