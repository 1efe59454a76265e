using System.Globalization;
using System.Text;

namespace Chat.Models.Templates;

/// <summary>Python's operators on numbers, texts and lists. Whole numbers that leave 64 bits are an error, not a longer number.</summary>
internal static class TemplateArithmetic
{
    /// <exception cref="TemplateException">The operands do not fit the operator, or the result is too large.</exception>
    public static object? Apply(string sign, object? left, object? right, TemplateBudget budget)
    {
        if (TemplateValues.IsNumber(left) && TemplateValues.IsNumber(right))
            try
            {
                return Numbers(sign, left, right);
            }
            catch (Exception error) when (error is OverflowException or DivideByZeroException)
            {
                throw new TemplateException(error is DivideByZeroException ? "The chat template divides by zero." : "The chat template makes a number beyond 64 bits.", error);
            }
        switch (sign, left, right)
        {
            case ("+", string a, string b): return budget.Made(a + b);
            case ("+", List<object?> a, List<object?> b) when a is TupleValue == b is TupleValue: return Joined(a, b, budget);
            case ("*", string text, _) when TemplateValues.IsWhole(right, out var times): return Repeated(text, times, budget);
            case ("*", _, string text) when TemplateValues.IsWhole(left, out var times): return Repeated(text, times, budget);
            case ("*", List<object?> list, _) when TemplateValues.IsWhole(right, out var times): return Repeated(list, times, budget);
            case ("*", _, List<object?> list) when TemplateValues.IsWhole(left, out var times): return Repeated(list, times, budget);
            case ("%", string format, _): return Format(format, right is TupleValue tuple ? tuple : [right], budget);
            default:
                if (left is Undefined missing) throw missing.Error();
                if (right is Undefined absent) throw absent.Error();
                throw new TemplateException($"The chat template has '{sign}' between {TemplateValues.Kind(left)} and {TemplateValues.Kind(right)}.");
        }
    }

    /// <summary>C's formats as far as Python shares them: %s %r %d %i %x %X %f %e %g %%, with flags, width and precision.</summary>
    public static string Format(string format, IReadOnlyList<object?> values, TemplateBudget budget)
    {
        var (text, next) = (new StringBuilder(), 0);
        for (var at = 0; at < format.Length; at++)
        {
            if (format[at] != '%')
            {
                text.Append(format[at]);
                continue;
            }
            var start = ++at;
            while (at < format.Length && format[at] is '-' or '+' or ' ' or '0' or '#') at++;
            var flags = format[start..at];
            var width = Digits(format, ref at) ?? 0;
            var precision = at < format.Length && format[at] == '.' ? Digits(format, ref at, skip: 1) ?? 0 : (int?)null;
            if (at >= format.Length) throw new TemplateException("A format in the chat template ends early.");
            if (format[at] == '%')
            {
                text.Append('%');
                continue;
            }
            if (next >= values.Count) throw new TemplateException("A format in the chat template has more places than values.");
            var shown = One(format[at], values[next++], precision);
            if (flags.Contains('+') && format[at] is not ('s' or 'r') && shown[0] != '-') shown = "+" + shown;
            budget.Make(Math.Max(width, shown.Length));
            var zeros = flags.Contains('0') && !flags.Contains('-') && format[at] is not ('s' or 'r');
            var sign = zeros && shown[0] is '-' or '+' ? shown[..1] : "";
            text.Append(flags.Contains('-') ? shown.PadRight(width) : zeros ? sign + shown[sign.Length..].PadLeft(width - sign.Length, '0') : shown.PadLeft(width));
        }
        if (next < values.Count && !(values is [DictValue])) throw new TemplateException("A format in the chat template has more values than places.");
        return budget.Made(text.ToString());
    }

    private static string One(char kind, object? value, int? precision)
    {
        switch (kind)
        {
            case 's' or 'r':
                var shown = kind == 's' ? TemplateText.Print(value) : TemplateText.Write(new StringBuilder(), value).ToString();
                return precision is { } most ? string.Concat(TemplateText.Characters(shown).Take(most)) : shown;
            case 'd' or 'i': return value is double real ? Math.Truncate(real).ToString("F0", CultureInfo.InvariantCulture) : TemplateValues.Whole(value).ToString(CultureInfo.InvariantCulture);
            case 'x': return TemplateValues.Whole(value).ToString("x", CultureInfo.InvariantCulture);
            case 'X': return TemplateValues.Whole(value).ToString("X", CultureInfo.InvariantCulture);
            case 'f': return TemplateValues.Real(value).ToString($"F{Math.Min(precision ?? 6, 100)}", CultureInfo.InvariantCulture);
            default: throw new TemplateException($"The format '%{kind}' of the chat template is not known. Known: s, r, d, i, x, X, f, %.");
        }
    }

    private static int? Digits(string format, ref int at, int skip = 0)
    {
        var start = at += skip;
        while (at < format.Length && char.IsAsciiDigit(format[at])) at++;
        return at == start ? null : int.TryParse(format.AsSpan(start, at - start), out var number) ? number : int.MaxValue;
    }

    private static object Numbers(string sign, object? left, object? right)
    {
        if (TemplateValues.IsWhole(left, out var a) && TemplateValues.IsWhole(right, out var b))
            switch (sign)
            {
                case "+": return checked(a + b);
                case "-": return checked(a - b);
                case "*": return checked(a * b);
                case "//": return b == -1 ? checked(-a) : Floor(a, b);
                case "%": return b == -1 ? 0L : a - Floor(a, b) * b;
                case "**" when b >= 0: return Power(a, b);
            }
        double x = TemplateValues.Real(left), y = TemplateValues.Real(right);
        if (sign is "/" or "//" or "%" && y == 0) throw new DivideByZeroException();
        return sign switch
        {
            "+" => x + y,
            "-" => x - y,
            "*" => x * y,
            "/" => x / y,
            "//" => Math.Floor(x / y),
            "%" => x - Math.Floor(x / y) * y,
            _ => Math.Pow(x, y),
        };
    }

    private static long Floor(long a, long b) => a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);

    private static long Power(long value, long times)
    {
        if (value is 0 or 1 || times == 0) return times == 0 ? 1 : value;
        if (value == -1) return times % 2 == 0 ? 1 : -1;
        long product = 1;
        for (; times > 0; times--) product = checked(product * value);          // overflows within 63 steps
        return product;
    }

    private static string Repeated(string text, long times, TemplateBudget budget)
    {
        if (times <= 0 || text.Length == 0) return "";
        budget.Make(times > int.MaxValue ? times : times * text.Length);
        return new StringBuilder().Insert(0, text, (int)times).ToString();
    }

    private static List<object?> Repeated(List<object?> list, long times, TemplateBudget budget)
    {
        if (times > 0 && list.Count > 0) budget.Make(times > int.MaxValue ? times : times * list.Count);
        var items = times <= 0 || list.Count == 0 ? [] : Enumerable.Range(0, (int)times).SelectMany(_ => list);
        return list is TupleValue ? new TupleValue(items) : [.. items];
    }

    private static List<object?> Joined(List<object?> one, List<object?> other, TemplateBudget budget)
    {
        budget.Make(one.Count + other.Count);
        return one is TupleValue ? new TupleValue(one.Concat(other)) : [.. one, .. other];
    }
}
