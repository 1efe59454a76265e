using System.Text.Json.Nodes;

namespace Chat.Tests;

/// <summary>Files of tests/Golden, copied beside the tests.</summary>
internal static class Golden
{
    public static string At(string path) => Path.Combine(AppContext.BaseDirectory, "Golden", path);

    public static JsonNode Read(string path) => JsonNode.Parse(File.ReadAllBytes(At(path)))!;

    /// <summary>Compares all numbers of two documents of the same form: |a − e| ≤ absolute + relative·|e|.</summary>
    public static void Close(JsonNode? expected, JsonNode? actual, double absolute, double relative, string where)
    {
        if (expected is JsonArray list)
        {
            Assert.True(actual is JsonArray, $"{where}: a list is missing.");
            Assert.Equal(list.Count, actual.AsArray().Count);
            for (var i = 0; i < list.Count; i++) Close(list[i], actual[i], absolute, relative, $"{where}[{i}]");
            return;
        }
        double e = Number(expected), a = Number(actual);
        Assert.True(Math.Abs(a - e) <= absolute + relative * Math.Abs(e), $"{where}: {a} instead of {e}.");

        // Numbers of a parsed and of a built document differ in what they are made of.
        static double Number(JsonNode? node) => double.Parse(node!.ToJsonString(), System.Globalization.CultureInfo.InvariantCulture);
    }
}
