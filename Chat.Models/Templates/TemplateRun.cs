using System.Text;

namespace Chat.Models.Templates;

/// <summary>One rendering: the names in sight, the text so far, and what is left of the budget.</summary>
internal sealed class TemplateRun(TemplateBudget budget, Dictionary<string, object?> globals, Dictionary<string, object?> variables)
{
    private Scope scope = new(null, variables);
    private StringBuilder output = new();

    public TemplateBudget Budget => budget;

    public string Output => output.ToString();

    /// <summary>A name's value: the innermost scope that has it, then the globals.</summary>
    public object? Find(string name)
    {
        for (var each = scope; each is not null; each = each.Outer)
            if (each.Names.TryGetValue(name, out var value)) return value;
        return globals.TryGetValue(name, out var known) ? known : new Undefined($"'{name}'");
    }

    /// <summary>Sets a name where the run now is: what a loop's body sets is gone behind the loop.</summary>
    public void Set(string name, object? value) => scope.Names[name] = value;

    public void Write(string text)
    {
        budget.Make(text.Length);
        output.Append(text);
        budget.Check(output.Length);
    }

    /// <summary>Runs with a new scope inside the present one, or inside <paramref name="outer"/>.</summary>
    public void Inside(Action body, Scope? outer = null)
    {
        var before = scope;
        scope = new Scope(outer ?? before, []);
        try
        {
            body();
        }
        finally
        {
            scope = before;
        }
    }

    /// <summary>What the body writes, as a text.</summary>
    public string Capture(Action body)
    {
        var before = output;
        output = new StringBuilder();
        try
        {
            body();
            return output.ToString();
        }
        finally
        {
            output = before;
        }
    }

    public Scope Present => scope;

    /// <summary>The names set at one level.</summary>
    internal sealed record Scope(Scope? Outer, Dictionary<string, object?> Names);
}
