using System.Globalization;
using System.Text;
using Chat.Domain.Plugins;
using Chat.Domain.Safety;

namespace Chat.Safety;

/// <summary>
/// Finds listed words as they are written, whatever their case. An end of a word that is a letter or digit must be a word border there, so
/// "class" holds no word of three letters; scripts written without blanks (Chinese, Japanese, Korean, Thai …) have no borders, there an
/// allowed phrase that covers the hit silences it. Disguises (spacing, look-alikes, pinyin) are not seen here.
/// </summary>
[Plugin("words", Summary = "Refuses or masks listed words; an allow-list and word borders keep innocent words.")]
public sealed class WordFilter : ISafetyFilter
{
    private readonly (WordTrie Words, Verdict Verdict)[] lists;
    private readonly WordTrie allowed;

    public WordFilter() : this(WordList.Shipped) { }

    public WordFilter(WordList list)
    {
        if (list.Refused.Concat(list.Masked).Concat(list.Allowed).Any(string.IsNullOrWhiteSpace))
            throw new ArgumentException("A listed word is empty or white space.", nameof(list));
        lists = [(new(list.Refused), Verdict.Refuse), (new(list.Masked), Verdict.Mask)];
        allowed = new(list.Allowed);
        ContextLength = Math.Max(allowed.LongestLength, lists.Max(l => l.Words.LongestLength)) + 2;        // 2: a border looks at one code point
    }

    public int ContextLength { get; }

    public Scan Scan(ReadOnlySpan<char> window, int context, bool final)
    {
        var findings = new List<Finding>();
        var hold = window.Length;
        List<int> ends = [], covers = [];
        foreach (var (words, verdict) in lists)
        {
            for (var start = context; start < window.Length; start++)
            {
                if (!words.BeginsWith(window[start]) || char.IsLowSurrogate(window[start]) || !HasBorderBefore(window, start)) continue;
                ends.Clear();
                if (words.Match(window, start, ends) && !final) hold = Math.Min(hold, start);
                foreach (var end in ends)
                {
                    if (!HasBorderAfter(window, end)) continue;
                    var isPending = !final && end == window.Length && NeedsBorder(LastRune(window[..end]));
                    switch (IsCovered(window, start, end, final, covers))
                    {
                        case true: continue;
                        case null: isPending = true; break;
                    }
                    if (isPending) hold = Math.Min(hold, start);
                    else findings.Add(new(start, end, verdict, "words"));
                }
            }
        }
        return new(findings, hold);
    }

    /// <summary>Whether an allowed phrase covers [start, end); null while text to come will tell.</summary>
    private bool? IsCovered(ReadOnlySpan<char> window, int start, int end, bool final, List<int> covers)
    {
        var isOpen = false;
        for (var from = Math.Max(0, end - allowed.LongestLength); from <= start; from++)
        {
            covers.Clear();
            isOpen |= allowed.Match(window, from, covers) && !final;
            if (covers.Exists(cover => cover >= end)) return true;
        }
        // Open phrases reach the window's end, and so past the hit.
        return isOpen ? null : false;
    }

    private static bool HasBorderBefore(ReadOnlySpan<char> window, int start)
    {
        Rune.DecodeFromUtf16(window[start..], out var first, out _);
        return start == 0 || !NeedsBorder(first) || !NeedsBorder(LastRune(window[..start]));
    }

    private static bool HasBorderAfter(ReadOnlySpan<char> window, int end)
    {
        if (end == window.Length) return true;
        Rune.DecodeFromUtf16(window[end..], out var next, out _);
        return !NeedsBorder(LastRune(window[..end])) || !(NeedsBorder(next) || Rune.GetUnicodeCategory(next) == UnicodeCategory.NonSpacingMark);
    }

    private static Rune LastRune(ReadOnlySpan<char> text)
    {
        Rune.DecodeLastFromUtf16(text, out var last, out _);
        return last;
    }

    // Letters and digits of scripts that put blanks between words.
    private static bool NeedsBorder(Rune rune) => Rune.IsLetterOrDigit(rune) && rune.Value is
        not (>= 0x0E00 and <= 0x0EFF)                 // Thai, Lao
        and not (>= 0x1000 and <= 0x109F)             // Myanmar
        and not (>= 0x1780 and <= 0x17FF)             // Khmer
        and not (>= 0x2E80 and <= 0xA4CF)             // radicals, kana, bopomofo, Han, Yi
        and not (>= 0xAC00 and <= 0xD7AF)             // Hangul: particles follow without a blank
        and not (>= 0xF900 and <= 0xFAFF)             // Han, compatibility
        and not (>= 0x20000 and <= 0x3FFFF);          // Han, later planes
}
