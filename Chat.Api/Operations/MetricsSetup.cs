using System.Globalization;
using System.Text;
using Chat.Api.Hosts;
using Chat.Domain.Generation;
using OpenTelemetry.Metrics;

namespace Chat.Api.Operations;

/// <summary>GET /metrics for Prometheus, with the names of <see cref="ChatMeter"/> word for word.</summary>
public static class MetricsSetup
{
    public static WebApplicationBuilder AddMetrics(this WebApplicationBuilder builder)
    {
        builder.Services.AddOpenTelemetry().WithMetrics(metrics => metrics
            .AddMeter(ChatMeter.Name)
            .AddPrometheusExporter(exporter =>
            {
                exporter.ScopeInfoEnabled = false;
                exporter.TargetInfoEnabled = false;
                exporter.ScrapeResponseCacheDurationMilliseconds = 0;
            }));
        return builder;
    }

    /// <summary>Stands before routing. Everything is there from the first scrape on, at 0.</summary>
    public static void UseMetrics(this WebApplication app)
    {
        // The exporter must listen before the zeros are counted.
        app.Services.GetRequiredService<MeterProvider>();
        ChatMeter.ShowAll();
        app.UseWhen(context => context.Request.Path == "/metrics", metrics =>
        {
            metrics.Use(CompleteAsync);
            metrics.UseOpenTelemetryPrometheusScrapingEndpoint(_ => true);
        });
    }

    // A histogram without a measurement is no series to OpenTelemetry; to a dashboard it is one whose count is 0. The exporter's empty
    // label set "{}" goes, since simple readers look for a name and a blank.
    private static async Task CompleteAsync(HttpContext context, RequestDelegate next)
    {
        context.Request.Headers.Remove("Accept-Encoding");     // the exporter would compress, and every Prometheus asks for it
        var wire = context.Response.Body;
        using var buffer = new MemoryStream();
        context.Response.Body = buffer;
        try { await next(context); }
        finally { context.Response.Body = wire; }

        var text = Encoding.UTF8.GetString(buffer.ToArray()).Replace("{} ", " ", StringComparison.Ordinal);
        if (context.Response.StatusCode == StatusCodes.Status200OK)
        {
            const string End = "# EOF";
            var end = text.LastIndexOf(End, StringComparison.Ordinal);
            var silent = string.Concat(ChatMeter.Histograms.Where(h => !text.Contains($"{h.Name}_count", StringComparison.Ordinal)).Select(h => Zero(h.Name, h.Description)));
            var hosts = context.RequestServices.GetService<IChatModels>() is RemoteChatModels remote ? HostFigures.Write(remote.Hosts, openMetrics: end >= 0) : "";
            text = end < 0 ? text + silent + hosts : text[..end] + silent + hosts + text[end..];
        }
        context.Response.ContentLength = null;
        await context.Response.WriteAsync(text, context.RequestAborted);
    }

    private static string Zero(string name, string? description)
    {
        var text = new StringBuilder().Append(CultureInfo.InvariantCulture, $"# TYPE {name} histogram\n# HELP {name} {description}\n");
        foreach (var bound in ChatMeter.Buckets) text.Append(CultureInfo.InvariantCulture, $"{name}_bucket{{le=\"{bound}\"}} 0\n");
        return text.Append(CultureInfo.InvariantCulture, $"{name}_bucket{{le=\"+Inf\"}} 0\n{name}_sum 0\n{name}_count 0\n").ToString();
    }
}
