using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Chat.Benchmarks;
using Chat.Models.Engine;
using Chat.Models.Kernels;

namespace Chat.MiniLmCheck;

/// <summary>
/// Both engines in one process in turns, so that what else the machine does meets both; the figure is the median of the rounds' ratios. ONNX Runtime computes float32 and gets the
/// better of two ways, tried just before: the batch padded to its longest text, or its texts one by one.
/// </summary>
internal static class Duel
{
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(20);          // until the other engine's threads sleep

    public static Command Command()
    {
        var folder = new Argument<string>("folder") { Description = "Folder that 'check' wrote." };
        var threads = new Option<int>("--threads") { Description = "Threads of either engine.", DefaultValueFactory = _ => Environment.ProcessorCount };
        var rounds = new Option<int>("--rounds") { Description = "Turns of each engine.", DefaultValueFactory = _ => 15 };
        var seconds = new Option<double>("--seconds") { Description = "How long a turn takes, about.", DefaultValueFactory = _ => 0.2 };
        var processorTime = new Option<bool>("--processor-time") { Description = "Count the time that the processor gave, not the clock's; with one thread, on a machine that is busy with other things." };
        var command = new Command("duel", "Tokens a second of our kernels and of ONNX Runtime, and their ratio.") { folder, threads, rounds, seconds, processorTime };
        command.SetAction(result =>
        {
            Func<long> clock = result.GetValue(processorTime) ? Machine.ThreadTime : Stopwatch.GetTimestamp;
            Run(result.GetValue(folder)!, result.GetValue(processorTime) ? 1 : result.GetValue(threads), result.GetValue(rounds), result.GetValue(seconds), clock);
        });
        return command;
    }

    private static void Run(string folder, int threads, int rounds, double seconds, Func<long> clock)
    {
        var tokenizer = MiniLm.Tokenizer(folder);
        int[][] sentences = [.. MiniLm.Dialogue(400).Select(pair => tokenizer.EncodeTexts(pair.Prompt, most: 256).Ids)];
        int[] flow = [tokenizer.Special.Start, .. sentences.SelectMany(sentence => sentence[1..^1])];
        (string Name, int[][] Texts)[] works =
        [
            ("a sentence of 16 tokens", [flow[..16]]),
            ("32 sentences of dialogue", sentences[..32]),
            ("a text of 256 tokens", [flow[..256]]),
            ("8 texts of 256 tokens", [.. Enumerable.Range(0, 8).Select(i => flow[(256 * i)..(256 * i + 256)])]),
        ];
        using var team = new Team(threads);
        using var peer = new OnnxEncoder(MiniLm.Onnx(), threads);
        Console.WriteLine($"{threads} threads, load {Machine.LoadAverage()}");
        Console.WriteLine($"| work | weights | ONNX Runtime float32, tokens/s | Chat, tokens/s | ratio, median of {rounds} (quartiles) |");
        Console.WriteLine("|---|---|---|---|---|");
        foreach (var (weights, path, format) in new[] { ("float32", MiniLm.Float32(folder), WeightFormat.Exact), ("bfloat16", MiniLm.BFloat16(folder), WeightFormat.Exact), ("int8", MiniLm.Float32(folder), WeightFormat.Int8), ("int4", MiniLm.Float32(folder), WeightFormat.Int4) })
        {
            using var encoder = CpuEncoder.Load(path, format, team);
            foreach (var (name, texts) in works)
            {
                int[] ids = [.. texts.SelectMany(text => text)], lengths = [.. texts.Select(text => text.Length)];
                var states = new float[ids.Length * encoder.Config.Width];
                Action together = () => peer.Encode(texts, encoder.Config.Width), oneByOne = () => { foreach (var text in texts) peer.Encode([text], encoder.Config.Width); };
                var theirs = Enumerable.Range(0, 3).Min(_ => Seconds(together, 1)) <= Enumerable.Range(0, 3).Min(_ => Seconds(oneByOne, 1)) ? together : oneByOne;
                var ours = () => encoder.Encode(ids, lengths, [], states);
                int theirTimes = Times(theirs), ourTimes = Times(ours);
                List<double> their = [], our = [];
                for (var round = 0; round < rounds; round++)
                {
                    if (round % 2 == 0) their.Add(theirTimes * ids.Length / Seconds(theirs, theirTimes));
                    our.Add(ourTimes * ids.Length / Seconds(ours, ourTimes));
                    if (round % 2 == 1) their.Add(theirTimes * ids.Length / Seconds(theirs, theirTimes));
                }
                double[] ratios = [.. our.Zip(their, (a, b) => a / b).Order()];
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"| {name}{(texts.Length > 1 ? theirs == together ? ", theirs padded" : ", theirs one by one" : "")} | {weights} | {Figures.Quantile([.. their.Order()], 0.5):0} | {Figures.Quantile([.. our.Order()], 0.5):0} | **{Figures.Quantile(ratios, 0.5):0.00}** ({Figures.Quantile(ratios, 0.25):0.00} to {Figures.Quantile(ratios, 0.75):0.00}) |"));
            }
        }

        // How often the work fits into a turn: the second of two tries, the first warms up.
        int Times(Action work)
        {
            Seconds(work, 1);
            return Math.Clamp((int)Math.Round(seconds / Seconds(work, 1)), 1, 1_000);
        }

        double Seconds(Action work, int times)
        {
            Thread.Sleep(Rest);
            var start = clock();
            for (var i = 0; i < times; i++) work();
            return Stopwatch.GetElapsedTime(start, clock()).TotalSeconds;
        }
    }
}
