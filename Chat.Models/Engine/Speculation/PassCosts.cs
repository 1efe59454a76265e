namespace Chat.Models.Engine.Speculation;

/// <summary>
/// How long a model's pass takes with so many tokens in it: for each number a running median, which one slow pass hardly moves; between and beyond measured numbers a straight line. While
/// one number alone is known, others are taken to cost as much: who tries one of them will know better. Not thread-safe.
/// </summary>
internal sealed class PassCosts
{
    private const double SmallestStep = 0.02;
    private readonly SortedList<int, Median> medians = [];

    public void Record(int tokens, double seconds)
    {
        if (!medians.TryGetValue(tokens, out var median)) medians[tokens] = median = new();
        median.Move(seconds);
    }

    /// <summary>Seconds of a pass; <c>null</c> while nothing is known.</summary>
    public double? Of(int tokens)
    {
        if (medians.Count == 0) return null;
        var (counts, seconds) = (medians.Keys, medians.Values);
        if (medians.Count == 1) return seconds[0].Seconds;
        var above = 1;
        while (above < counts.Count - 1 && counts[above] < tokens) above++;
        var slope = Math.Max(0, (seconds[above].Seconds - seconds[above - 1].Seconds) / (counts[above] - counts[above - 1]));
        return Math.Max(seconds[0].Seconds, seconds[above - 1].Seconds + slope * (tokens - counts[above - 1]));
    }

    private sealed class Median
    {
        private int count;

        public double Seconds { get; private set; }

        public void Move(double seconds)
        {
            var step = 1 + Math.Max(SmallestStep, 0.5 / ++count);
            Seconds = count == 1 ? seconds : seconds > Seconds ? Math.Min(seconds, Seconds * step) : Math.Max(seconds, Seconds / step);
        }
    }
}
