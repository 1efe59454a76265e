using System.Globalization;
using System.Text;

namespace Chat.Models.Templates;

/// <summary>What stands behind a bar: filters of texts and numbers here, of lists in <see cref="SequenceFilters"/>. The filtered value is the first argument.</summary>
internal static class TemplateFilters
{
    public static IReadOnlyDictionary<string, Func<CallArguments, object?>> Known { get; } = SequenceFilters.Known.Concat(new Dictionary<string, Func<CallArguments, object?>>
    {
        ["trim"] = a => a.Bind("trim", "value", "chars") is var v ? TextMethods.Strip(TemplateText.Print(v[0]), v[1], left: true, right: true) : null,
        ["upper"] = a => TemplateText.Print(One(a, "upper")).ToUpperInvariant(),
        ["lower"] = a => TemplateText.Print(One(a, "lower")).ToLowerInvariant(),
        ["capitalize"] = a => TextMethods.Capitalize(TemplateText.Print(One(a, "capitalize"))),
        ["title"] = a => Title(TemplateText.Print(One(a, "title"))),
        ["string"] = a => TemplateText.Print(One(a, "string")),
        ["safe"] = a => TemplateText.Print(One(a, "safe")),
        ["escape"] = a => Escape(TemplateText.Print(One(a, "escape"))),
        ["e"] = a => Escape(TemplateText.Print(One(a, "e"))),
        ["replace"] = a => a.Bind("replace", "value", "old", "new", "count") is var v ? TextMethods.Replace(TemplateText.Print(v[0]), TemplateText.Print(Needed(v[1], "replace")), TemplateText.Print(Needed(v[2], "replace")),
            CallArguments.Or(v[3], null) is { } count ? TemplateValues.Whole(count) : -1, a.Run.Budget) : null,
        ["indent"] = Indent,
        ["truncate"] = Truncate,
        ["wordcount"] = a => (long)TemplateText.Print(One(a, "wordcount")).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length,
        ["center"] = a => a.Bind("center", "value", "width") is var v ? Center(TemplateText.Print(v[0]), (int)Math.Clamp(TemplateValues.Whole(CallArguments.Or(v[1], 80L)), 0, int.MaxValue), a.Run.Budget) : null,
        ["format"] = a => TemplateArithmetic.Format(TemplateText.Print(a.Positional[0]), [.. a.Positional.Skip(1)], a.Run.Budget),
        ["urlencode"] = a => Uri.EscapeDataString(TemplateText.Print(One(a, "urlencode"))).Replace("%2F", "/", StringComparison.Ordinal),
        ["tojson"] = Json,
        ["default"] = a => Default(a, "default"),
        ["d"] = a => Default(a, "d"),
        ["int"] = a => a.Bind("int", "value", "default", "base") is var v ? Whole(v[0], CallArguments.Or(v[1], 0L)) : null,
        ["float"] = a => a.Bind("float", "value", "default") is var v ? Real(v[0]) ?? CallArguments.Or(v[1], 0.0) : null,
        ["abs"] = a => One(a, "abs") is var v && TemplateValues.IsWhole(v, out var whole) ? whole < 0 ? TemplateArithmetic.Apply("-", 0L, whole, a.Run.Budget) : whole : Math.Abs(TemplateValues.Real(v)),
        ["round"] = a => Round(a),
    }).ToDictionary();

    /// <exception cref="TemplateException">No filter has that name; the message lists them.</exception>
    public static Func<CallArguments, object?> Find(string name) => Known.TryGetValue(name, out var filter) ? filter
        : throw new TemplateException($"The filter '{name}' of the chat template is not known. Known: {string.Join(", ", Known.Keys.Order(StringComparer.Ordinal))}.");

    public static object? One(CallArguments arguments, string name) => arguments.Bind(name, "value")[0];

    public static object? Needed(object? value, string filter) => CallArguments.Given(value) ? value : throw new TemplateException($"The filter '{filter}' of the chat template lacks an argument.");

    private static object? Default(CallArguments arguments, string name)
    {
        var values = arguments.Bind(name, "value", "default_value", "boolean");
        return values[0] is Undefined || (TemplateValues.IsTrue(CallArguments.Or(values[2], false)) && !TemplateValues.IsTrue(values[0])) ? CallArguments.Or(values[1], "") : values[0];
    }

    private static string Json(CallArguments arguments)
    {
        var values = arguments.Bind("tojson", "value", "ensure_ascii", "indent", "separators", "sort_keys");
        var indent = CallArguments.Or(values[2], null);
        var (item, key) = indent is null ? (", ", ": ") : (",", ": ");
        if (CallArguments.Or(values[3], null) is { } separators)
        {
            var both = TemplateValues.Items(separators);
            if (both.Count != 2) throw new TemplateException("'separators' of 'tojson' in the chat template are two.");
            (item, key) = (TemplateValues.Text(both[0]), TemplateValues.Text(both[1]));
        }
        if (indent is not (null or string)) arguments.Run.Budget.Make(TemplateValues.Whole(indent));
        return new TemplateJson(indent is null ? null : indent as string ?? new string(' ', (int)Math.Max(0, TemplateValues.Whole(indent))), item, key,
            TemplateValues.IsTrue(CallArguments.Or(values[4], false)), TemplateValues.IsTrue(CallArguments.Or(values[1], false)), arguments.Run.Budget).Write(values[0]);
    }

