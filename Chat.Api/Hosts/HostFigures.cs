using System.Globalization;
using System.Text;

namespace Chat.Api.Hosts;

/// <summary>
/// A gateway's view of its model hosts for /metrics, as they told in their last status: vLLM's names behind <c>chat_host_</c>, one series a host and figure, of all
/// its models together. Written by hand, because OpenTelemetry tells for ever of a host that was there once.
/// </summary>
internal static class HostFigures
{
    private sealed record Figure(string Name, string Type, string Help, Func<RemoteHost, double> Value)
    {
        /// <summary>The others are unknown while a host does not answer.</summary>
        public bool IsAlwaysKnown { get; init; }
    }

    private static readonly Figure[] Figures =
    [
        new("chat_host_up", "gauge", "1 while the model host answers.", h => h.IsUp ? 1 : 0) { IsAlwaysKnown = true },
        new("chat_host_draining", "gauge", "1 while the model host takes nothing new.", h => h.IsDraining ? 1 : 0),
        new("chat_host_num_requests_running", "gauge", "Requests being generated there.", h => h.Offers.Sum(o => o.Load.Running)),
        new("chat_host_num_requests_waiting", "gauge", "Requests waiting for a place there.", h => h.Offers.Sum(o => o.Load.Waiting)),
        new("chat_host_kv_cache_usage_perc", "gauge", "Share of its caches in use, the mean of its models, 1 = full.", h => h.Offers.Select(o => o.Load.CacheUsage).DefaultIfEmpty().Average()),
        new("chat_host_prefix_cache_queries_total", "counter", "Tokens looked up in its prefix caches.", h => h.Offers.Sum(o => o.Load.PrefixQueries)),
        new("chat_host_prefix_cache_hits_total", "counter", "Tokens found in its prefix caches.", h => h.Offers.Sum(o => o.Load.PrefixHits)),
    ];

    /// <param name="openMetrics">In that format a counter's family has no <c>_total</c>.</param>
    public static string Write(IReadOnlyList<RemoteHost> hosts, bool openMetrics)
    {
        var text = new StringBuilder();
        foreach (var figure in Figures)
        {
            var family = openMetrics && figure.Type == "counter" ? figure.Name[..^"_total".Length] : figure.Name;
            text.Append(CultureInfo.InvariantCulture, $"# TYPE {family} {figure.Type}\n# HELP {family} {figure.Help}\n");
            foreach (var host in hosts.Where(h => h.IsUp || figure.IsAlwaysKnown)) text.Append(CultureInfo.InvariantCulture, $"{figure.Name}{{host=\"{host.Name}\"}} {figure.Value(host)}\n");
        }
        return text.ToString();
    }
}
