using System.Buffers;
using System.Text;

namespace Chat.Models.Templates;

/// <summary>The methods of Python's str that chat templates use. Positions count whole characters.</summary>
internal static class TextMethods
{
    private static readonly SearchValues<char> LineEnds = SearchValues.Create("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029");
    private static readonly SearchValues<char> Blanks = SearchValues.Create([.. Enumerable.Range(0, char.MaxValue).Select(code => (char)code).Where(char.IsWhiteSpace)]);

    private delegate object? Method(string text, CallArguments arguments);

    private static readonly Dictionary<string, Method> Known = new()
    {
        ["strip"] = (text, a) => Strip(text, a.Bind("strip", "chars")[0], left: true, right: true),
        ["lstrip"] = (text, a) => Strip(text, a.Bind("lstrip", "chars")[0], left: true, right: false),
        ["rstrip"] = (text, a) => Strip(text, a.Bind("rstrip", "chars")[0], left: false, right: true),
        ["upper"] = (text, _) => text.ToUpperInvariant(),
        ["lower"] = (text, _) => text.ToLowerInvariant(),
        ["capitalize"] = (text, _) => Capitalize(text),
        ["title"] = (text, _) => Title(text),
        ["swapcase"] = (text, _) => string.Concat(text.Select(letter => char.IsUpper(letter) ? char.ToLowerInvariant(letter) : char.ToUpperInvariant(letter))),
        ["startswith"] = (text, a) => Any(a.Bind("startswith", "prefix")[0], prefix => text.StartsWith(prefix, StringComparison.Ordinal)),
        ["endswith"] = (text, a) => Any(a.Bind("endswith", "suffix")[0], suffix => text.EndsWith(suffix, StringComparison.Ordinal)),
        ["split"] = (text, a) => Split(text, a.Bind("split", "sep", "maxsplit"), fromRight: false, a.Run.Budget),
        ["rsplit"] = (text, a) => Split(text, a.Bind("rsplit", "sep", "maxsplit"), fromRight: true, a.Run.Budget),
        ["splitlines"] = (text, a) => Lines(text, TemplateValues.IsTrue(CallArguments.Or(a.Bind("splitlines", "keepends")[0], false))),
        ["partition"] = (text, a) => Partition(text, TemplateValues.Text(a.Bind("partition", "sep")[0]), fromRight: false),
        ["rpartition"] = (text, a) => Partition(text, TemplateValues.Text(a.Bind("rpartition", "sep")[0]), fromRight: true),
        ["replace"] = (text, a) => a.Bind("replace", "old", "new", "count") is var v
            ? Replace(text, TemplateValues.Text(v[0]), TemplateValues.Text(v[1]), TemplateValues.Whole(CallArguments.Or(v[2], -1L)), a.Run.Budget) : null,
        ["join"] = (text, a) => a.Run.Budget.Made(string.Join(text, TemplateValues.Items(a.Bind("join", "iterable")[0]).Select(TemplateValues.Text))),
        ["find"] = (text, a) => Find(text, a.Bind("find", "sub", "start"), last: false),
        ["rfind"] = (text, a) => Find(text, a.Bind("rfind", "sub", "start"), last: true),
        ["index"] = (text, a) => Find(text, a.Bind("index", "sub", "start"), last: false) is >= 0 and var at ? at : throw new TemplateException("The chat template looks for the place of a text that is not there."),
        ["count"] = (text, a) => Count(text, TemplateValues.Text(a.Bind("count", "sub")[0])),
        ["removeprefix"] = (text, a) => TemplateValues.Text(a.Bind("removeprefix", "prefix")[0]) is var p && text.StartsWith(p, StringComparison.Ordinal) ? text[p.Length..] : text,
        ["removesuffix"] = (text, a) => TemplateValues.Text(a.Bind("removesuffix", "suffix")[0]) is var s && s.Length > 0 && text.EndsWith(s, StringComparison.Ordinal) ? text[..^s.Length] : text,
        ["isdigit"] = (text, _) => All(text, Rune.IsDigit),
        ["isalpha"] = (text, _) => All(text, Rune.IsLetter),
        ["isalnum"] = (text, _) => All(text, Rune.IsLetterOrDigit),
        ["isspace"] = (text, _) => All(text, Rune.IsWhiteSpace),
        ["isupper"] = (text, _) => text.Any(char.IsUpper) && !text.Any(char.IsLower),
        ["islower"] = (text, _) => text.Any(char.IsLower) && !text.Any(char.IsUpper),
        ["zfill"] = (text, a) => Fill(text, a),
        ["center"] = (text, a) => Pad(text, a, "center"),
        ["ljust"] = (text, a) => Pad(text, a, "ljust"),
        ["rjust"] = (text, a) => Pad(text, a, "rjust"),
        ["format"] = (text, a) => TextFormat.Apply(text, a),
    };

