using System.Globalization;
using System.Text;

namespace Chat.Models.Templates;

/// <summary>Values as text, the way Python writes them, and texts as rows of whole characters, the way Python counts them.</summary>
internal static class TemplateText
{
    /// <summary>Python's <c>str</c>.</summary>
    public static string Print(object? value) => value switch
    {
        Undefined => "",
        string text => text,
        _ => Write(new StringBuilder(), value).ToString(),
    };

    /// <summary>Python's <c>repr</c>.</summary>
    public static StringBuilder Write(StringBuilder target, object? value)
    {
        TemplateBudget.CheckDepth();
        switch (value)
        {
            case null: return target.Append("None");
            case Undefined: return target.Append("Undefined");
            case bool truth: return target.Append(truth ? "True" : "False");
            case long whole: return target.Append(whole.ToString(CultureInfo.InvariantCulture));
            case double real: return target.Append(Real(real));
            case string text: return Quote(target, text);
            case TupleValue tuple: return List(target, '(', tuple, tuple.Count == 1 ? ",)" : ")");
            case List<object?> list: return List(target, '[', list, "]");
            case DictValue dict:
                target.Append('{');
                var first = true;
                foreach (var (key, each) in dict)
                {
                    if (!first) target.Append(", ");
                    first = false;
                    Write(Write(target, DictValue.FromKey(key)).Append(": "), each);
                }
                return target.Append('}');
            default: throw new TemplateException("The chat template prints a function or a namespace.");
        }
    }

    /// <summary>Python's digits of a float: the shortest that read back, with an exponent below 1e-4 and from 1e16 on.</summary>
    public static string Real(double value)
    {
        if (double.IsNaN(value)) return "nan";
        if (double.IsInfinity(value)) return value > 0 ? "inf" : "-inf";
        var text = value.ToString("E16", CultureInfo.InvariantCulture);
        for (var digits = 0; digits < 16; digits++)
            if (value.ToString($"E{digits}", CultureInfo.InvariantCulture) is var shorter && double.Parse(shorter, CultureInfo.InvariantCulture) == value)
            {
                text = shorter;
                break;
            }
        var (mantissa, exponent) = (text[..text.IndexOf('E')], int.Parse(text[(text.IndexOf('E') + 1)..], CultureInfo.InvariantCulture));
        if (exponent is < -4 or >= 16) return $"{mantissa}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
        var decimals = mantissa.Contains('.') ? mantissa.Length - mantissa.IndexOf('.') - 1 : 0;
        var plain = value.ToString($"F{Math.Max(0, decimals - exponent)}", CultureInfo.InvariantCulture);
        return plain.Contains('.') ? plain : plain + ".0";
    }

    /// <summary>The text's characters, a pair of surrogates as one.</summary>
    public static IReadOnlyList<string> Characters(string text)
    {
        var characters = new List<string>(text.Length);
        for (var at = 0; at < text.Length;)
        {
            var units = char.IsHighSurrogate(text[at]) && at + 1 < text.Length && char.IsLowSurrogate(text[at + 1]) ? 2 : 1;
            characters.Add(text.Substring(at, units));
            at += units;
        }
        return characters;
    }

    public static int Length(string text) => text.AsSpan().ContainsAnyInRange('\ud800', '\udfff') ? Characters(text).Count : text.Length;

    /// <summary>Order by code points; UTF-16 units would put what lies beyond U+FFFF before U+E000.</summary>
    public static int Compare(string one, string other)
    {
        for (var i = 0; i < Math.Min(one.Length, other.Length); i++)
            if (one[i] != other[i])
                return char.IsSurrogate(one[i]) != char.IsSurrogate(other[i]) ? char.IsSurrogate(one[i]) ? 1 : -1 : one[i].CompareTo(other[i]);
        return one.Length.CompareTo(other.Length);
    }

    private static StringBuilder List(StringBuilder target, char open, List<object?> items, string close)
    {
        target.Append(open);
        for (var i = 0; i < items.Count; i++)
        {
            if (i > 0) target.Append(", ");
            Write(target, items[i]);
        }
        return target.Append(close);
    }

    private static StringBuilder Quote(StringBuilder target, string text)
    {
        var quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        target.Append(quote);
        foreach (var character in Characters(text))
        {
            var code = character.Length == 2 ? char.ConvertToUtf32(character, 0) : character[0];
            if (code == quote || code == '\\') target.Append('\\').Append(character);
            else if (code == '\n') target.Append("\\n");
            else if (code == '\r') target.Append("\\r");
            else if (code == '\t') target.Append("\\t");
            else if (IsPrintable(code)) target.Append(character);
            else target.Append(CultureInfo.InvariantCulture, $"{(code <= 0xff ? $"\\x{code:x2}" : code <= 0xffff ? $"\\u{code:x4}" : $"\\U{code:x8}")}");
        }
        return target.Append(quote);
    }

    private static bool IsPrintable(int code) => code == ' ' || CharUnicodeInfo.GetUnicodeCategory(code) is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate
        or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.SpaceSeparator);
}
