using System.Globalization;
using System.Text.Json.Nodes;

namespace Chat.Benchmarks.Serving;

/// <summary>Bounds that a good reply keeps, in milliseconds; <c>null</c> where there is none.</summary>
internal sealed record Goals(double? TimeToFirst = null, double? TimePerToken = null, double? EndToEnd = null)
{
    /// <summary>From <c>ttft:500 tpot:50 e2el:5000</c>.</summary>
    /// <exception cref="FormatException">Another name, or no number.</exception>
    public static Goals Parse(IEnumerable<string> texts)
    {
        var goals = new Goals();
        foreach (var text in texts)
        {
            var bound = text.Split(':') is [_, var number] && double.TryParse(number, CultureInfo.InvariantCulture, out var value) && value > 0 ? value : throw new FormatException($"'{text}' is no goal; one is ttft:500, tpot:50 or e2el:5000 (milliseconds).");
            goals = text.Split(':')[0] switch
            {
                "ttft" => goals with { TimeToFirst = bound },
                "tpot" => goals with { TimePerToken = bound },
                "e2el" => goals with { EndToEnd = bound },
                var name => throw new FormatException($"'{name}' is no goal; known are ttft, tpot and e2el."),
            };
        }
        return goals;
    }

    public bool Any => this != new Goals();

    public bool AreKept(Exchange exchange) =>
        1000 * exchange.TimeToFirst <= (TimeToFirst ?? double.MaxValue) && 1000 * exchange.TimePerToken <= (TimePerToken ?? double.MaxValue) && 1000 * exchange.EndToEnd <= (EndToEnd ?? double.MaxValue);
}

/// <summary>
/// What a measurement of a server found, in the words and with the definitions of vLLM's <c>bench serve</c>, so that its readers read ours: failed requests count in nothing but <c>failed</c>,
/// times per token leave out the first token and replies that have no other, percentiles interpolate linearly, deviations are those of the whole population.
/// </summary>
internal static class ServeReport
{
    private static readonly double[] Percentiles = [50, 90, 95, 99];

    /// <param name="duration">Seconds from the first request to the last reply.</param>
    /// <param name="detailed">Adds each request's figures.</param>
    public static JsonObject Of(IReadOnlyList<Exchange> exchanges, double duration, int peak, Load load, Goals goals, bool detailed)
    {
        Exchange[] whole = [.. exchanges.Where(exchange => exchange.IsWhole)];
        int input = whole.Sum(exchange => exchange.InputTokens), output = whole.Sum(exchange => exchange.OutputTokens);
        var report = new JsonObject
        {
            ["num_prompts"] = load.Requests,
            ["request_rate"] = double.IsPositiveInfinity(load.Rate) ? "inf" : load.Rate,
            ["max_concurrency"] = load.Concurrency,
            ["seed"] = load.Seed,
            ["duration"] = duration,
            ["completed"] = whole.Length,
            ["failed"] = exchanges.Count - whole.Length,
            ["total_input_tokens"] = input,
            ["total_output_tokens"] = output,
            ["request_throughput"] = whole.Length / duration,
            ["request_goodput"] = goals.Any ? whole.Count(goals.AreKept) / duration : null,
            ["output_throughput"] = output / duration,
            ["total_token_throughput"] = (input + output) / duration,
            ["max_concurrent_requests"] = peak,
        };
        Add(report, "ttft", whole.Select(exchange => exchange.TimeToFirst));
        Add(report, "tpot", whole.Where(exchange => exchange.OutputTokens > 1).Select(exchange => exchange.TimePerToken));
        Add(report, "itl", whole.SelectMany(exchange => exchange.Gaps));
        Add(report, "e2el", whole.Select(exchange => exchange.EndToEnd));
        if (!detailed) return report;
        report["input_lens"] = Array(exchanges, exchange => exchange.InputTokens);
        report["output_lens"] = Array(exchanges, exchange => exchange.OutputTokens);
        report["start_times"] = Array(exchanges, exchange => exchange.Start);
        report["ttfts"] = Array(exchanges, exchange => exchange.Words.Count > 0 ? exchange.TimeToFirst : 0);
        report["itls"] = Array(exchanges, exchange => Array(exchange.Gaps, gap => gap));
        report["errors"] = Array(exchanges, exchange => exchange.Error ?? "");
        return report;
    }

    private static void Add(JsonObject report, string name, IEnumerable<double> seconds)
    {
        double[] sorted = [.. seconds.Select(value => 1000 * value).Order()];
        var mean = sorted.Length > 0 ? sorted.Average() : 0;
        report[$"mean_{name}_ms"] = mean;
        report[$"median_{name}_ms"] = Percentile(sorted, 50);
        report[$"std_{name}_ms"] = sorted.Length > 0 ? Math.Sqrt(sorted.Average(value => (value - mean) * (value - mean))) : 0;
        foreach (var percent in Percentiles) report[$"p{percent}_{name}_ms"] = Percentile(sorted, percent);
    }

    private static double Percentile(double[] sorted, double percent)
    {
        if (sorted.Length == 0) return 0;
        var (below, rest) = ((int)(percent / 100 * (sorted.Length - 1)), percent / 100 * (sorted.Length - 1) % 1);
        return sorted[below] + (rest > 0 ? rest * (sorted[below + 1] - sorted[below]) : 0);
    }

    private static JsonArray Array<T, TValue>(IEnumerable<T> items, Func<T, TValue> value) => new([.. items.Select(item => value(item) is JsonNode node ? node : JsonValue.Create(value(item)))]);
}