    /// <summary>The method bound to the text, or <c>null</c>.</summary>
    public static FunctionValue? Find(string text, string name) => Known.TryGetValue(name, out var method) ? new(name, arguments => method(text, arguments)) : null;

    public static string Strip(string text, object? characters, bool left, bool right)
    {
        var set = CallArguments.Or(characters, null) is { } given ? TemplateText.Characters(TemplateValues.Text(given)).ToHashSet() : null;
        bool Goes(string character) => set is null ? char.IsWhiteSpace(character[0]) || character[0] is >= '\x1c' and <= '\x1f' : set.Contains(character);
        var parts = TemplateText.Characters(text);
        var (from, to) = (0, parts.Count);
        while (left && from < to && Goes(parts[from])) from++;
        while (right && to > from && Goes(parts[to - 1])) to--;
        return string.Concat(parts.Skip(from).Take(to - from));
    }

    public static string Capitalize(string text) => text.Length == 0 ? "" : Rune.DecodeFromUtf16(text, out var first, out var units) == OperationStatus.Done
        ? Rune.ToUpperInvariant(first) + text[units..].ToLowerInvariant() : text;

    public static string Replace(string text, string old, string by, long most, TemplateBudget budget)
    {
        if (most == 0) return text;
        if (old.Length == 0)
        {
            var parts = TemplateText.Characters(text);
            var places = most < 0 ? parts.Count + 1 : Math.Min(most, parts.Count + 1);
            budget.Make(text.Length + places * by.Length);
            var spread = new StringBuilder();
            for (var i = 0; i <= parts.Count; i++) spread.Append(i < places ? by : "").Append(i < parts.Count ? parts[i] : "");
            return spread.ToString();
        }
        var found = most < 0 ? Count(text, old) : Math.Min(most, Count(text, old));
        budget.Make(text.Length + found * Math.Max(0, by.Length - old.Length));
        var (result, at) = (new StringBuilder(), 0);
        for (; found > 0; found--)
        {
            var next = text.IndexOf(old, at, StringComparison.Ordinal);
            result.Append(text, at, next - at).Append(by);
            at = next + old.Length;
        }
        return result.Append(text, at, text.Length - at).ToString();
    }

    public static List<object?> Lines(string text, bool keepEnds)
    {
        var lines = new List<object?>();
        for (var at = 0; at < text.Length;)
        {
            var end = text.AsSpan(at).IndexOfAny(LineEnds);
            if (end < 0)
            {
                lines.Add(text[at..]);
                break;
            }
            var next = at + end + (text[at + end] == '\r' && at + end + 1 < text.Length && text[at + end + 1] == '\n' ? 2 : 1);
            lines.Add(keepEnds ? text[at..next] : text.Substring(at, end));
            at = next;
        }
        return lines;
    }

    private static long Count(string text, string part)
    {
        if (part.Length == 0) return TemplateText.Length(text) + 1;
        var count = 0L;
        for (var at = text.IndexOf(part, StringComparison.Ordinal); at >= 0; at = text.IndexOf(part, at + part.Length, StringComparison.Ordinal)) count++;
        return count;
    }

