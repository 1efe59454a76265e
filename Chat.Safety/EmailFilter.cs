using Chat.Domain.Plugins;
using Chat.Domain.Safety;

namespace Chat.Safety;

/// <summary>
/// Masks e-mail addresses in ASCII: at most 64 units before the @ (RFC 5321), then at least two labels, the last of two or more letters.
/// A longer run before the @ counts from its last 64 units; the part behind it is read up to 128 units, which keeps the hold bounded.
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
            if (window[at] != '@') continue;
            var start = LocalStart(window, at, floor);
            if (start == at) continue;

            var limit = Math.Min(window.Length, at + 1 + MaxDomain);
            var stop = at + 1;
            while (stop < limit && IsDomainUnit(window[stop])) stop++;
            if (stop == window.Length && stop < at + 1 + MaxDomain && !final)
            {
                hold = Math.Min(hold, start);
                continue;
            }
            var end = DomainEnd(window, at + 1, stop);
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
        while (start > floor && end - start < MaxLocal && IsLocalUnit(window[start - 1])) start--;
        while (start < end && !char.IsAsciiLetterOrDigit(window[start])) start++;
        return start;
    }

    /// <summary>The end of the longest valid domain in [from, to), or −1.</summary>
    private static int DomainEnd(ReadOnlySpan<char> window, int from, int to)
    {
        int labels = 0, labelStart = from, best = -1;
        for (var i = from; i <= to; i++)
        {
            var isUnit = i < to && (char.IsAsciiLetterOrDigit(window[i]) || window[i] == '-');
            if (isUnit) continue;
            var label = window[labelStart..i].TrimEnd('-');
            if (label.IsEmpty || label[0] == '-') break;
            labels++;
            if (labels >= 2 && label.Length >= 2 && IsLetters(label)) best = labelStart + label.Length;
            if (label.Length < i - labelStart || i == to || window[i] != '.') break;
            labelStart = i + 1;
        }
        return best;
    }

    private static bool IsLetters(ReadOnlySpan<char> label)
    {
        foreach (var unit in label) if (!char.IsAsciiLetter(unit)) return false;
        return true;
    }

    private static bool IsDomainUnit(char unit) => char.IsAsciiLetterOrDigit(unit) || unit is '-' or '.';

    private static bool IsLocalUnit(char unit) => char.IsAsciiLetterOrDigit(unit) || unit is '.' or '_' or '%' or '+' or '-';
}
