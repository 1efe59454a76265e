using Chat.Domain.Plugins;

namespace Chat.Training.Evaluation.Metrics;

/// <summary>What a model said, as metrics see it: one unit of the bootstrap.</summary>
/// <param name="References">What it could have said; empty where nothing is known.</param>
/// <param name="Language"><c>en</c> is cut into words, everything else into characters.</param>
/// <param name="Context">The turns before, oldest first.</param>
public sealed record Response(string Text, IReadOnlyList<string> References, string Language, IReadOnlyList<string> Context);

/// <summary>A figure over the responses with the given indices; one that stands there twice counts twice.</summary>
public delegate double Statistic(ReadOnlySpan<int> units);

/// <param name="Name">What reports call it; also a plugin's name where it gives one figure.</param>
/// <param name="Centred">
/// Drawing units again lowers the figure by itself, as it does every count of different things; its interval is moved so that the draws' mean is the figure, a share.
/// </param>
public sealed record Measure(string Name, Statistic Value, bool Centred = false);

/// <summary>
/// Text metric: looks at the responses once and gives figures that can be asked for any selection of them, which is what intervals need. In [0, 1] unless
/// it says otherwise. Stateless and thread-safe, as are the figures; their order does not matter; over no responses they are 0.
/// </summary>
[PluginKind("metric")]
public interface ITextMetric
{
    IReadOnlyList<Measure> Prepare(IReadOnlyList<Response> responses);
}

/// <summary>Statistics that are means of one number a response.</summary>
public static class Statistics
{
    /// <param name="values"><c>null</c>: the response has nothing to be compared with and does not count.</param>
    public static Statistic Mean(double?[] values) => units =>
    {
        var (sum, count) = (0.0, 0);
        foreach (var unit in units)
        {
            if (values[unit] is not { } value) continue;
            sum += value;
            count++;
        }
        return count == 0 ? 0 : sum / count;
    };

    public static Statistic Mean(IReadOnlyList<Response> responses, Func<Response, double?> value) => Mean([.. responses.Select(value)]);
}
