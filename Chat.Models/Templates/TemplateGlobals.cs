using System.Globalization;
using System.Text;

namespace Chat.Models.Templates;

/// <summary>The functions that every template can call.</summary>
internal static class TemplateGlobals
{
    private const int LongestRange = 100_000;

    public static Dictionary<string, object?> Create(TimeProvider time) => new FunctionValue[]
    {
        new("range", Range),
        new("namespace", arguments =>
        {
            var space = new NamespaceValue { IsOpen = true };
            foreach (var (key, value) in Dict(arguments)) space.Attributes[TemplateValues.Text(key)] = value;
            return space;
        }),
        new("dict", Dict),
        new("cycler", Cycler),
        new("joiner", arguments =>
        {
            var (mark, used) = (CallArguments.Or(arguments.Bind("joiner", "sep")[0], ", "), false);
            return new FunctionValue("joiner", _ =>
            {
                var shown = used ? mark : "";
                used = true;
                return shown;
            });
        }),
        new("raise_exception", arguments => throw new TemplateException(TemplateText.Print(arguments.Bind("raise_exception", "message")[0]))),
        new("strftime_now", arguments => Date(TemplateValues.Text(arguments.Bind("strftime_now", "format")[0]), time.GetLocalNow())),
    }.ToDictionary(function => function.Name, object? (function) => function);

    private static List<object?> Range(CallArguments arguments)
    {
        if (arguments.Named.Count > 0 || arguments.Positional.Count is < 1 or > 3) throw new TemplateException("'range' in the chat template takes one to three numbers.");
        var numbers = arguments.Positional.Select(TemplateValues.Whole).ToArray();
        var (start, stop, step) = numbers.Length == 1 ? (0, numbers[0], 1) : (numbers[0], numbers[1], numbers.Length == 3 ? numbers[2] : 1);
        if (step == 0) throw new TemplateException("'range' in the chat template has a step of zero.");
        var count = Math.Max(0, Math.Ceiling(((double)stop - start) / step));
        if (count > LongestRange) throw new TemplateException($"'range' in the chat template has {count} numbers; at most {LongestRange} are allowed.");
        arguments.Run.Budget.Make((long)count * 16);
        return [.. Enumerable.Range(0, (int)count).Select(i => (object?)(start + i * step))];
    }

    private static DictValue Dict(CallArguments arguments)
    {
        var dict = new DictValue();
        if (arguments.Positional.Count > 1) throw new TemplateException("A dict is made of at most one other.");
        if (arguments.Positional is [var first])
            if (first is DictValue other)
                foreach (var (key, value) in other) dict[key] = value;
            else
                foreach (var pair in TemplateValues.Items(first)) dict[DictValue.Key(TemplateAccess.Item(pair, 0L))] = TemplateAccess.Item(pair, 1L);
        foreach (var (key, value) in arguments.Named) dict[key] = value;
        return dict;
    }

    private static NamespaceValue Cycler(CallArguments arguments)
    {
        if (arguments.Positional.Count == 0) throw new TemplateException("A cycler of the chat template has no values.");
        var (cycler, values) = (new NamespaceValue(), arguments.Positional);
        long at = 0;
        void Point() => cycler.Attributes["current"] = values[(int)(at % values.Count)];
        cycler.Attributes["next"] = new FunctionValue("next", _ =>
        {
            var value = cycler.Attributes["current"];
            at++;
            Point();
            return value;
        });
        cycler.Attributes["reset"] = new FunctionValue("reset", _ =>
        {
            at = 0;
            Point();
            return null;
        });
        Point();
        return cycler;
    }

    /// <summary>C's date formats.</summary>
    private static string Date(string format, DateTimeOffset now)
    {
        var text = new StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 >= format.Length) text.Append(format[i]);
            else text.Append(format[++i] switch
            {
                '%' => "%",
                'Y' => Shown("yyyy"),
                'y' => Shown("yy"),
                'm' => Shown("MM"),
                'd' => Shown("dd"),
                'B' => Shown("MMMM"),
                'b' => Shown("MMM"),
                'A' => Shown("dddd"),
                'a' => Shown("ddd"),
                'H' => Shown("HH"),
                'I' => Shown("hh"),
                'M' => Shown("mm"),
                'S' => Shown("ss"),
                'p' => Shown("tt"),
                'j' => now.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
                var other => throw new TemplateException($"The date format '%{other}' of the chat template is not known. Known: Y, y, m, d, B, b, A, a, H, I, M, S, p, j, %."),
            });
        }
        return text.ToString();

        string Shown(string pattern) => now.ToString(pattern, CultureInfo.InvariantCulture);
    }
}
