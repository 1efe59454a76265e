using System.Globalization;
using Chat.Domain.Generation;

namespace Chat.IntegrationTests.Operations;

[Collection("counts")]      // one process, one meter: classes that read or move it run one after the other
public sealed class MetricsTests(GarnetServer shared) : IClassFixture<GarnetServer>
{
    private async Task<string[]> ScrapeAsync(string? accept = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics");
        if (accept is not null) request.Headers.TryAddWithoutValidation("Accept", accept);
        using var response = await shared.Http.SendAsync(request);
        response.EnsureSuccessStatusCode();
        return (await response.Content.ReadAsStringAsync()).Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    private static double ValueOf(string[] lines, string series) =>
        double.Parse(Assert.Single(lines, l => l.StartsWith(series + " ", StringComparison.Ordinal)).Split(' ')[1], CultureInfo.InvariantCulture);

    [Theory]
    [InlineData(null)]
    [InlineData("application/openmetrics-text; version=1.0.0")]
    public async Task Every_metric_of_the_contract_is_on_the_wire_from_the_start(string? accept)
    {
        var lines = await ScrapeAsync(accept);

        foreach (var name in new[] { "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc" })
            Assert.Contains($"# TYPE chat_{name} gauge", lines);
        foreach (var name in new[] { "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prompt_tokens_total", "generation_tokens_total", "prefix_cache_queries_total", "prefix_cache_hits_total", "num_preemptions_total" })
            ValueOf(lines, $"chat_{name}");
        foreach (var reason in new[] { "stop", "length", "stopped", "abort", "error" })
            ValueOf(lines, $"chat_request_success_total{{finished_reason=\"{reason}\"}}");
        foreach (var outcome in new[] { "won", "lost", "failed", "abort" }) ValueOf(lines, $"chat_hedges_total{{outcome=\"{outcome}\"}}");
        foreach (var name in new[] { "time_to_first_token", "inter_token_latency", "e2e_request_latency", "request_queue_time" })
        {
            Assert.Contains($"# TYPE chat_{name}_seconds histogram", lines);
            ValueOf(lines, $"chat_{name}_seconds_count");
            ValueOf(lines, $"chat_{name}_seconds_bucket{{le=\"0.001\"}}");
            ValueOf(lines, $"chat_{name}_seconds_bucket{{le=\"+Inf\"}}");
        }
    }

    [Fact]
    public async Task A_scraper_that_takes_gzip_reads_the_figures()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics");
        request.Headers.TryAddWithoutValidation("Accept-Encoding", "gzip");     // as Prometheus does
        using var response = await shared.Http.SendAsync(request);

        Assert.Empty(response.Content.Headers.ContentEncoding);
        Assert.Contains("# TYPE chat_num_requests_running gauge", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Counted_figures_appear_at_once_and_in_their_buckets()
    {
        var before = await ScrapeAsync();

        ChatMeter.PromptTokens.Add(5);
        ChatMeter.Ended("abort");
        ChatMeter.QueueTime.Record(0.0015);

        var after = await ScrapeAsync();
        Assert.Equal(5, ValueOf(after, "chat_prompt_tokens_total") - ValueOf(before, "chat_prompt_tokens_total"));
        Assert.Equal(1, ValueOf(after, "chat_request_success_total{finished_reason=\"abort\"}") - ValueOf(before, "chat_request_success_total{finished_reason=\"abort\"}"));
        Assert.Equal(0, ValueOf(after, "chat_request_queue_time_seconds_bucket{le=\"0.001\"}") - ValueOf(before, "chat_request_queue_time_seconds_bucket{le=\"0.001\"}"));
        Assert.Equal(1, ValueOf(after, "chat_request_queue_time_seconds_bucket{le=\"0.002\"}") - ValueOf(before, "chat_request_queue_time_seconds_bucket{le=\"0.002\"}"));
    }
}
