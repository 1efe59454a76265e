namespace Chat.Models.Templates;

/// <summary>What stands behind <c>is</c>. The tested value is the first argument.</summary>
internal static class TemplateTests
{
    public static IReadOnlyDictionary<string, Func<CallArguments, bool>> Known { get; } = new Dictionary<string, Func<CallArguments, bool>>
    {
        ["defined"] = Plain("defined", value => value is not Undefined),
        ["undefined"] = Plain("undefined", value => value is Undefined),
        ["none"] = Plain("none", value => value is null),
        ["boolean"] = Plain("boolean", value => value is bool),
        ["true"] = Plain("true", value => value is true),
        ["false"] = Plain("false", value => value is false),
        ["integer"] = Plain("integer", value => value is long),
        ["float"] = Plain("float", value => value is double),
        ["number"] = Plain("number", TemplateValues.IsNumber),
        ["string"] = Plain("string", value => value is string),
        ["mapping"] = Plain("mapping", value => value is DictValue),
        ["sequence"] = Plain("sequence", value => value is string or List<object?> or DictValue or Undefined),
        ["iterable"] = Plain("iterable", value => value is string or List<object?> or DictValue or Undefined),
        ["callable"] = Plain("callable", value => value is FunctionValue or NamespaceValue { Call: not null }),
        ["odd"] = Plain("odd", value => TemplateValues.Whole(value) % 2 != 0),
        ["even"] = Plain("even", value => TemplateValues.Whole(value) % 2 == 0),
        ["lower"] = Plain("lower", value => TemplateText.Print(value) is var text && text.Any(char.IsLower) && !text.Any(char.IsUpper)),
        ["upper"] = Plain("upper", value => TemplateText.Print(value) is var text && text.Any(char.IsUpper) && !text.Any(char.IsLower)),
        ["filter"] = Plain("filter", value => TemplateFilters.Known.ContainsKey(TemplateText.Print(value))),
        ["test"] = Plain("test", value => IsKnown(TemplateText.Print(value))),
        ["divisibleby"] = Pair("divisibleby", (value, by) => TemplateValues.Whole(by) is not 0 and var whole ? TemplateValues.Whole(value) % whole == 0 : throw new TemplateException("The chat template divides by zero.")),
        ["sameas"] = Pair("sameas", (value, other) => value is null or bool or long || other is null or bool or long ? Equals(value, other) : ReferenceEquals(value, other)),
        ["in"] = Pair("in", (value, holder) => TemplateValues.Contains(holder, value)),
        ["eq"] = Pair("eq", TemplateValues.AreEqual),
        ["equalto"] = Pair("equalto", TemplateValues.AreEqual),
        ["=="] = Pair("==", TemplateValues.AreEqual),
        ["ne"] = Pair("ne", (value, other) => !TemplateValues.AreEqual(value, other)),
        ["!="] = Pair("!=", (value, other) => !TemplateValues.AreEqual(value, other)),
        ["lt"] = Pair("lt", (value, other) => TemplateValues.Compare(value, other) < 0),
        ["lessthan"] = Pair("lessthan", (value, other) => TemplateValues.Compare(value, other) < 0),
        ["<"] = Pair("<", (value, other) => TemplateValues.Compare(value, other) < 0),
        ["le"] = Pair("le", (value, other) => TemplateValues.Compare(value, other) <= 0),
        ["<="] = Pair("<=", (value, other) => TemplateValues.Compare(value, other) <= 0),
        ["gt"] = Pair("gt", (value, other) => TemplateValues.Compare(value, other) > 0),
        ["greaterthan"] = Pair("greaterthan", (value, other) => TemplateValues.Compare(value, other) > 0),
        [">"] = Pair(">", (value, other) => TemplateValues.Compare(value, other) > 0),
        ["ge"] = Pair("ge", (value, other) => TemplateValues.Compare(value, other) >= 0),
        [">="] = Pair(">=", (value, other) => TemplateValues.Compare(value, other) >= 0),
    };

    /// <exception cref="TemplateException">No test has that name; the message lists them.</exception>
    public static Func<CallArguments, bool> Find(string name) => Known.TryGetValue(name, out var test) ? test
        : throw new TemplateException($"The test '{name}' of the chat template is not known. Known: {string.Join(", ", Known.Keys.Order(StringComparer.Ordinal))}.");

    private static bool IsKnown(string name) => Known.ContainsKey(name);

    private static Func<CallArguments, bool> Plain(string name, Func<object?, bool> test) => arguments => test(arguments.Bind(name, "value")[0]);

    private static Func<CallArguments, bool> Pair(string name, Func<object?, object?, bool> test) => arguments =>
        arguments.Bind(name, "value", "other") is [var value, var other] && CallArguments.Given(other) ? test(value, other) : throw new TemplateException($"The test '{name}' of the chat template needs something to compare with.");
}
