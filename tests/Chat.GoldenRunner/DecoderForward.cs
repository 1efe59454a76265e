using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.GoldenRunner;

/// <summary>Forward passes, losses, cached steps and greedy continuations of decoder-only models.</summary>
internal static class DecoderForward
{
    public static JsonNode Run(Arguments arguments, DecoderConfig config, JsonNode input)
    {
        using var checkpoint = Checkpoint.OpenFolder(arguments.Model);
        using var model = DecoderWeights.Load(config, checkpoint);
        return Cases.Run(input, one =>
        {
            using var gradients = no_grad();
            using var scope = NewDisposeScope();
            var batch = new Batch(model, one);
            var answer = new JsonObject();
            foreach (var want in one["want"]!.AsArray().Select(node => (string)node!)) answer[want] = batch.Answer(want);
            return answer;
        });
    }

    /// <summary>The rows of a case as one padded batch.</summary>
    private sealed class Batch
    {
        private readonly Decoder model;
        private readonly int[][] rows;
        private readonly Tensor ids;
        private readonly int position, count;
        private readonly int[]? listed;

        public Batch(Decoder model, JsonObject one)
        {
            this.model = model;
            rows = one["ids"].Rows();
            position = (int?)one["position_start"] ?? 0;
            count = (int?)one["greedy_new"] ?? 0;
            listed = one["logit_rows"]?.Ints();
            ids = Rows.Padded(rows, 0, (int?)one["pad_extra"] ?? 0);
        }

        private int[] Lengths => Rows.Lengths(rows);
        private int Longest => (int)ids.shape[1];
        private int[] All => [.. Enumerable.Range(0, rows.Length)];
        private int[] Ones => [.. rows.Select(_ => 1)];

        public JsonNode Answer(string want)
        {
            using var scope = NewDisposeScope();
            return want switch
            {
                "logits" => Rows.Valid(model.Forward(ids, position), Lengths, listed),
                "step_logits" => Rows.Valid(Steps(), Lengths, listed),
                "loss" => Cases.Number(Losses.TokenMean(model.Forward(ids, position), Labels()).item<float>()),
                "loss_rows" => Cases.Numbers(Rows.Floats(Losses.SampleMeans(model.Forward(ids, position), Labels())).ToArray()),
                "greedy_ids" => Greedy(),
                _ => throw new ArgumentException($"Unknown result '{want}'. Known: logits, step_logits, loss, loss_rows, greedy_ids."),
            };
        }

        private Tensor Labels() => Rows.Padded([.. rows.Select(row => row.Skip(1).ToArray())], (int)Losses.Ignored, Longest - Lengths.Max() + 1);

        /// <summary>One token at a time through the cache. [B T V]</summary>
        private Tensor Steps()
        {
            using var cache = model.Cache(rows.Length, Longest);
            return cat([.. Enumerable.Range(0, Longest).Select(t => model.Step(cache, All, ids.narrow(1, t, 1), Ones, position))], 1);
        }

        private JsonArray Greedy()
        {
            using var cache = model.Cache(rows.Length, Longest + count);
            var read = model.Advance(cache, All, ids, Lengths, position);
            var last = tensor([.. Lengths.Select((length, row) => (long)row * Longest + length - 1)]);
            return Rows.Greedy(model.Score(read.flatten(0, 1).index_select(0, last)), count, chosen => model.Step(cache, All, chosen, Ones, position));
        }
    }
}
