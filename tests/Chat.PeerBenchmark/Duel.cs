using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Chat.Benchmarks;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Gguf;
using Chat.Models.Kernels;
using LLama.Native;

namespace Chat.PeerBenchmark;

/// <summary>
/// Both engines in one process, a fraction of a second each in turns, so that what else the machine does meets both; the figure is the median of the rounds' ratios.
/// While one computes the other's threads sleep. The peer runs with whichever of its settings were fastest in a trial just before.
/// </summary>
internal static class Duel
{
    // libgomp's threads spin some milliseconds before they sleep, our team's a fraction of one.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(20);
    private const int TrialRounds = 3, ContextTokens = 16, PrefillTokens = 512;
    private static readonly JsonSerializerOptions Written = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    public static Command Command()
    {
        var folder = new Argument<string>("folder") { Description = "Folder that 'model' wrote." };
        var formats = new Option<WeightFormat[]>("--formats") { Description = "Int8 meets Q8_0, Int4 meets Q4_0 (words in eight bits on both sides).", DefaultValueFactory = _ => [WeightFormat.Int8, WeightFormat.Int4], AllowMultipleArgumentsPerToken = true };
        var works = new Option<string[]>("--works") { Description = "decode-ROWS, prefill (512 tokens) or loud (one row beside two busy threads).", DefaultValueFactory = _ => ["decode-1", "decode-8", "decode-32", "prefill", "loud"], AllowMultipleArgumentsPerToken = true };
        var threads = new Option<int>("--threads") { Description = "Threads of our team, and at most of the peer.", DefaultValueFactory = _ => Environment.ProcessorCount };
        var rounds = new Option<int>("--rounds") { Description = "Turns of each engine, at least ten.", DefaultValueFactory = _ => 15 };
        var seconds = new Option<double>("--seconds") { Description = "How long a turn takes, about.", DefaultValueFactory = _ => 0.2 };
        var processorTime = new Option<bool>("--processor-time") { Description = "Count the time that the processor gave, not the clock's; with one thread, on a machine that is busy with other things." };
        var json = new Option<string?>("--json") { Description = "File for all figures." };
        var command = new Command("duel", "Tokens a second of both engines, and their ratio.") { folder, formats, works, threads, rounds, seconds, processorTime, json };
        command.SetAction(result =>
        {
            Clock clock = result.GetValue(processorTime) ? Machine.ThreadTime : Stopwatch.GetTimestamp;
            Run(result.GetValue(folder)!, result.GetValue(formats)!, result.GetValue(works)!, result.GetValue(processorTime) ? 1 : result.GetValue(threads), result.GetValue(rounds), result.GetValue(seconds), clock, result.GetValue(json));
        });
        return command;
    }

