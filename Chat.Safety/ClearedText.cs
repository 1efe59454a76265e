using Chat.Domain.Safety;

namespace Chat.Safety;

/// <summary>A piece of cleared text and how many UTF-8 bytes of the source it stands for; a masked piece has other bytes than its source.</summary>
public readonly record struct ClearedSpan(string Text, int SourceBytes, bool IsMasked);

/// <summary>
/// Text that the gate let through. Only this assembly can make one that is not empty, so whoever takes a ClearedText takes nothing else.
/// </summary>
public readonly struct ClearedText
{
    private readonly string? text;
    private readonly IReadOnlyList<ClearedSpan>? spans;

    internal ClearedText(IReadOnlyList<ClearedSpan> spans, Finding? refusal)
    {
        this.spans = spans;
        text = string.Concat(spans.Select(s => s.Text));
        Refusal = refusal;
    }

    public string Text => text ?? "";

    /// <summary>The text piece by piece, for whoever must line it up with its source.</summary>
    public IReadOnlyList<ClearedSpan> Spans => spans ?? [];

    /// <summary>Why nothing more will come, with offsets into the whole text; null while the text is allowed.</summary>
    public Finding? Refusal { get; }

    public override string ToString() => Text;
}

/// <summary>A whole text's verdict. <see cref="Cleared"/> is the text with its masks, empty when refused.</summary>
public sealed record CheckedText(Verdict Verdict, ClearedText Cleared, IReadOnlyList<Finding> Findings);
