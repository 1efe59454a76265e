using System.Globalization;

namespace Chat.Training.Evaluation.Cuge;

/// <summary>Values of expressions as Math23k writes them: + − * / ^, brackets of three kinds, percent, mixed numbers like 3(1/2), and an «x=» in front.</summary>
public static class Arithmetic
{
    private const int DeepestNesting = 50;

    /// <returns><c>null</c> for what is no such expression, or has no finite value.</returns>
    public static double? Evaluate(string text)
    {
        var plain = text.Replace(" ", "", StringComparison.Ordinal).Replace("**", "^", StringComparison.Ordinal).Replace('×', '*').Replace('÷', '/').Replace('（', '(').Replace('）', ')')
            .Replace('[', '(').Replace(']', ')').Replace('{', '(').Replace('}', ')').TrimEnd('。', '.');
        if (plain.StartsWith("x=", StringComparison.OrdinalIgnoreCase)) plain = plain[2..];
        var at = 0;
        return plain.Length > 0 && Sum(plain, ref at, 0) is { } value && at == plain.Length && double.IsFinite(value) ? value : null;
    }

    private static double? Sum(string text, ref int at, int depth)
    {
        var value = Product(text, ref at, depth);
        while (at < text.Length && text[at] is '+' or '-')
            value = text[at++] == '+' ? value + Product(text, ref at, depth) : value - Product(text, ref at, depth);
        return value;
    }

    private static double? Product(string text, ref int at, int depth)
    {
        var value = Power(text, ref at, depth);
        while (at < text.Length && text[at] is '*' or '/' or ':')
            value = text[at++] == '*' ? value * Power(text, ref at, depth) : value / Power(text, ref at, depth);
        return value;
    }

    private static double? Power(string text, ref int at, int depth)
    {
        var value = Atom(text, ref at, depth);
        if (at >= text.Length || text[at] != '^' || depth >= DeepestNesting) return value;
        at++;
        return Power(text, ref at, depth + 1) is { } exponent && value is { } root ? Math.Pow(root, exponent) : null;
    }

    private static double? Atom(string text, ref int at, int depth)
    {
        if (at >= text.Length || depth >= DeepestNesting) return null;
        double? value;
        if (text[at] == '-')
        {
            at++;
            return -Atom(text, ref at, depth + 1);
        }
        if (text[at] == '(') value = Bracket(text, ref at, depth);
        else
        {
            var start = at;
            while (at < text.Length && (char.IsAsciiDigit(text[at]) || text[at] == '.')) at++;
            value = double.TryParse(text.AsSpan(start, at - start), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) ? number : null;
            if (at < text.Length && text[at] == '(') value += Bracket(text, ref at, depth);                 // 3(1/2)
        }
        if (at >= text.Length || text[at] != '%') return value;
        at++;
        return value / 100;
    }

    private static double? Bracket(string text, ref int at, int depth)
    {
        at++;
        var value = Sum(text, ref at, depth + 1);
        return at < text.Length && text[at++] == ')' ? value : null;
    }
}
