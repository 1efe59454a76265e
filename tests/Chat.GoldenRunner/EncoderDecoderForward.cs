using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.GoldenRunner;

/// <summary>Forward passes, losses, gradients, cached steps and greedy replies of EVA and T5.</summary>
internal static class EncoderDecoderForward
{
    public static JsonNode Run(Arguments arguments, JsonNode input)
    {
        var config = EncoderDecoderConfig.Load(Path.Combine(arguments.Model, ModelFolder.ConfigFileName));
        using var checkpoint = arguments.Weights switch
        {
            null => Checkpoint.OpenFolder(arguments.Model),
            "megatron" => Checkpoint.OpenFile(Path.Combine(arguments.Model, "megatron.safetensors")),
            var other => throw new ArgumentException($"Unknown --weights '{other}'. Known: megatron."),
        };
        using var model = EvaWeights.Load(config, checkpoint);
        using var erf = EvaWeights.Load(config with { Activation = Activation.GeluErf }, checkpoint);
        return Cases.Run(input, one =>
        {
            using var scope = NewDisposeScope();
            var batch = new Batch(one, config);
            var answer = new JsonObject();
            foreach (var want in one["want"]!.AsArray().Select(node => (string)node!)) answer[want] = Answer(want, model, erf, batch);
            return answer;
        });
    }

    private static JsonNode Answer(string want, EncoderDecoder model, EncoderDecoder erf, Batch batch)
    {
        using var scope = NewDisposeScope();
        if (want == "gradients") return Gradients(model, batch);
        using var gradients = no_grad();
        return want switch
        {
            "enc_out" => Rows.Valid(model.Encode(batch.Encoder, batch.Mask, batch.EncoderRoles), batch.EncoderLengths, batch.EncoderRows),
            "logits" => Rows.Valid(batch.Logits(model), batch.DecoderLengths, batch.LogitRows),
            "logits_erf_gelu" => Rows.Valid(batch.Logits(erf), batch.DecoderLengths, batch.LogitRows),
            "step_logits" => Rows.Valid(Steps(model, batch), batch.DecoderLengths, batch.LogitRows),
            // EVA reports the mean of the rows' means, T5 the mean over all labels.
            "loss" when model.Config.Family == EncoderDecoderFamily.T5 => Cases.Number(Losses.TokenMean(batch.Logits(model), batch.Labels).item<float>()),
            "loss" => Cases.Number(Losses.SampleMean(batch.Logits(model), batch.Labels).item<float>()),
            "loss_batch" or "loss_rows" => Cases.Numbers(Rows.Floats(Losses.SampleMeans(batch.Logits(model), batch.Labels)).ToArray()),
            "loss_token_mean" => Cases.Number(Losses.TokenMean(batch.Logits(model), batch.Labels).item<float>()),
            "greedy_ids" => Greedy(model, batch),
            _ => throw new ArgumentException($"Unknown result '{want}'. Known: enc_out, logits, logits_erf_gelu, step_logits, loss, loss_batch, loss_rows, loss_token_mean, greedy_ids, gradients."),
        };
    }

    /// <summary>One token at a time through the cache. [B T V]</summary>
    private static Tensor Steps(EncoderDecoder model, Batch batch)
    {
        var (rows, width) = (batch.Count, (int)batch.Decoder.shape[1]);
        using var cache = new DecoderCache(model.Config, rows, (int)batch.Encoder.shape[1], width);
        int[] all = [.. Enumerable.Range(0, rows)], ones = [.. all.Select(_ => 1)];
        model.Begin(cache, all, batch.Encoder, batch.EncoderLengths, batch.EncoderRoles);
        return cat([.. Enumerable.Range(0, width).Select(t => model.Step(cache, all, batch.Decoder.narrow(1, t, 1), ones, batch.DecoderRoles?.narrow(1, t, 1)))], 1);
    }

    private static JsonArray Greedy(EncoderDecoder model, Batch batch)
    {
        using var cache = new DecoderCache(model.Config, batch.Count, (int)batch.Encoder.shape[1], batch.NewTokens + 1);
        int[] all = [.. Enumerable.Range(0, batch.Count)], ones = [.. all.Select(_ => 1)];
        model.Begin(cache, all, batch.Encoder, batch.EncoderLengths, batch.EncoderRoles);
        Tensor Step(Tensor ids) => model.Step(cache, all, ids, ones);
        return Rows.Greedy(Step(full([batch.Count, 1], model.Config.Start, ScalarType.Int64)).squeeze(1), batch.NewTokens, Step);
    }

    private static JsonObject Gradients(EncoderDecoder model, Batch batch)
    {
        model.zero_grad();
        Losses.SampleMean(batch.Logits(model), batch.Labels).backward();
        var answer = new JsonObject();
        foreach (var (name, weight) in model.named_parameters())
        {
            if (weight.grad is not { } gradient) continue;
            var values = Rows.Floats(gradient).ToArray();
            answer[name] = new JsonObject
            {
                ["l2"] = Math.Sqrt(values.Sum(value => (double)value * value)),
                ["sum"] = values.Sum(value => (double)value),
                ["first"] = Cases.Numbers(values.Take(4)),
            };
        }
        model.zero_grad();
        return answer;
    }

    /// <summary>The rows of a case as one padded batch.</summary>
    private sealed class Batch
    {
        public Batch(JsonObject one, EncoderDecoderConfig config)
        {
            var (encoder, decoder, labels) = (one["enc_ids"].Rows(), one["dec_ids"].Rows(), one["labels"].Rows());
            (EncoderLengths, DecoderLengths) = (Rows.Lengths(encoder), Rows.Lengths(decoder));
            var (extraEncoder, extraDecoder) = ((int?)one["pad_extra_enc"] ?? 0, (int?)one["pad_extra_dec"] ?? 0);
            Encoder = Rows.Padded(encoder, config.Pad, extraEncoder);
            Decoder = Rows.Padded(decoder, config.Pad, extraDecoder);
            Labels = Rows.Padded(labels, (int)Losses.Ignored, (int)Decoder.shape[1] - Rows.Lengths(labels).Max());
            Mask = Rows.Padded([.. encoder.Select(row => row.Select(_ => 1).ToArray())], 0, extraEncoder);
            EncoderRoles = one["enc_role_ids"] is { } roles ? Rows.Padded(roles.Rows(), 0, extraEncoder) : null;
            DecoderRoles = one["dec_role_ids"] is { } replyRoles ? Rows.Padded(replyRoles.Rows(), 0, extraDecoder) : null;
            EncoderRows = one["enc_rows"]?.Ints();
            LogitRows = one["logit_rows"]?.Ints();
            NewTokens = (int?)one["greedy_new"] ?? 0;
        }

        public Tensor Encoder { get; }
        public Tensor Decoder { get; }
        public Tensor Labels { get; }
        public Tensor Mask { get; }
        public Tensor? EncoderRoles { get; }
        public Tensor? DecoderRoles { get; }
        public int[] EncoderLengths { get; }
        public int[] DecoderLengths { get; }
        public int[]? EncoderRows { get; }
        public int[]? LogitRows { get; }
        public int NewTokens { get; }
        public int Count => EncoderLengths.Length;

        public Tensor Logits(EncoderDecoder model) => model.Forward(Encoder, Mask, Decoder, EncoderRoles, DecoderRoles);
    }
}
