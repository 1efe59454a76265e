using System.CommandLine;
using System.Numerics.Tensors;
using System.Text.RegularExpressions;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using Chat.Models.Tokenizers;
using Chat.Training.Data;

namespace Chat.Benchmarks;

/// <summary>What a format of weights costs in quality: held-out replies fed token by token, as decoding does, to the model as it is and as the format makes it.</summary>
internal static class WeightQuality
{
    public static Command Command()
    {
        var folder = new Argument<string>("model") { Description = "A model folder whose card says what was held out." };
        var corpora = new Option<string[]>("--corpus") { Description = "Dialogue as gzipped JSON lines.", Required = true, AllowMultipleArgumentsPerToken = true };
        var samples = new Option<int>("--samples") { Description = "Replies a corpus, evenly spread.", DefaultValueFactory = _ => 200 };
        var runners = Runners.Option("exact", "int8", "int4");
        var command = new Command("quality", "Perplexity of held-out replies by format of weights, and how often the best token is another one.") { folder, corpora, samples, runners };
        command.SetAction(result => Run(result.GetValue(folder)!, result.GetValue(corpora)!, result.GetValue(samples), result.GetValue(runners)!));
        return command;
    }

    private static void Run(string path, string[] corpora, int samples, string[] names)
    {
        const int rows = 32;
        var folder = ModelFolder.Open(path);
        var heldOut = new Regex((string?)folder.Card["heldOut"] ?? throw new InvalidDataException($"{path}: the card has no 'heldOut'."), RegexOptions.CultureInvariant);
        (int[] Context, int[] Reply)[] pairs = [.. corpora.SelectMany(corpus => Spread([.. DocumentFile.Read(corpus).Where(d => heldOut.IsMatch(d.Scene)).SelectMany(d => Pairs(d, folder))], samples))];
        var runners = names.Select(name => Runners.Create(name, folder, rows, Team.Shared)).ToArray();
        var sums = names.Select(_ => new Sums()).ToArray();
        foreach (var chunk in pairs.Chunk(rows))
        {
            var given = runners.Select(runner => runner.Prefill([.. chunk.Select((pair, row) => new PrefillItem(row, pair.Context, default))]).ToArray()).ToArray();
            var live = Enumerable.Range(0, chunk.Length).ToArray();
            for (var t = 0; live.Length > 0; t++)
            {
                for (var i = 0; i < live.Length; i++)
                    for (var r = 0; r < runners.Length; r++) sums[r].Add(Row(given[r], i, live.Length), Row(given[0], i, live.Length), chunk[live[i]].Reply[t]);
                live = [.. live.Where(row => chunk[row].Reply.Length > t + 1)];
                if (live.Length > 0) given = [.. runners.Select(runner => runner.Decode(live, [.. live.Select(row => chunk[row].Reply[t])]).ToArray())];
            }
        }
        Console.WriteLine($"{folder.Description.Id}: {pairs.Length} held-out replies, {sums[0].Tokens} tokens");
        for (var r = 0; r < names.Length; r++)
        {
            Figures.Print($"{names[r]}: perplexity", Math.Exp(sums[r].Loss / sums[r].Tokens), "");
            if (r == 0) continue;
            Figures.Print($"{names[r]}: perplexity, change", 100 * (Math.Exp((sums[r].Loss - sums[0].Loss) / sums[r].Tokens) - 1), "%");
            Figures.Print($"{names[r]}: same best token", 100.0 * sums[r].Agreed / sums[r].Tokens, "%");
            Figures.Print($"{names[r]}: divergence from {names[0]}", 1000 * sums[r].Divergence / sums[r].Tokens, "millinats a token");
            runners[r].Dispose();
        }
    }

    private static ReadOnlySpan<float> Row(float[] scores, int row, int rows) => scores.AsSpan(row * (scores.Length / rows), scores.Length / rows);

    private static IEnumerable<T> Spread<T>(IReadOnlyList<T> all, int most) => all.Where((_, i) => i % Math.Max(1, all.Count / most) == 0).Take(most);

    private static IEnumerable<(int[] Context, int[] Reply)> Pairs(Document document, ModelFolder folder)
    {
        int[][] turns = [.. document.Turns.Select(turn => folder.Tokenizer.Encode(turn).ToArray())];
        foreach (var reply in document.Replies())
            if (turns[reply].Length < folder.Config.MaxReply)
                yield return (ContextPacker.Pack(turns[..reply], folder.Tokenizer.Special, folder.Config.MaxContext), [.. turns[reply], folder.Tokenizer.Special.Separator]);
    }

    private sealed class Sums
    {
        private double[] own = [], other = [];

        public long Tokens { get; private set; }
        public long Agreed { get; private set; }
        public double Loss { get; private set; }
        public double Divergence { get; private set; }

        /// <param name="first">The scores of the runner compared with.</param>
        public void Add(ReadOnlySpan<float> scores, ReadOnlySpan<float> first, int label)
        {
            LogProbabilities(scores, ref own);
            LogProbabilities(first, ref other);
            Tokens++;
            Loss -= own[label];
            if (TensorPrimitives.IndexOfMax(scores) == TensorPrimitives.IndexOfMax(first)) Agreed++;
            for (var i = 0; i < own.Length; i++) Divergence += Math.Exp(other[i]) * (other[i] - own[i]);
        }

        private static void LogProbabilities(ReadOnlySpan<float> scores, ref double[] target)
        {
            if (target.Length != scores.Length) target = new double[scores.Length];
            var greatest = TensorPrimitives.Max(scores);
            var sum = 0.0;
            foreach (var score in scores) sum += Math.Exp(score - greatest);
            var total = greatest + Math.Log(sum);
            for (var i = 0; i < target.Length; i++) target[i] = scores[i] - total;
        }
    }
}
