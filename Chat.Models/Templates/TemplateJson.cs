using System.Globalization;
using System.Text;

namespace Chat.Models.Templates;

/// <summary>Python's <c>json.dumps</c> as Hugging Face calls it: nothing beyond ASCII is escaped unless asked, no HTML either.</summary>
internal sealed class TemplateJson(string? indent, string itemSeparator, string keySeparator, bool sortKeys, bool asciiOnly, TemplateBudget budget)
{
    private readonly StringBuilder text = new();

    public string Write(object? value)
    {
        Write(value, 0);
        return budget.Made(text.ToString());
    }

    private void Write(object? value, int depth)
    {
        budget.Step();
        budget.Check(text.Length);
        switch (value)
        {
            case null: text.Append("null"); break;
            case bool truth: text.Append(truth ? "true" : "false"); break;
            case long whole: text.Append(whole.ToString(CultureInfo.InvariantCulture)); break;
            case double real: text.Append(double.IsNaN(real) ? "NaN" : double.IsPositiveInfinity(real) ? "Infinity" : double.IsNegativeInfinity(real) ? "-Infinity" : TemplateText.Real(real)); break;
            case string words: Quote(words); break;
            case List<object?> list: Several('[', list.Select(item => ((string?)null, item)), ']', depth); break;
            case DictValue dict:
                var pairs = dict.Select(pair => ((string?)Key(DictValue.FromKey(pair.Key)), pair.Value));
                Several('{', sortKeys ? pairs.OrderBy(pair => pair.Item1, Comparer<string?>.Create((a, b) => TemplateText.Compare(a!, b!))) : pairs, '}', depth);
                break;
            case Undefined missing: throw missing.Error();
            default: throw new TemplateException("The chat template writes a function as JSON.");
        }
    }

    private void Several(char open, IEnumerable<(string? Key, object? Value)> items, char close, int depth)
    {
        text.Append(open);
        var count = 0;
        foreach (var (key, value) in items)
        {
            if (count++ > 0) text.Append(itemSeparator);
            Break(depth + 1);
            if (key is not null)
            {
                Quote(key);
                text.Append(keySeparator);
            }
            Write(value, depth + 1);
        }
        if (count > 0) Break(depth);
        text.Append(close);
    }

    private void Break(int depth)
    {
        if (indent is null) return;
        text.Append('\n');
        budget.Check(text.Length + (long)indent.Length * depth);
        for (var i = 0; i < depth; i++) text.Append(indent);
    }

    private static string Key(object? key) => key switch
    {
        null => "null",
        bool truth => truth ? "true" : "false",
        string words => words,
        long or double => TemplateText.Print(key),
        _ => throw new TemplateException("The chat template writes a tuple as a key of JSON."),
    };

    private void Quote(string words)
    {
        text.Append('"');
        foreach (var letter in words)
            switch (letter)
            {
                case '"': text.Append("\\\""); break;
                case '\\': text.Append("\\\\"); break;
                case '\n': text.Append("\\n"); break;
                case '\r': text.Append("\\r"); break;
                case '\t': text.Append("\\t"); break;
                case '\b': text.Append("\\b"); break;
                case '\f': text.Append("\\f"); break;
                default:
                    if (letter < ' ' || (asciiOnly && letter > '~')) text.Append(CultureInfo.InvariantCulture, $"\\u{(int)letter:x4}");
                    else text.Append(letter);
                    break;
            }
        text.Append('"');
    }
}
