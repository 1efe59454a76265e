using System.CommandLine;
using System.Diagnostics;
using System.Numerics.Tensors;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using Chat.Models.Tokenizers;

namespace Chat.Benchmarks;

/// <summary>
/// Greedy decode steps of a model folder, without scheduler, sampling and network: what the arithmetic allows. Runners take turns within each round, so that
/// what else the machine does meets all of them; ratios are those of each round.
/// </summary>
internal static class DecodeSpeed
{
    public static Command Command()
    {
        var folder = new Argument<string>("model") { Description = "A model folder." };
        var runners = Runners.Option("torch-float16", "torch-float32", "exact", "int8", "int4");
        var batches = new Option<int[]>("--batch") { Description = "Rows decoded together.", DefaultValueFactory = _ => [1, 8, 32], AllowMultipleArgumentsPerToken = true };
        var tokens = new Option<int>("--tokens") { Description = "Tokens a row.", DefaultValueFactory = _ => 32 };
        var rounds = new Option<int>("--rounds") { Description = "Rounds; the median counts.", DefaultValueFactory = _ => 11 };
        var threads = new Option<int>("--threads") { Description = "Threads of the kernels' team and of torch.", DefaultValueFactory = _ => Environment.ProcessorCount };
        var command = new Command("decode", "Tokens a second of a model on this machine.") { folder, runners, batches, tokens, rounds, threads };
        command.SetAction(result => Run(result.GetValue(folder)!, result.GetValue(runners)!, result.GetValue(batches)!, result.GetValue(tokens), result.GetValue(rounds), result.GetValue(threads)));
        return command;
    }

    private static void Run(string path, string[] names, int[] batches, int tokens, int rounds, int threads)
    {
        var folder = ModelFolder.Open(path);
        using var team = new Team(threads);
        if (names.Any(name => name.StartsWith("torch", StringComparison.Ordinal))) TorchSharp.torch.set_num_threads(threads);
        Console.WriteLine($"{folder.Description.Id}: {folder.Description.Parameters / 1e6:0.0} M parameters, {threads} threads on {Environment.ProcessorCount} processors, kernels {InstructionPaths.Int8} and {InstructionPaths.Int4}, {rounds} rounds");
        var context = ContextPacker.Pack([[.. folder.Tokenizer.Encode("What brings you here, stranger? 你从哪里来？")]], folder.Tokenizer.Special, folder.Config.MaxContext);

        foreach (var batch in batches)
        {
            var runs = names.Select(name => new Timed(Runners.Create(name, folder, batch, team), batch)).ToArray();
            for (var round = 0; round <= rounds; round++)
                foreach (var run in runs) run.Round(context, tokens, counts: round > 0);                       // the first warms up
            for (var i = 0; i < runs.Length; i++)
            {
                Figures.PrintQuantiles($"prefill, batch {batch}, {names[i]}", runs[i].Prefills, "ms");
                Figures.PrintQuantiles($"decode, batch {batch}, {names[i]}", runs[i].Rates, "tokens/s");
                if (i > 0) Figures.PrintQuantiles($"  … times {names[0]}", [.. runs[i].Rates.Zip(runs[0].Rates, (rate, first) => rate / first)], "×");
                runs[i].Runner.Dispose();
            }
        }
    }

    private sealed class Timed(IRunner runner, int batch)
    {
        private readonly int[] rows = [.. Enumerable.Range(0, batch)], next = new int[batch];

        public IRunner Runner => runner;
        public List<double> Prefills { get; } = [];
        public List<double> Rates { get; } = [];

        public void Round(int[] context, int tokens, bool counts)
        {
            PrefillItem[] items = [.. rows.Select(row => new PrefillItem(row, context, default))];
            var start = Stopwatch.GetTimestamp();
            Choose(runner.Prefill(items));
            var prefill = Stopwatch.GetElapsedTime(start);
            start = Stopwatch.GetTimestamp();
            for (var step = 0; step < tokens; step++) Choose(runner.Decode(rows, next));
            var decode = Stopwatch.GetElapsedTime(start);
            foreach (var row in rows) runner.Free(row);
            if (!counts) return;
            Prefills.Add(prefill.TotalMilliseconds);
            Rates.Add(batch * tokens / decode.TotalSeconds);
        }

        private void Choose(ReadOnlySpan<float> scores)
        {
            var width = scores.Length / next.Length;
            for (var row = 0; row < next.Length; row++) next[row] = TensorPrimitives.IndexOfMax(scores.Slice(row * width, width));
        }
    }
}