    private static List<object?> Split(string text, object?[] values, bool fromRight, TemplateBudget budget)
    {
        var most = TemplateValues.Whole(CallArguments.Or(values[1], -1L));
        budget.Make(text.Length);
        var parts = new List<object?>();
        if (CallArguments.Or(values[0], null) is not { } separator)
        {
            // Runs of white space part words; blanks at both ends part nothing.
            var rest = fromRight ? text.TrimEnd() : text.TrimStart();
            while (rest.Length > 0)
            {
                var cut = most >= 0 && parts.Count >= most ? -1 : fromRight ? LastBlank(rest) : FirstBlank(rest);
                if (cut < 0 && (most < 0 || parts.Count < most)) rest = rest.Trim();
                parts.Add(cut < 0 ? rest : fromRight ? rest[(cut + 1)..] : rest[..cut]);
                rest = cut < 0 ? "" : fromRight ? rest[..cut].TrimEnd() : rest[cut..].TrimStart();
            }
        }
        else
        {
            var mark = TemplateValues.Text(separator);
            if (mark.Length == 0) throw new TemplateException("The chat template splits at an empty text.");
            var rest = text;
            for (var cut = Next(rest); cut >= 0 && (most < 0 || parts.Count < most); cut = Next(rest))
            {
                parts.Add(fromRight ? rest[(cut + mark.Length)..] : rest[..cut]);
                rest = fromRight ? rest[..cut] : rest[(cut + mark.Length)..];
                budget.Step();
            }
            parts.Add(rest);
            int Next(string within) => fromRight ? within.LastIndexOf(mark, StringComparison.Ordinal) : within.IndexOf(mark, StringComparison.Ordinal);
        }
        if (fromRight) parts.Reverse();
        return parts;

        static int FirstBlank(string words) => words.AsSpan().IndexOfAny(Blanks);
        static int LastBlank(string words) => words.AsSpan().LastIndexOfAny(Blanks);
    }

    private static TupleValue Partition(string text, string mark, bool fromRight)
    {
        var at = fromRight ? text.LastIndexOf(mark, StringComparison.Ordinal) : text.IndexOf(mark, StringComparison.Ordinal);
        return at >= 0 ? new([text[..at], mark, text[(at + mark.Length)..]]) : fromRight ? new(["", "", text]) : new([text, "", ""]);
    }

    private static long Find(string text, object?[] values, bool last)
    {
        var (part, from) = (TemplateValues.Text(values[0]), TemplateValues.Whole(CallArguments.Or(values[1], 0L)));
        var characters = TemplateText.Characters(text);
        from = from < 0 ? Math.Max(0, from + characters.Count) : from;
        if (from > characters.Count) return -1;
        var skipped = characters.Take((int)from).Sum(character => character.Length);
        var at = last ? text.AsSpan(skipped).LastIndexOf(part) : text.AsSpan(skipped).IndexOf(part);
        return at < 0 ? -1 : TemplateText.Length(text[..(skipped + at)]);
    }

    private static string Title(string text)
    {
        var (titled, inWord) = (new StringBuilder(text.Length), false);
        foreach (var letter in text)
        {
            titled.Append(inWord ? char.ToLowerInvariant(letter) : char.ToUpperInvariant(letter));
            inWord = char.IsLetter(letter);
        }
        return titled.ToString();
    }

    private static string Fill(string text, CallArguments arguments)
    {
        var width = TemplateValues.Whole(arguments.Bind("zfill", "width")[0]);
        arguments.Run.Budget.Make(width);
        var sign = text.StartsWith('-') || text.StartsWith('+') ? text[..1] : "";
        return sign + new string('0', (int)Math.Max(0, width - TemplateText.Length(text))) + text[sign.Length..];
    }

    private static string Pad(string text, CallArguments arguments, string name)
    {
        var values = arguments.Bind(name, "width", "fillchar");
        var (width, fill) = (TemplateValues.Whole(values[0]), TemplateValues.Text(CallArguments.Or(values[1], " ")));
        if (TemplateText.Length(fill) != 1) throw new TemplateException($"'{name}' in the chat template fills with one character, not with '{fill}'.");
        arguments.Run.Budget.Make(width);
        var missing = (int)Math.Max(0, width - TemplateText.Length(text));
        var before = name switch { "ljust" => 0, "rjust" => missing, _ => missing / 2 + (missing & (int)width & 1) };
        return string.Concat(Enumerable.Repeat(fill, before)) + text + string.Concat(Enumerable.Repeat(fill, missing - before));
    }

    private static bool Any(object? value, Func<string, bool> test) => value is TupleValue several ? several.Any(each => test(TemplateValues.Text(each))) : test(TemplateValues.Text(value));

    private static bool All(string text, Func<Rune, bool> test) => text.Length > 0 && text.EnumerateRunes().All(test);
}
