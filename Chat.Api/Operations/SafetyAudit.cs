using Chat.Safety;

namespace Chat.Api.Operations;

/// <summary>Writes each verdict to the log: which rule, where, and on what; the text itself at Trace only.</summary>
public sealed partial class SafetyAudit(ILogger<SafetyAudit> logger)
{
    public void Record(SafetyRecord record)
    {
        var finding = record.Finding;
        Decided(record.Direction, record.Subject, finding.Verdict, finding.Rule, finding.Start, finding.End);
        Matched(record.Subject, record.Matched);
    }

    [LoggerMessage(1, LogLevel.Information, "Safety {Direction} {Subject}: {Verdict} by {Rule} at {Start}..{End}")]
    private partial void Decided(SafetyDirection direction, string subject, Domain.Safety.Verdict verdict, string rule, int start, int end);

    [LoggerMessage(2, LogLevel.Trace, "Safety {Subject} matched: {Text}")]
    private partial void Matched(string subject, string text);
}
