using System.Globalization;
using System.Text.Json.Nodes;
using Chat.Training.Evaluation.Metrics;

namespace Chat.Training.Evaluation;

/// <summary>How reports write intervals.</summary>
public static class ReportJson
{
    public static JsonNode? Of(Interval? interval) => interval is null ? null
        : new JsonObject { ["value"] = Math.Round(interval.Value, 5), ["low"] = Math.Round(interval.Low, 5), ["high"] = Math.Round(interval.High, 5), ["units"] = interval.Units };

    /// <summary>For example <c>12.3 (10.1–14.8)</c>, <c>-2.1 (-3.9 to -0.4)</c>.</summary>
    public static string Shown(Interval interval, int digits)
    {
        string Number(double value) => value.ToString("F" + digits, CultureInfo.InvariantCulture);
        return $"{Number(interval.Value)} ({Number(interval.Low)}{(interval.Low < 0 ? " to " : "–")}{Number(interval.High)})";
    }
}
