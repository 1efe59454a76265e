using Chat.Domain.Plugins;

namespace Chat.Domain.Safety;

/// <summary>In rising order of severity: the severest verdict on a text wins.</summary>
public enum Verdict { Allow, Mask, Review, Refuse }

/// <summary>
/// A finding in a text: UTF-16 code units [<see cref="Start"/>, <see cref="End"/>), which rule found it, and what is to be done.
/// A masked span is replaced by <see cref="Replacement"/>.
/// </summary>
public sealed record Finding(int Start, int End, Verdict Verdict, string Rule, string Replacement = "***");

/// <summary>What a filter says of a window of text.</summary>
/// <param name="Findings">Findings that no further text can change, none of them starting in the context.</param>
/// <param name="HoldFrom">
/// The first code unit that later text could still make part of a finding; the window's length when nothing is pending. Text before it is
/// final. This is what keeps a stream from leaking: the gate never releases text at or behind it. More text never moves it back.
/// </param>
public sealed record Scan(IReadOnlyList<Finding> Findings, int HoldFrom);

/// <summary>
/// Looks at a window of text. Pure and thread-safe: the same window gives the same scan. For every way of cutting a text into chunks the
/// findings must come out the same; the conformance suite checks it.
/// </summary>
[PluginKind("safety")]
public interface ISafetyFilter
{
    /// <summary>How many code units already released the filter must still see to judge what follows (borders, allowed phrases).</summary>
    int ContextLength { get; }

    /// <param name="window">Whole code points not yet released, preceded by <paramref name="context"/> code units already released.</param>
    /// <param name="context">How many leading code units of the window are context: at least <see cref="ContextLength"/>, or all there was.</param>
    /// <param name="final">No further text will follow: nothing may be held.</param>
    Scan Scan(ReadOnlySpan<char> window, int context, bool final);
}
