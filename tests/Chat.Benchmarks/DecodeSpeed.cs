using System.CommandLine;
using System.Diagnostics;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Libtorch;
using Chat.Models.Tokenizers;

namespace Chat.Benchmarks;

/// <summary>Greedy decode steps of a model folder on the runner, without scheduler, sampling and network: what the arithmetic allows.</summary>
internal static class DecodeSpeed
{
    public static Command Command()
    {
        var folder = new Argument<string>("model") { Description = "A model folder." };
        var batches = new Option<int[]>("--batch") { Description = "Rows decoded together.", DefaultValueFactory = _ => [1, 8, 32], AllowMultipleArgumentsPerToken = true };
        var tokens = new Option<int>("--tokens") { Description = "Tokens a row.", DefaultValueFactory = _ => 32 };
        var rounds = new Option<int>("--rounds") { Description = "Rounds; the median counts.", DefaultValueFactory = _ => 5 };
        var command = new Command("decode", "Tokens a second of a model on this machine.") { folder, batches, tokens, rounds };
        command.SetAction(result => Run(result.GetValue(folder)!, result.GetValue(batches)!, result.GetValue(tokens), result.GetValue(rounds)));
        return command;
    }

    private static void Run(string path, int[] batches, int tokens, int rounds)
    {
        LibtorchLoader.Register();
        var folder = ModelFolder.Open(path);
        using var model = folder.LoadModel(dtype: TorchSharp.torch.ScalarType.Float32);
        Console.WriteLine($"{folder.Description.Id}: {folder.Description.Parameters / 1e6:0.0} M parameters, float32, {Environment.ProcessorCount} processors");
        var context = ContextPacker.Pack([[.. folder.Tokenizer.Encode("What brings you here, stranger? 你从哪里来？")]], folder.Tokenizer.Special, folder.Config.MaxContext);

        foreach (var batch in batches)
        {
            using var runner = new TorchRunner(model, batch);
            var rows = Enumerable.Range(0, batch).ToArray();
            List<double> prefills = [], rates = [];
            for (var round = 0; round <= rounds; round++)
            {
                var start = Stopwatch.GetTimestamp();
                var next = Best(runner.Prefill([.. rows.Select(row => new PrefillItem(row, context, default))]), batch);
                var prefill = Stopwatch.GetElapsedTime(start);
                start = Stopwatch.GetTimestamp();
                for (var step = 0; step < tokens; step++) next = Best(runner.Decode(rows, next), batch);
                var decode = Stopwatch.GetElapsedTime(start);
                foreach (var row in rows) runner.Free(row);
                if (round == 0) continue;                                  // warms up
                prefills.Add(prefill.TotalMilliseconds);
                rates.Add(batch * tokens / decode.TotalSeconds);
            }
            Figures.PrintQuantiles($"prefill, batch {batch}", prefills, "ms");
            Figures.PrintQuantiles($"decode, batch {batch}", rates, "tokens/s");
        }
    }

    private static int[] Best(ReadOnlySpan<float> scores, int batch)
    {
        var width = scores.Length / batch;
        var best = new int[batch];
        for (var row = 0; row < batch; row++)
            best[row] = System.Numerics.Tensors.TensorPrimitives.IndexOfMax(scores.Slice(row * width, width));
        return best;
    }
}
