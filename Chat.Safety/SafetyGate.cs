using System.Text;
using Chat.Domain.Safety;

namespace Chat.Safety;

/// <summary>
/// Stands in one reply's stream: text goes in as it is generated, and comes out once no filter can still object to it. What is
/// released, masked or refused does not depend on how the text was cut into pieces: the outcome is that of one code point at a time.
/// Refuses when more than the policy's limit would have to be held, and when a filter fails. After a refusal nothing comes out.
/// Not thread-safe: one stream, one gate.
/// </summary>
public sealed class SafetyGate
{
    private readonly SafetyPolicy policy;
    private readonly string subject;
    private string window = "";      // released context, then what is held
    private int context;             // units of the window that were released
    private int dropped;             // units of the whole text that stood before the window
    private string tail = "";        // a high surrogate that waits for its low one
    private Finding? refusal;
    private bool isComplete;

    internal SafetyGate(SafetyPolicy policy, string subject)
    {
        this.policy = policy;
        this.subject = subject;
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
        if (refusal is null)
        {
            try
            {
                // A piece that meets neither refusal nor cap ends where its code points one by one would end, since the hold never moves back.
                if (!TryTake(text, final, spans, refuse: false))
                {
                    foreach (var rune in text.EnumerateRunes())
                        if (!TryTake(rune.ToString(), final: false, spans, refuse: true)) break;
                    if (final && refusal is null) TryTake("", final, spans, refuse: true);
                }
            }
            catch (Exception)
            {
                Refuse(SafetyPolicy.Failure(dropped + context, dropped + window.Length), "");
            }
        }
        return new(spans, refusal);
    }

    private bool TryTake(string text, bool final, List<ClearedSpan> spans, bool refuse)
    {
        var grown = window + text;
        if (!refuse && grown.Length - context > policy.HoldLimit) return false;

        var scan = policy.Scan(grown, context, final);
        if (scan.Findings.FirstOrDefault(f => f.Verdict == Verdict.Refuse) is { } found)
        {
            if (refuse) Refuse(found with { Start = dropped + found.Start, End = dropped + found.End }, grown[found.Start..found.End]);
            return false;
        }

        // A finding that reaches into held text leaves with it, whole.
        var end = scan.HoldFrom;
        while (scan.Findings.FirstOrDefault(f => f.Start < end && f.End > end) is { } across) end = across.Start;

        if (grown.Length - end > policy.HoldLimit)
        {
            if (refuse) Refuse(new(dropped + end, dropped + grown.Length, Verdict.Refuse, SafetyPolicy.CapRule), "");
            return false;
        }

        spans.AddRange(policy.Render(grown, context, end, scan.Findings));
        foreach (var finding in scan.Findings)
            if (finding.End <= end)
                policy.Audit(SafetyDirection.Output, subject, finding with { Start = dropped + finding.Start, End = dropped + finding.End }, grown[finding.Start..finding.End]);

        var forget = Math.Max(0, end - policy.ContextLength);
        window = grown[forget..];
        context = end - forget;
        dropped += forget;
        return true;
    }

    private void Refuse(Finding finding, string matched)
    {
        refusal = finding;
        window = "";
        policy.Audit(SafetyDirection.Output, subject, finding, matched);
    }
}
