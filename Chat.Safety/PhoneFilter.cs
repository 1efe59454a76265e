using Chat.Domain.Plugins;
using Chat.Domain.Safety;

namespace Chat.Safety;

/// <summary>
/// Masks telephone numbers: Chinese mobiles (with or without 86) and landlines with area code, North American numbers with separators, and
/// any number that begins with + (7 to 15 digits, E.164); in full-width digits too. A number stands between digits of no longer number and is no decimal's tail.
/// </summary>
[Plugin("phone", Summary = "Masks telephone numbers, Chinese and international.")]
public sealed class PhoneFilter : ISafetyFilter
{
    // d digit · m 3–9 · N 2–9 · n 1–9 · - a blank or dash · others themselves
    private static readonly string[] Shapes =
    [
        .. from prefix in new[] { "", "86", "86-", "+86", "+86-", "0086", "0086-" }
           from body in new[] { "1mddddddddd", "1md-dddd-dddd" }
           select prefix + body,
        "0nd-ddddddd", "0nd-dddddddd", "0ndd-ddddddd", "0ndd-dddddddd",
        "Ndd-Ndd-dddd", "Ndd.Ndd.dddd", "(Ndd)Ndd-dddd", "(Ndd) Ndd-dddd",
    ];

    private const int MinDigits = 7, MaxDigits = 15, MaxGap = 2;

    public int ContextLength => 2;        // a border looks at a digit, or at a point behind a digit

    public Scan Scan(ReadOnlySpan<char> window, int context, bool final)
    {
        var findings = new List<Finding>();
        var hold = window.Length;
        for (var start = context; start < window.Length; start++)
        {
            if (!(IsDigit(window[start]) || Plain(window[start]) is '+' or '(') || !HasBorderBefore(window, start)) continue;
            var best = -1;
            var isOpen = false;
            foreach (var shape in Shapes) Keep(MatchShape(window, start, shape));
            if (Plain(window[start]) == '+') Keep(MatchInternational(window, start));

            // While a longer reading is open, what is found may still grow.
            if (isOpen && !final) hold = Math.Min(hold, start);
            else if (best > 0) findings.Add(new(start, best, Verdict.Mask, "phone", "[phone]"));

            void Keep((int End, bool IsOpen) match)
            {
                best = Math.Max(best, match.End);
                isOpen |= match.IsOpen;
            }
        }
        return new(findings, hold);
    }

    private static bool HasBorderBefore(ReadOnlySpan<char> window, int start) =>
        start == 0 || !(IsDigit(window[start - 1]) || (window[start - 1] == '.' && start > 1 && IsDigit(window[start - 2])));

    private static (int End, bool IsOpen) MatchShape(ReadOnlySpan<char> window, int start, string shape)
    {
        var i = start;
        foreach (var unit in shape)
        {
            if (i == window.Length) return (-1, true);
            var fits = unit switch
            {
                'd' => IsDigit(window[i]),
                'm' => Plain(window[i]) is >= '3' and <= '9',
                'N' => Plain(window[i]) is >= '2' and <= '9',
                'n' => Plain(window[i]) is >= '1' and <= '9',
                '-' => Plain(window[i]) is ' ' or '-',
                _ => Plain(window[i]) == unit,
            };
            if (!fits) return (-1, false);
            i++;
        }
        if (i == window.Length) return (i, true);
        return (IsDigit(window[i]) ? -1 : i, false);
    }

    private static (int End, bool IsOpen) MatchInternational(ReadOnlySpan<char> window, int start)
    {
        int digits = 0, gap = 0, end = -1, i = start + 1;
        for (; i < window.Length; i++)
        {
            if (IsDigit(window[i]))
            {
                if (digits == 0 && Plain(window[i]) == '0') return (-1, false);
                if (gap == 0 && end == i) end = -1;        // a number does not end between two digits
                if (++digits > MaxDigits) return (end, false);
                gap = 0;
                if (digits >= MinDigits) end = i + 1;
            }
            else if (digits > 0 && Plain(window[i]) is ' ' or '-' or '.' or '(' or ')' && gap < MaxGap) gap++;
            else return (end, false);
        }
        return (end, true);
    }

    /// <summary>A full-width sign as its ASCII one; others as they are.</summary>
    internal static char Plain(char unit) => unit is >= '\uFF01' and <= '\uFF5E' ? (char)(unit - 0xFEE0) : unit;

    private static bool IsDigit(char unit) => char.IsAsciiDigit(Plain(unit));
}