    private static string Indent(CallArguments arguments)
    {
        var values = arguments.Bind("indent", "value", "width", "first", "blank");
        var width = CallArguments.Or(values[1], 4L);
        if (width is not string) arguments.Run.Budget.Make(TemplateValues.Whole(width));
        var by = width as string ?? new string(' ', (int)Math.Max(0, TemplateValues.Whole(width)));
        var (first, blank) = (TemplateValues.IsTrue(CallArguments.Or(values[2], false)), TemplateValues.IsTrue(CallArguments.Or(values[3], false)));
        var text = TemplateText.Print(values[0]) + "\n";                    // as Jinja2: a last line break makes a line of its own
        var lines = TextMethods.Lines(text, keepEnds: false);
        arguments.Run.Budget.Make(text.Length + (long)lines.Count * by.Length);
        var shown = string.Join('\n', lines.Select((line, i) => i == 0 || (!blank && ((string)line!).Length == 0) ? (string)line! : by + line));
        return first ? by + shown : shown;
    }

    private static string Truncate(CallArguments arguments)
    {
        var values = arguments.Bind("truncate", "value", "length", "killwords", "end", "leeway");
        var (text, length, end, leeway) = (TemplateText.Characters(TemplateText.Print(values[0])), TemplateValues.Whole(CallArguments.Or(values[1], 255L)), TemplateValues.Text(CallArguments.Or(values[3], "...")),
            CallArguments.Or(values[4], null) is { } given ? TemplateValues.Whole(given) : 5);
        if (text.Count <= length + leeway) return string.Concat(text);
        var cut = string.Concat(text.Take((int)Math.Max(0, length - TemplateText.Length(end))));
        if (!TemplateValues.IsTrue(CallArguments.Or(values[2], false)) && cut.LastIndexOf(' ') is >= 0 and var blank) cut = cut[..blank];
        return cut + end;
    }

    private static string Center(string text, int width, TemplateBudget budget)
    {
        budget.Make(width);
        var missing = Math.Max(0, width - TemplateText.Length(text));
        var before = missing / 2 + (missing & width & 1);
        return new string(' ', before) + text + new string(' ', missing - before);
    }

    private static string Title(string text)
    {
        var (titled, starts) = (new StringBuilder(text.Length), true);
        foreach (var letter in text)
        {
            titled.Append(starts ? char.ToUpperInvariant(letter) : char.ToLowerInvariant(letter));
            starts = letter is '-' or '(' or '{' or '[' or '<' || char.IsWhiteSpace(letter);
        }
        return titled.ToString();
    }

    private static string Escape(string text) => text.Replace("&", "&amp;", StringComparison.Ordinal).Replace(">", "&gt;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal)
        .Replace("'", "&#39;", StringComparison.Ordinal).Replace("\"", "&#34;", StringComparison.Ordinal);

    private static object? Whole(object? value, object? absent)
    {
        if (TemplateValues.IsWhole(value, out var whole)) return whole;
        if (value is string text && long.TryParse(text.AsSpan().Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var parsed)) return parsed;
        return Real(value) is { } real && Math.Abs(real) < 9.2e18 ? (long)Math.Truncate(real) : absent;
    }

    private static double? Real(object? value) => value switch
    {
        bool or long or double => TemplateValues.Real(value),
        string text when double.TryParse(text.AsSpan().Trim(), NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out var real) => real,
        _ => null,
    };

    private static object? Round(CallArguments arguments)
    {
        var values = arguments.Bind("round", "value", "precision", "method");
        var (value, precision, method) = (TemplateValues.Real(values[0]), TemplateValues.Whole(CallArguments.Or(values[1], 0L)), TemplateValues.Text(CallArguments.Or(values[2], "common")));
        if (method == "common" && precision >= 0 && TemplateValues.IsWhole(values[0], out var whole)) return whole;
        var factor = Math.Pow(10, precision);
        return method switch
        {
            "ceil" => Math.Ceiling(value * factor) / factor,
            "floor" => Math.Floor(value * factor) / factor,
            "common" when precision is >= 0 and <= 15 => (double)Math.Round((decimal)value, (int)precision, MidpointRounding.ToEven),
            "common" => Math.Round(value * factor, MidpointRounding.ToEven) / factor,
            _ => throw new TemplateException($"'round' in the chat template knows common, ceil and floor, not '{method}'."),
        };
    }
}
