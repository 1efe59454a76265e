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
    /// <summary>Rule names of the gate's own refusals: too much held, a filter that failed, a mask whose placeholder would make a finding.</summary>
    public const string CapRule = "cap", ErrorRule = "error", MaskRule = "mask";

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
    public SafetyGate OpenGate(string subject) =>
        new(this, HoldLimit, (finding, matched) => audit?.Invoke(new(SafetyDirection.Output, subject, finding, matched)));

    /// <summary>Judges a whole text, for example a user's message. A filter that fails refuses it.</summary>
    public CheckedText Check(string text, string subject)
    {
        var findings = new List<Finding>();
        var gate = new SafetyGate(this, int.MaxValue, (finding, matched) =>
        {
            findings.Add(finding);
            audit?.Invoke(new(SafetyDirection.Input, subject, finding, matched));
        });
        IReadOnlyList<ClearedSpan> spans = gate.Push(text).Spans;
        var end = gate.Complete();
        var verdict = findings.Select(f => f.Verdict).DefaultIfEmpty(Verdict.Allow).Max();
        return new(verdict, new(end.Refusal is null ? [.. spans, .. end.Spans] : [], end.Refusal), findings);
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

    /// <summary>
    /// A mask must not make what it hides from: "abc138…" holds no word "abc", "abc[phone]" would, and a list may forbid the placeholder's own
    /// word. So the placeholder is read behind what was sent, and another one taken where it would be found: a letter or digit keeps what stands before
    /// it from ending there, the stars keep what follows from going on. Null if none will do, which takes a list that holds them all.
    /// </summary>
    internal string? PlaceholderFor(string sent, string wanted)
    {
        foreach (var placeholder in new[] { wanted, "***", "x**", "0**" })
        {
            // The first units are the context of the others: a word that seems to start there may be a longer one's end.
            var isFound = Scan(sent + placeholder, 0, final: true).Findings.Any(f => f.End >= sent.Length && (f.Start >= 2 || sent.Length < ContextLength));
            if (!isFound) return placeholder;
        }
        return null;
    }

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

    /// <summary>Without findings that lie within another one of their rule ("+86 138…" holds "86 138…").</summary>
    internal static IEnumerable<Finding> Outermost(IReadOnlyList<Finding> findings) =>
        findings.Where((f, i) => !findings.Take(i).Any(outer => outer.Rule == f.Rule && outer.Verdict == f.Verdict && outer.End >= f.End));
}
