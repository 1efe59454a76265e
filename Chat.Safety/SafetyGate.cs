using System.Text;
using Chat.Domain.Safety;

namespace Chat.Safety;

/// <summary>
/// Stands in one reply's stream: text goes in as it is generated, and comes out once no filter can still object to it. What is
/// released, masked or refused does not depend on how the text was cut into pieces: the outcome is that of one code point at a time.
/// Refuses when more than the limit would have to be held, and when a filter fails. After a refusal nothing comes out.
/// Not thread-safe: one stream, one gate.
/// </summary>
public sealed class SafetyGate
{
    // Each mask has its slice read again.
    private const int SliceLength = 64;

    private readonly SafetyPolicy policy;
    private readonly int holdLimit;
    private readonly Action<Finding, string> record;
    private State state = new("", 0, 0);
    private string tail = "";        // a high surrogate that waits for its low one
    private Finding? refusal;
    private bool isComplete;

    /// <param name="Window">What was sent last (masks as they were sent, since they are what the next word stands beside), then what is held.</param>
    /// <param name="Context">Units of the window that were sent.</param>
    /// <param name="Shift">Offset in the source of a window's unit, less its place in the window.</param>
    private readonly record struct State(string Window, int Context, int Shift);

    internal SafetyGate(SafetyPolicy policy, int holdLimit, Action<Finding, string> record)
    {
        this.policy = policy;
        this.holdLimit = holdLimit;
        this.record = record;
    }

    /// <summary>Takes the next piece of text and gives back what may leave now, which may be nothing.</summary>
    public ClearedText Push(string text)
    {
        ObjectDisposedException.ThrowIf(isComplete, this);
        text = tail + text;
        tail = text.Length > 0 && char.IsHighSurrogate(text[^1]) ? text[^1..] : "";
        return Advance(SafetyPolicy.WellFormed(text[..^tail.Length]), final: false);
    }

    /// <summary>The text has ended: gives back all that was held, or refuses it.</summary>
    public ClearedText Complete()
    {
        ObjectDisposedException.ThrowIf(isComplete, this);
        isComplete = true;
        return Advance(SafetyPolicy.WellFormed(tail), final: true);
    }

    private ClearedText Advance(string text, bool final)
    {
        var spans = new List<ClearedSpan>();
        try
        {
            for (var from = 0; from < text.Length && refusal is null;)
            {
                var to = Math.Min(text.Length, from + SliceLength);
                if (to < text.Length && char.IsLowSurrogate(text[to])) to--;
                TakeSlice(text[from..to], spans);
                from = to;
            }
            if (final && refusal is null) Take("", final: true, spans, isStep: true);
        }
        catch (Exception)
        {
            Refuse(SafetyPolicy.Failure(state.Context + state.Shift, state.Window.Length + state.Shift), "");
        }
        return new(spans, refusal);
    }

    // A slice that meets neither refusal nor limit ends where its code points one by one would end, since the hold never moves back.
    private void TakeSlice(string slice, List<ClearedSpan> spans)
    {
        if (Take(slice, final: false, spans, isStep: false)) return;
        foreach (var rune in slice.EnumerateRunes())
            if (!Take(rune.ToString(), final: false, spans, isStep: true)) return;
    }

    /// <summary>Takes text in, or changes nothing and says false. Only a step, one code point or the end, may refuse.</summary>
    private bool Take(string text, bool final, List<ClearedSpan> spans, bool isStep)
    {
        var now = state with { Window = state.Window + text };
        if (!isStep && now.Window.Length - now.Context > holdLimit) return false;

        List<ClearedSpan> cleared = [];
        List<(Finding Finding, string Matched)> decided = [];
        for (var isMasked = true; isMasked;)
        {
            var scan = policy.Scan(now.Window, now.Context, final);
            if (scan.Findings.FirstOrDefault(f => f.Verdict == Verdict.Refuse) is { } found)
                return isStep && Refuse(At(found, now.Shift), now.Window[found.Start..found.End]);

            // A finding that reaches into held text leaves with it, whole.
            var end = scan.HoldFrom;
            while (scan.Findings.FirstOrDefault(f => f.Start < end && f.End > end) is { } across) end = across.Start;

            // One mask at a time: what follows stands beside its placeholder.
            var mask = MaskIn(scan.Findings, end);
            isMasked = mask is not null;
            if (mask is { } group) end = group.End;
            decided.AddRange(SafetyPolicy.Outermost(scan.Findings).Where(f => f.End <= end).Select(f => (At(f, now.Shift), now.Window[f.Start..f.End])));
            if (Release(now, mask, end, cleared) is not { } next)
                return isStep && Refuse(At(mask!.Value.First, now.Shift) with { Verdict = Verdict.Refuse, Rule = SafetyPolicy.MaskRule }, "");
            now = next;
        }

        if (now.Window.Length - now.Context > holdLimit)
            return isStep && Refuse(new(now.Context + now.Shift, now.Window.Length + now.Shift, Verdict.Refuse, SafetyPolicy.CapRule), "");

        state = now;
        spans.AddRange(cleared);
        foreach (var (finding, matched) in decided) record(finding, matched);
        return true;
    }

    /// <summary>The first masked span before <paramref name="end"/>, grown by the masks that overlap it.</summary>
    private static (Finding First, int End)? MaskIn(IReadOnlyList<Finding> findings, int end)
    {
        (Finding First, int End)? mask = null;
        foreach (var finding in findings)
        {
            if (finding.Verdict != Verdict.Mask || finding.End > end) continue;
            if (mask is null) mask = (finding, finding.End);
            else if (finding.Start < mask.Value.End) mask = (mask.Value.First, Math.Max(mask.Value.End, finding.End));
        }
        return mask;
    }

    /// <summary>Sends the window up to <paramref name="end"/>; null if no placeholder can stand where the mask is.</summary>
    private State? Release(State now, (Finding First, int End)? mask, int end, List<ClearedSpan> cleared)
    {
        var (window, context, shift) = now;
        var plainEnd = mask?.First.Start ?? end;
        if (plainEnd > context) cleared.Add(new(window[context..plainEnd], Bytes(window[context..plainEnd]), IsMasked: false));

        var sent = window[..plainEnd];
        if (mask is { } group)
        {
            if (policy.PlaceholderFor(sent, group.First.Replacement) is not { } placeholder) return null;
            var source = window[group.First.Start..end];
            cleared.Add(new(placeholder, Bytes(source), IsMasked: true));
            sent += placeholder;
            shift += source.Length - placeholder.Length;
        }
        var forget = Math.Max(0, sent.Length - policy.ContextLength);
        return new(sent[forget..] + window[end..], sent.Length - forget, shift + forget);
    }

    private bool Refuse(Finding finding, string matched)
    {
        refusal = finding;
        state = new("", 0, 0);
        record(finding, matched);
        return false;
    }

    private static Finding At(Finding finding, int shift) => finding with { Start = finding.Start + shift, End = finding.End + shift };

    private static int Bytes(string text) => Encoding.UTF8.GetByteCount(text);
}
