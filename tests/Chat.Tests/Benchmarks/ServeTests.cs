using System.Net;
using System.Text;
using Chat.Benchmarks.Serving;

namespace Chat.Tests.Benchmarks;

/// <summary>The load generator's arithmetic: a server whose clock is the test's, and figures worked out by hand.</summary>
public sealed class ServeTests
{
    private static readonly Load AtOnce = new(4, double.PositiveInfinity, null, 0);

    [Fact]
    public void Figures_have_vllms_names_and_definitions()
    {
        Exchange[] exchanges =
        [
            new(0, [0.1, 0.2, 0.4], InputTokens: 10, OutputTokens: 4),
            new(1, [1.3], InputTokens: 20, OutputTokens: 1),
            new(0.5, [1.0, 1.1], InputTokens: 30, OutputTokens: 3),
            new(0, [0.9], 5, 5, "broken"),
        ];

        var report = ServeReport.Of(exchanges, duration: 2, peak: 3, AtOnce, new(TimeToFirst: 301, TimePerToken: 101), detailed: true);

        double Figure(string name) => report[name]!.GetValue<double>();
        Assert.Equal((3, 1, 60, 8), ((int)report["completed"]!, (int)report["failed"]!, (int)report["total_input_tokens"]!, (int)report["total_output_tokens"]!));
        Assert.Equal([1.5, 4, 34, 1], new[] { "request_throughput", "output_throughput", "total_token_throughput", "request_goodput" }.Select(Figure));
        Assert.Equal("inf", (string)report["request_rate"]!);
        Near(300, Figure("mean_ttft_ms"), Figure("median_ttft_ms"));                        // 100, 300, 500
        Near(Math.Sqrt(80_000 / 3.0), Figure("std_ttft_ms"));
        Near(496, Figure("p99_ttft_ms"));                                                   // 98 % of the way from 300 to 500
        Near(75, Figure("mean_tpot_ms"));                                                   // 300 ms over 3 tokens, 100 over 2; a reply of one token has none
        Near(400 / 3.0, Figure("mean_itl_ms"));                                             // 100, 200, 100
        Near(1300 / 3.0, Figure("mean_e2el_ms"));                                           // 400, 300, 600
        Assert.Equal(4, report["itls"]!.AsArray().Count);
        Assert.Equal("broken", (string)report["errors"]![3]!);
    }

    [Fact]
    public void Nothing_whole_is_reported_as_such()
    {
        var report = ServeReport.Of([new(0, [], 0, 0, "down")], 1, 1, AtOnce, new(), detailed: false);
        Assert.Equal((0, 1, 0.0), ((int)report["completed"]!, (int)report["failed"]!, (double)report["p99_itl_ms"]!));
        Assert.Null(report["request_goodput"]);
    }

    [Fact]
    public void Arrivals_are_a_poisson_process_of_the_rate_and_the_same_for_a_seed()
    {
        var load = new Load(20_000, 50, null, 7);
        var arrivals = load.Arrivals();
        double[] gaps = [.. arrivals.Zip(arrivals.Skip(1), (a, b) => b - a)];
        Assert.Equal(0.02, gaps.Average(), 0.001);
        Assert.Equal(Math.Exp(-1), gaps.Count(gap => gap > 0.02) / (double)gaps.Length, 0.02);        // memoryless: 37 % are longer than the mean
        Assert.Equal(arrivals, load.Arrivals());
        Assert.NotEqual(arrivals[0], (load with { Seed = 8 }).Arrivals()[0]);
        Assert.All(AtOnce.Arrivals(), at => Assert.Equal(0, at));
    }

