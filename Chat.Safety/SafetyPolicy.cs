using System.Text;
using Chat.Domain.Safety;

namespace Chat.Safety;

public enum SafetyDirection { Input, Output }

/// <summary>One decision, for the audit. <see cref="Matched"/> is the text itself: it may be logged at Trace only.</summary>
public sealed record SafetyRecord(SafetyDirection Direction, string Subject, Finding Finding, string Matched);

/// <summary>
/// The filters of one profile, acting as one. Immutable and thread-safe; a stream keeps the policy that it began with.
/// </summary>
public sealed class SafetyPolicy
{
    /// <summary>Rule names of the gate's own refusals.</summary>
    public const string CapRule = "cap", ErrorRule = "error";

    private readonly IReadOnlyList<ISafetyFilter> filters;
    private readonly Action<SafetyRecord>? audit;

    /// <param name="filters">All are asked; the severest verdict wins.</param>
    /// <param name="holdLimit">UTF-16 units that may be held back; a stream that would need more is refused.</param>
    /// <param name="audit">Told of each finding acted on, once.</param>
    public SafetyPolicy(IReadOnlyList<ISafetyFilter> filters, int holdLimit = 256, Action<SafetyRecord>? audit = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(holdLimit, 1);
        this.filters = filters;
        this.audit = audit;
        HoldLimit = holdLimit;
        ContextLength = filters.Select(f => f.ContextLength).DefaultIfEmpty(0).Max();
    }

    public int HoldLimit { get; }

    internal int ContextLength { get; }

    /// <summary>A gate for one reply, or for any other text that leaves in pieces.</summary>
    /// <param name="subject">What the text belongs to (a reply's id), for the audit.</param>
    public SafetyGate OpenGate(string subject) => new(this, subject);

    /// <summary>Judges a whole text, for example a user's message. A filter that fails refuses it.</summary>
    public CheckedText Check(string text, string subject)
    {
        var whole = WellFormed(text);
        Scan scan;
        try { scan = Scan(whole, 0, final: true); }
        catch (Exception) { scan = new([Failure(0, whole.Length)], whole.Length); }

        foreach (var finding in scan.Findings) Audit(SafetyDirection.Input, subject, finding, whole[finding.Start..finding.End]);
        var refusal = scan.Findings.FirstOrDefault(f => f.Verdict == Verdict.Refuse);
        var verdict = scan.Findings.Select(f => f.Verdict).DefaultIfEmpty(Verdict.Allow).Max();
        return new(verdict, new(refusal is null ? Render(whole, 0, whole.Length, scan.Findings) : [], refusal), scan.Findings);
    }

    /// <summary>Whether nothing in <paramref name="text"/> from <paramref name="start"/> on, seen behind what stands before it, would be masked or refused. Not recorded.</summary>
    public bool Allows(string text, int start)
    {
        try { return Scan(WellFormed(text), 0, final: true).Findings.All(f => f.End <= start || f.Verdict is Verdict.Allow or Verdict.Review); }
        catch (Exception) { return false; }
    }

    /// <exception cref="InvalidOperationException">A filter broke its contract.</exception>
    internal Scan Scan(string window, int context, bool final)
    {
        var findings = new List<Finding>();
        var hold = window.Length;
        foreach (var filter in filters)
        {
            var scan = filter.Scan(window, context, final);
            if (scan.HoldFrom < context || scan.HoldFrom > window.Length || (final && scan.HoldFrom < window.Length)
                || scan.Findings.Any(f => f.Start < context || f.End <= f.Start || f.End > window.Length))
                throw new InvalidOperationException($"Safety filter {filter.GetType().Name} answered with a span outside of its window.");
            findings.AddRange(scan.Findings);
            hold = Math.Min(hold, scan.HoldFrom);
        }
        findings.Sort((a, b) => (a.Start, b.End).CompareTo((b.Start, a.End)));
        return new(findings, hold);
    }

    /// <summary>The window's units [from, to) with masks in place; overlapping masks become one, named by the first.</summary>
    internal List<ClearedSpan> Render(string window, int from, int to, IReadOnlyList<Finding> findings)
    {
        var spans = new List<ClearedSpan>();
        var position = from;
        for (var i = 0; i < findings.Count; i++)
        {
            if (findings[i] is not { Verdict: Verdict.Mask } first || first.End > to) continue;
            var end = first.End;
            for (; i + 1 < findings.Count && findings[i + 1].Start < end; i++)
                if (findings[i + 1].Verdict == Verdict.Mask) end = Math.Max(end, findings[i + 1].End);
            AddPlain(first.Start);
            spans.Add(new(Harmless(first.Replacement), Encoding.UTF8.GetByteCount(window.AsSpan(first.Start, end - first.Start)), IsMasked: true));
            position = end;
        }
        AddPlain(to);
        return spans;

        void AddPlain(int end)
        {
            if (end > position) spans.Add(new(window[position..end], Encoding.UTF8.GetByteCount(window.AsSpan(position, end - position)), IsMasked: false));
        }
    }

    internal void Audit(SafetyDirection direction, string subject, Finding finding, string matched) => audit?.Invoke(new(direction, subject, finding, matched));

    internal static Finding Failure(int start, int end) => new(start, end, Verdict.Refuse, ErrorRule);

    // A lone surrogate cannot be sent; it becomes U+FFFD here, so that every later span stands on whole code points.
    internal static string WellFormed(string text)
    {
        for (var i = 0; i < text.Length; i++)
        {
            if (!char.IsSurrogate(text[i])) continue;
            if (char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1])) { i++; continue; }
            var mended = new StringBuilder(text.Length);
            foreach (var rune in text.EnumerateRunes()) mended.Append(rune.ToString());
            return mended.ToString();
        }
        return text;
    }

    // A placeholder is our own text: a list that holds the word "email" must not meet it in "[email]".
    private string Harmless(string replacement) => Scan(replacement, 0, final: true).Findings.Count == 0 ? replacement : "***";
}
