using Chat.Domain.Plugins;
using Chat.Domain.Safety;

namespace Chat.Safety;

/// <summary>
/// Masks e-mail addresses, full-width ones too: at most 64 units before the @ (RFC 5321), then at least two labels, international ones
/// included, the last of two or more Latin letters; digits and dashes behind them are no part of the address. Of a longer run before the @ the last 64 units count, from their first letter on;
/// the part behind it is read up to 128 units, which keeps the hold bounded.
/// </summary>
[Plugin("email", Summary = "Masks e-mail addresses.")]
public sealed class EmailFilter : ISafetyFilter
{
    private const int MaxLocal = 64, MaxDomain = 128;

    public int ContextLength => MaxLocal + 1;

    public Scan Scan(ReadOnlySpan<char> window, int context, bool final)
    {
        var findings = new List<Finding>();
        var hold = window.Length;
        var floor = context;        // an address starts behind what was released and behind the address before it
        for (var at = context; at < window.Length; at++)
        {
            if (Plain(window[at]) != '@') continue;
            var start = LocalStart(window, at, floor);
            if (start == at) continue;

            var (end, isOpen) = ReadDomain(window, at + 1);
            if (isOpen && !final)
            {
                hold = Math.Min(hold, start);
                continue;
            }
            if (end < 0) continue;
            findings.Add(new(start, end, Verdict.Mask, "email", "[email]"));
            floor = end;
        }
        if (!final) hold = Math.Min(hold, LocalStart(window, window.Length, floor));
        return new(findings, hold);
    }

    /// <summary>The first letter or digit of the run of local-part units that ends at <paramref name="end"/>; end if there is none.</summary>
    private static int LocalStart(ReadOnlySpan<char> window, int end, int floor)
    {
        var start = end;
        while (start > 0 && end - start < MaxLocal && IsLocalUnit(window[start - 1])) start--;
        // A cut run counts from a letter on: a number cut in two would leave a part that may be a telephone number of its own.
        var isCut = start > 0 && IsLocalUnit(window[start - 1]);
        start = Math.Max(start, floor);
        while (start < end && !(isCut ? char.IsAsciiLetter(Plain(window[start])) : char.IsAsciiLetterOrDigit(Plain(window[start])))) start++;
        return start;
    }

    /// <summary>The end of the longest valid domain that starts here, or −1, and whether more text could make it longer.</summary>
    private static (int End, bool IsOpen) ReadDomain(ReadOnlySpan<char> window, int from)
    {
        var limit = Math.Min(window.Length, from + MaxDomain);
        int labels = 0, best = -1, i = from;
        while (true)
        {
            // Chinese text follows an address without a blank, so a label is of one kind of letters and the last one of ASCII letters.
            var start = i;
            while (i < limit && IsLabelUnit(window[i]) && char.IsAscii(Plain(window[i])) == char.IsAscii(Plain(window[start]))) i++;
            var isOpen = i == window.Length && i < from + MaxDomain;

            var label = window[start..i].TrimEnd('-');
            if (label.IsEmpty || label[0] == '-') return (best, isOpen && label.IsEmpty);
            if (++labels >= 2 && TopLength(label) is >= 2 and var length) best = start + length;
            if (isOpen || label.Length < i - start || i == limit || Plain(window[i]) != '.') return (best, isOpen);
            i++;
        }
    }

    /// <summary>How much of a label can be a top-level domain: its letters up to a digit or dash, which none has: there something else is glued to the address.</summary>
    private static int TopLength(ReadOnlySpan<char> label)
    {
        var length = 0;
        while (length < label.Length && char.IsAsciiLetter(Plain(label[length]))) length++;
        return length == label.Length || label[length] == '-' || char.IsAsciiDigit(Plain(label[length])) ? length : 0;
    }

    private static bool IsLabelUnit(char unit) => char.IsAsciiLetterOrDigit(Plain(unit)) || unit == '-' || (!char.IsAscii(unit) && char.IsLetter(unit));

    private static bool IsLocalUnit(char unit) => char.IsAsciiLetterOrDigit(Plain(unit)) || unit is '.' or '_' or '%' or '+' or '-';

    private static char Plain(char unit) => PhoneFilter.Plain(unit);
}