    [Fact]
    public async Task Never_more_than_the_wanted_number_are_under_way()
    {
        int running = 0, seen = 0, finished = 0;
        var load = new Load(40, double.PositiveInfinity, 3, 0);
        var (exchanges, _, peak) = await load.RunAsync(async (number, _) =>
        {
            var now = Interlocked.Increment(ref running);
            InterlockedMax(ref seen, now);
            await Task.Yield();
            Interlocked.Decrement(ref running);
            return new(number, [number], 0, 1);
        }, () => Interlocked.Increment(ref finished), TimeProvider.System, TestContext.Current.CancellationToken);

        Assert.InRange(peak, 1, 3);
        Assert.InRange(seen, 1, 3);
        Assert.Equal(40, finished);
        Assert.Equal(Enumerable.Range(0, 40).Select(number => (double)number), exchanges.Select(exchange => exchange.Start));
    }

    [Fact]
    public async Task Pieces_of_text_are_timed_as_they_come_and_tokens_are_the_servers()
    {
        var clock = new Clock();
        var exchange = await AskAsync(clock, """
            data: {"choices":[{"delta":{"role":"assistant"}}]}
            data: {"choices":[{"delta":{"content":"你"}}]}
            data: {"choices":[{"delta":{"content":""}}]}
            data: {"choices":[{"delta":{"content":"好"},"finish_reason":"stop"}]}
            data: {"choices":[],"usage":{"prompt_tokens":6,"completion_tokens":2}}
            data: [DONE]
            """);

        Assert.True(exchange.IsWhole);
        Assert.Equal((2.0, 6, 2), (exchange.TimeToFirst, exchange.InputTokens, exchange.OutputTokens));    // an event a second, the role's first
        Assert.Equal([2.0], exchange.Gaps);
        Assert.Equal(2, exchange.TimePerToken);
    }

    [Theory]
    [InlineData("""data: {"choices":[{"delta":{"content":"x"}}]}""", "[DONE]")]
    [InlineData("""data: {"error":{"message":"busy"}}""", "busy")]
    [InlineData("data: {", "")]
    public async Task A_reply_that_breaks_off_is_a_failure(string events, string reason)
    {
        var exchange = await AskAsync(new Clock(), events);
        Assert.False(exchange.IsWhole);
        Assert.Contains(reason, exchange.Error!, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ttft:500,tpot:50", true), InlineData("ttft:50", false), InlineData("e2el:400", false), InlineData("tpot:30,e2el:600", true)]
    public void Goals_are_kept_or_not(string goals, bool kept) => Assert.Equal(kept, Goals.Parse(goals.Split(',')).AreKept(new(0, [0.4, 0.5], 0, 6)));

    [Theory]
    [InlineData("ttft"), InlineData("ttft:soon"), InlineData("words:3"), InlineData("ttft:-1")]
    public void What_is_no_goal_is_refused(string text) => Assert.Throws<FormatException>(() => Goals.Parse([text]));

    private static void Near(double expected, params double[] values) => Assert.All(values, value => Assert.Equal(expected, value, 1e-9 * expected));

    private static void InterlockedMax(ref int target, int value)
    {
        for (int seen; (seen = Volatile.Read(ref target)) < value && Interlocked.CompareExchange(ref target, value, seen) != seen;) { }
    }

    private static async Task<Exchange> AskAsync(Clock clock, string events)
    {
        using var http = new HttpClient(new Server(clock, events)) { BaseAddress = new("http://fake/") };
        return await new CompletionsTarget(http, "m", null).AskAsync(new("你好", 1, 8), () => clock.Seconds, TestContext.Current.CancellationToken);
    }

    private sealed class Clock
    {
        public double Seconds { get; set; }
    }

    /// <summary>Answers with events, one a read and a second.</summary>
    private sealed class Server(Clock clock, string events) : HttpMessageHandler
    {
        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Assert.Equal("http://fake/v1/chat/completions", request.RequestUri!.ToString());
            return Task.FromResult(new HttpResponseMessage(HttpStatusCode.OK) { Content = new StreamContent(new Events(clock, events.Split('\n'))) });
        }
    }

    private sealed class Events(Clock clock, string[] events) : MemoryStream
    {
        private int next;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (next == events.Length) return ValueTask.FromResult(0);
            clock.Seconds++;
            return ValueTask.FromResult(Encoding.UTF8.GetBytes($"{events[next++].Trim()}\n\n", buffer.Span));
        }
    }
}
