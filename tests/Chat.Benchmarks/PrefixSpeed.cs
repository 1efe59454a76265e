using System.CommandLine;
using System.Diagnostics;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Kernels;

namespace Chat.Benchmarks;

/// <summary>Time to the first scores of a prompt that begins as an earlier one did, against a prompt that is new: what the prefix cache saves. Decoder-only folders; ids are random.</summary>
internal static class PrefixSpeed
{
    public static Command Command()
    {
        var folder = new Argument<string>("model") { Description = "A decoder-only model folder; a tokenizer is not needed." };
        var format = new Option<WeightFormat>("--weights") { Description = "How the kernels keep matrices.", DefaultValueFactory = _ => WeightFormat.Int8 };
        var prefix = new Option<int>("--prefix") { Description = "Tokens that prompts have in common.", DefaultValueFactory = _ => 1000 };
        var tail = new Option<int>("--tail") { Description = "Tokens of a prompt behind them.", DefaultValueFactory = _ => 16 };
        var rounds = new Option<int>("--rounds") { Description = "Rounds; the median counts.", DefaultValueFactory = _ => 11 };
        var threads = new Option<int>("--threads") { Description = "Threads of the kernels' team.", DefaultValueFactory = _ => Environment.ProcessorCount };
        var command = new Command("prefix", "Time to first token of a prefix hit against the miss.") { folder, format, prefix, tail, rounds, threads };
        command.SetAction(result => Run(result.GetValue(folder)!, result.GetValue(format), result.GetValue(prefix), result.GetValue(tail), result.GetValue(rounds), result.GetValue(threads)));
        return command;
    }

    private static void Run(string path, WeightFormat format, int prefix, int tail, int rounds, int threads)
    {
        var config = Runners.DecoderConfigOf(path);
        using var team = new Team(threads);
        using var checkpoint = Checkpoint.OpenFolder(path);
        using var runner = new CpuRunner(config, checkpoint, rowCount: 2, maxContext: prefix + tail, maxReply: 16, format, team);
        var random = new Random(1);
        int[] Ids(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(config.VocabularySize))];
        var (misses, hits, ratios) = (new List<double>(), new List<double>(), new List<double>());
        for (var round = 0; round <= rounds; round++)
        {
            var common = Ids(prefix);
            var miss = Time([.. common, .. Ids(tail)]);
            var hit = Time([.. common, .. Ids(tail)]);
            if (round == 0) continue;                                                       // warms up
            misses.Add(miss);
            hits.Add(hit);
            ratios.Add(miss / hit);
        }
        Console.WriteLine($"{prefix} + {tail} tokens, {format}, {threads} threads on {Environment.ProcessorCount} processors, {rounds} rounds");
        Figures.PrintQuantiles("first scores, miss", misses, "ms");
        Figures.PrintQuantiles("first scores, hit", hits, "ms");
        Figures.PrintQuantiles("miss / hit", ratios, "×");

        double Time(int[] prompt)
        {
            var start = Stopwatch.GetTimestamp();
            runner.Prefill([new(0, prompt, default)]);
            var milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            runner.Free(0);
            return milliseconds;
        }
    }
}
