namespace Chat.Models.Templates;

/// <summary>What a function, filter or test is called with, and the run it is called in.</summary>
internal sealed record CallArguments(TemplateRun Run, IReadOnlyList<object?> Positional, IReadOnlyDictionary<string, object?> Named)
{
    /// <summary>Stands for a parameter that was not given.</summary>
    public static readonly object Absent = new();

    /// <summary>The values of named parameters, <see cref="Absent"/> where none is given.</summary>
    /// <param name="function">Named in errors.</param>
    /// <exception cref="TemplateException">Too many arguments, one twice, or an unknown name.</exception>
    public object?[] Bind(string function, params ReadOnlySpan<string> names)
    {
        if (Positional.Count > names.Length) throw new TemplateException($"The chat template calls '{function}' with {Positional.Count} arguments; it takes at most {names.Length}.");
        var values = new object?[names.Length];
        for (var i = 0; i < values.Length; i++) values[i] = i < Positional.Count ? Positional[i] : Absent;
        foreach (var (name, value) in Named)
        {
            var at = names.IndexOf(name);
            if (at < 0) throw new TemplateException($"'{function}' in the chat template has no parameter '{name}'. Known: {string.Join(", ", names.ToArray())}.");
            if (!ReferenceEquals(values[at], Absent)) throw new TemplateException($"The chat template gives '{name}' of '{function}' twice.");
            values[at] = value;
        }
        return values;
    }

    public static bool Given(object? value) => !ReferenceEquals(value, Absent);

    public static object? Or(object? value, object? absent) => Given(value) ? value : absent;
}