    private static void Run(string folder, WeightFormat[] formats, string[] names, int threads, int rounds, double seconds, Clock clock, string? json)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rounds, 10);
        NativeLibraryConfig.All.WithLogCallback((_, _) => { });
        NativeApi.llama_empty_call();
        var works = names.Select(Work.Parse).ToArray();
        using var team = new Team(threads);
        var results = new List<Result>();
        Console.WriteLine($"| work | LLamaSharp, tokens/s | its settings | Chat, tokens/s | ratio, median of {rounds} (quartiles) | weights read, of plain reading |");
        Console.WriteLine("|---|---|---|---|---|---|");
        foreach (var format in formats)
        {
            var config = SyntheticModel.Read(folder);
            using var checkpoint = Checkpoint.OpenFolder(folder);
            // Room for the longest work: its context, and a token a step of warming up and of all rounds.
            using var runner = new CpuRunner(config, checkpoint, works.Max(work => work.Rows), PrefillTokens, PrefillTokens, format, team);
            using var peer = SafeLlamaModelHandle.LoadFromFile(SyntheticModel.Gguf(folder, format == WeightFormat.Int4 ? GgufType.Q4_0 : GgufType.Q8_0), LLamaModelParams.Default());
            foreach (var work in works)
            {
                using var neighbours = new Neighbours(work.Neighbours);
                var result = Measure(work, format, runner, peer, team, rounds, seconds, clock, BytesRead(config, format));
                results.Add(result);
                Console.WriteLine(result.Row());
            }
        }
        if (json is not null) File.WriteAllText(json, JsonSerializer.Serialize(new { processor = Processor(), processors = Environment.ProcessorCount, threads, load = Machine.LoadAverage(), at = TimeProvider.System.GetUtcNow(), results }, Written));
    }

    private static Result Measure(Work work, WeightFormat format, IRunner runner, SafeLlamaModelHandle model, Team team, int rounds, double seconds, Clock clock, long bytes)
    {
        var load = Machine.LoadAverage();
        var tried = new List<Trial>();
        foreach (var settings in PeerSettings.Candidates(team.Size))
        {
            using var side = new PeerSide(model, settings, work.Rows, work.IsPrefill ? PrefillTokens : 2 * PrefillTokens);
            tried.Add(new(settings, new Turns(side, work, seconds, clock).Rates(TrialRounds).Max()));
        }
        var best = tried.MaxBy(trial => trial.TokensPerSecond)!;
        using var peer = new PeerSide(model, best.Settings, work.Rows, work.IsPrefill ? PrefillTokens : 2 * PrefillTokens);
        using var ours = new OurSide(runner, work.Rows);
        Turns theirTurns = new(peer, work, seconds, clock), ourTurns = new(ours, work, seconds, clock);
        List<double> their = [], our = [], reading = [];
        using var memory = PlainReading.Memory(512 << 20);
        for (var round = 0; round < rounds; round++)
        {
            if (round % 2 == 0) their.Add(theirTurns.Rate());
            our.Add(ourTurns.Rate());
            if (round % 2 == 1) their.Add(theirTurns.Rate());
            reading.Add(ReadingRate(team, memory, clock));
        }
        double[] ratios = [.. our.Zip(their, (a, b) => a / b).Order()];
        double[] shares = work.Rows == 1 && !work.IsPrefill ? [.. our.Zip(reading, (rate, read) => rate * bytes / 1e9 / read).Order()] : [];
        return new(work.Name, format.ToString(), load, best.Settings.ToString(), [.. tried.Select(trial => $"{trial.TokensPerSecond:0.0}: {trial.Settings}")], their, our, reading,
            Median(their), Median(our), Figures.Quantile(ratios, 0.5), Figures.Quantile(ratios, 0.25), Figures.Quantile(ratios, 0.75), shares.Length > 0 ? Figures.Quantile(shares, 0.5) : null);
    }

    /// <summary>Bytes of weights that one token's step reads, as our formats have them.</summary>
    private static long BytesRead(DecoderConfig config, WeightFormat format) => (long)DecoderWeights.Needed(config).Where(weight => weight.Shape.Length == 2)
        .Sum(weight => weight.Shape[0] * weight.Shape[1] * (format == WeightFormat.Int4 && !weight.Name.Contains("embed", StringComparison.Ordinal) ? 0.5625 : 1.0625));

    private static unsafe double ReadingRate(Team team, NativeBuffer memory, Clock clock)
    {
        const int pieces = 512;
        var start = clock();
        team.Run(pieces, (piece, _) => PlainReading.Walk(memory.Pointer + memory.Length / pieces * piece, memory.Length / pieces));
        return memory.Length / Seconds(start, clock()) / 1e9;
    }

    /// <summary>Ticks of <see cref="Stopwatch.Frequency"/>.</summary>
    private delegate long Clock();

    private static double Seconds(long from, long to) => Stopwatch.GetElapsedTime(from, to).TotalSeconds;

    private static double Median(IEnumerable<double> values) => Figures.Quantile([.. values.Order()], 0.5);

    private static string Processor() => File.Exists("/proc/cpuinfo") ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim() ?? "unknown" : "unknown";

    /// <param name="Neighbours">Busy threads beside it.</param>
    private sealed record Work(string Name, int Rows, bool IsPrefill, int Neighbours)
    {
        public static Work Parse(string name) => name switch
        {
            "prefill" => new(name, 1, true, 0),
            "loud" => new(name, 1, false, 2),
            _ when name.StartsWith("decode-", StringComparison.Ordinal) && int.TryParse(name["decode-".Length..], CultureInfo.InvariantCulture, out var rows) && rows > 0 => new(name, rows, false, 0),
            _ => throw new ArgumentException($"'{name}' is no work: decode-ROWS, prefill or loud."),
        };
    }

    private sealed record Trial(PeerSettings Settings, double TokensPerSecond);

    private sealed record Result(string Work, string Format, string Load, string PeerSettings, string[] Tried, List<double> PeerRates, List<double> OurRates, List<double> PlainReadingGigabytes,
        double Peer, double Ours, double Ratio, double LowerQuartile, double UpperQuartile, double? ShareOfReading)
    {
        public string Row() => string.Create(CultureInfo.InvariantCulture, $"| {Format.ToLowerInvariant()}, {Work}, load {Load} | {Peer:0.0} | {PeerSettings} | {Ours:0.0} | **{Ratio:0.00}** ({LowerQuartile:0.00} to {UpperQuartile:0.00}) | {ShareOfReading?.ToString("0 %", CultureInfo.InvariantCulture)} |");
    }

    /// <summary>Turns of one engine at one work. Decoding goes on where the last turn ended, and starts anew when a row's room is full.</summary>
    private sealed class Turns
    {
        private readonly ISide side;
        private readonly Work work;
        private readonly Clock clock;
        private readonly int[] context;
        private readonly int steps;
        private int left;

        public Turns(ISide side, Work work, double seconds, Clock clock)
        {
            (this.side, this.work, this.clock) = (side, work, clock);
            context = [.. Enumerable.Range(1, work.IsPrefill ? PrefillTokens : ContextTokens)];
            Begin();
            // How many steps fill a turn: the second of two tries, the first warms up.
            Once();
            var start = clock();
            Once();
            steps = Math.Clamp((int)Math.Round(seconds / Seconds(start, clock())), 1, 64);
        }

        public IEnumerable<double> Rates(int rounds) => Enumerable.Range(0, rounds).Select(_ => Rate());

        /// <returns>Tokens a second.</returns>
        public double Rate()
        {
            if (!work.IsPrefill && left < steps) Begin();
            Thread.Sleep(Rest);
            var start = clock();
            for (var step = 0; step < steps; step++) Once();
            return steps * (work.IsPrefill ? PrefillTokens : work.Rows) / Seconds(start, clock());
        }

        private void Begin()
        {
            side.Read(Unread());
            left = PrefillTokens - 1;
        }

        /// <summary>Never read before, else our prefix cache would answer in place of the kernels.</summary>
        private int[] Unread()
        {
            context[0]++;
            return [.. context];
        }

        private void Once()
        {
            if (work.IsPrefill) side.Read(Unread());
            else side.Decode();
            left--;
        }
    }

    /// <summary>Threads that leave the processors to nobody of their own accord.</summary>
    private sealed class Neighbours : IDisposable
    {
        private readonly Thread[] threads;
        private volatile bool stopped;

        public Neighbours(int count)
        {
            threads = [.. Enumerable.Range(0, count).Select(_ => new Thread(() => { while (!stopped) { } }) { IsBackground = true })];
            foreach (var thread in threads) thread.Start();
        }

        public void Dispose()
        {
            stopped = true;
            foreach (var thread in threads) thread.Join();
        }
    }
}
