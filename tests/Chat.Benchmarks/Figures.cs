using System.Globalization;

namespace Chat.Benchmarks;

/// <summary>Prints figures: a name, the value or its quantiles, the unit.</summary>
internal static class Figures
{
    public static void Print(string name, double value, string unit) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name,-36} {value,10:0.##} {unit}"));

    public static void PrintQuantiles(string name, IReadOnlyCollection<double> values, string unit)
    {
        if (values.Count == 0) return;
        var sorted = values.Order().ToArray();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{name,-36} {Quantile(sorted, 0.5),10:0.##} {unit} median, {Quantile(sorted, 0.95):0.##} p95, {sorted[^1]:0.##} max, n = {sorted.Length}"));
    }

    public static double Quantile(double[] sorted, double share) => sorted[(int)Math.Min(sorted.Length - 1, Math.Floor(share * sorted.Length))];
}
