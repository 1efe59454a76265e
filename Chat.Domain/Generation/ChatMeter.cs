using System.Diagnostics.Metrics;

namespace Chat.Domain.Generation;

/// <summary>
/// The figures of serving, under vLLM's names. One meter a process: whoever does the thing counts it, once. Names are as they stand at
/// /metrics; no conversation, user or request id is ever a label. Thread-safe.
/// </summary>
public static class ChatMeter
{
    public const string Name = "Chat";

    /// <summary>The label of <see cref="RequestSuccess"/> and its values.</summary>
    public const string FinishedReason = "finished_reason";

    public static readonly IReadOnlyList<string> FinishedReasons = ["stop", "length", "stopped", "abort", "error"];

    /// <summary>The label of <see cref="Hedges"/> and its values: the second host began first, the first one did, neither began, or the caller went away before.</summary>
    public const string HedgeOutcome = "outcome";

    public static readonly IReadOnlyList<string> HedgeOutcomes = ["won", "lost", "failed", "abort"];

    /// <summary>Upper bounds in seconds, from one millisecond.</summary>
    public static readonly IReadOnlyList<double> Buckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120];

    private static readonly Meter Meter = new(Name);

    /// <summary>Requests that hold rows of a model; add 1 and −1.</summary>
    public static readonly UpDownCounter<long> RequestsRunning = Meter.CreateUpDownCounter<long>("chat_num_requests_running", description: "Requests being generated.");

    /// <summary>Requests in the queue; add 1 and −1.</summary>
    public static readonly UpDownCounter<long> RequestsWaiting = Meter.CreateUpDownCounter<long>("chat_num_requests_waiting", description: "Requests waiting for a place.");

    /// <summary>From 0 to 1.</summary>
    public static readonly Gauge<double> CacheUsage = Meter.CreateGauge<double>("chat_kv_cache_usage_perc", description: "Share of the cache in use, 1 = full.");

    /// <summary>Keys and values of pinned beginnings; add what comes and what goes.</summary>
    public static readonly UpDownCounter<long> PinnedBytes = Meter.CreateUpDownCounter<long>("chat_kv_cache_pinned_bytes", description: "Bytes of the cache that pins hold.");

    /// <summary>Tokens fed, as usage.promptTokens counts them.</summary>
    public static readonly Counter<long> PromptTokens = Meter.CreateCounter<long>("chat_prompt_tokens_total", description: "Prompt tokens read.");

    /// <summary>Tokens chosen, as usage.completionTokens counts them.</summary>
    public static readonly Counter<long> GenerationTokens = Meter.CreateCounter<long>("chat_generation_tokens_total", description: "Tokens generated.");

    public static readonly Counter<long> PrefixCacheQueries = Meter.CreateCounter<long>("chat_prefix_cache_queries_total", description: "Tokens looked up in the prefix cache.");

    public static readonly Counter<long> PrefixCacheHits = Meter.CreateCounter<long>("chat_prefix_cache_hits_total", description: "Tokens found in the prefix cache.");

    public static readonly Counter<long> Preemptions = Meter.CreateCounter<long>("chat_num_preemptions_total", description: "Requests set back to waiting.");

    /// <summary>Passes of a model that were given guesses, the tokens guessed, and those of them that the model confirmed.</summary>
    public static readonly Counter<long> Drafts = Meter.CreateCounter<long>("chat_spec_decode_num_drafts_total", description: "Passes with guessed tokens.");

    public static readonly Counter<long> DraftTokens = Meter.CreateCounter<long>("chat_spec_decode_num_draft_tokens_total", description: "Tokens guessed.");

    public static readonly Counter<long> AcceptedTokens = Meter.CreateCounter<long>("chat_spec_decode_num_accepted_tokens_total", description: "Guessed tokens that the model confirmed.");

    /// <summary>Requests that ended, by <see cref="FinishedReason"/>.</summary>
    public static readonly Counter<long> RequestSuccess = Meter.CreateCounter<long>("chat_request_success_total", description: "Requests that ended, by reason.");

    /// <summary>Replies for which a second model host was asked beside the first, by <see cref="HedgeOutcome"/>.</summary>
    public static readonly Counter<long> Hedges = Meter.CreateCounter<long>("chat_hedges_total", description: "Replies for which a second model host was asked as well, by outcome.");

    public static readonly Histogram<double> TimeToFirstToken = Seconds("chat_time_to_first_token_seconds", "From arrival to the first token.");

    public static readonly Histogram<double> InterTokenLatency = Seconds("chat_inter_token_latency_seconds", "From one token of a request to its next.");

    public static readonly Histogram<double> RequestLatency = Seconds("chat_e2e_request_latency_seconds", "From arrival to the end.");

    public static readonly Histogram<double> QueueTime = Seconds("chat_request_queue_time_seconds", "From arrival to a place.");

    public static readonly IReadOnlyList<Histogram<double>> Histograms = [TimeToFirstToken, InterTokenLatency, RequestLatency, QueueTime];

    /// <summary>Counts one end; the reason is one of <see cref="FinishedReasons"/>.</summary>
    public static void Ended(string reason) => RequestSuccess.Add(1, new KeyValuePair<string, object?>(FinishedReason, reason));

    /// <summary>Counts a hedge that is over; the outcome is one of <see cref="HedgeOutcomes"/>.</summary>
    public static void Hedged(string outcome, long count = 1) => Hedges.Add(count, new KeyValuePair<string, object?>(HedgeOutcome, outcome));

    /// <summary>Makes every counter and gauge visible at 0 to whoever listens by now.</summary>
    public static void ShowAll()
    {
        foreach (var gauge in new[] { RequestsRunning, RequestsWaiting }) gauge.Add(0);
        foreach (var counter in new[] { PromptTokens, GenerationTokens, PrefixCacheQueries, PrefixCacheHits, Preemptions, Drafts, DraftTokens, AcceptedTokens }) counter.Add(0);
        foreach (var reason in FinishedReasons) RequestSuccess.Add(0, new KeyValuePair<string, object?>(FinishedReason, reason));
        foreach (var outcome in HedgeOutcomes) Hedged(outcome, 0);
        CacheUsage.Record(0);
    }

    private static Histogram<double> Seconds(string name, string description) =>
        Meter.CreateHistogram(name, "s", description, tags: null, new InstrumentAdvice<double> { HistogramBucketBoundaries = Buckets });
}
