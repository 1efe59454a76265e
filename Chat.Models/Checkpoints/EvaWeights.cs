using Chat.Models.Architectures;
using static TorchSharp.torch;

namespace Chat.Models.Checkpoints;

/// <summary>Weights of the encoder-decoder in and out of files: Hugging Face names with their aliases, or Megatron's fused ones.</summary>
public static class EvaWeights
{
    private const string Roles = "role_embeds.weight";

    /// <summary>Every weight a configuration needs, with its shape, in the model's order. Lazy: a huge layer count costs nothing until it is walked.</summary>
    public static IEnumerable<(string Name, long[] Shape)> Needed(EncoderDecoderConfig config)
    {
        long v = config.VocabularySize, d = config.Width, i = (long)config.Heads * config.HeadWidth;
        yield return ("shared.weight", [v, d]);
        if (config.Roles) yield return (Roles, [2, d]);
        foreach (var (stack, layers) in new[] { ("encoder", config.EncoderLayers), ("decoder", config.DecoderLayers) })
        {
            for (var n = 0; n < layers; n++)
            {
                var layer = 0;
                foreach (var attention in stack == "encoder" ? ["SelfAttention"] : new[] { "SelfAttention", "EncDecAttention" })
                {
                    var name = $"{stack}.block.{n}.layer.{layer++}";
                    foreach (var part in "qkv") yield return ($"{name}.{attention}.{part}.weight", [i, d]);
                    yield return ($"{name}.{attention}.o.weight", [d, i]);
                    if (n == 0 && attention == "SelfAttention") yield return ($"{name}.{attention}.relative_attention_bias.weight", [config.Buckets, config.Heads]);
                    yield return ($"{name}.layer_norm.weight", [d]);
                }
                foreach (var part in config.Gated ? ["wi_0", "wi_1"] : new[] { "wi" }) yield return ($"{stack}.block.{n}.layer.{layer}.DenseReluDense.{part}.weight", [config.FeedForward, d]);
                yield return ($"{stack}.block.{n}.layer.{layer}.DenseReluDense.wo.weight", [d, config.FeedForward]);
                yield return ($"{stack}.block.{n}.layer.{layer}.layer_norm.weight", [d]);
            }
            yield return ($"{stack}.final_layer_norm.weight", [d]);
        }
        if (!config.Tied) yield return ("lm_head.weight", [v, d]);
    }

    /// <summary>Checks that a checkpoint has all a configuration needs, from headers alone, and says where each weight lies.</summary>
    /// <returns>The configuration (without roles when the checkpoint has none) and its weights, looked up as they are walked.</returns>
    /// <exception cref="CheckpointException"><c>missing_tensor</c>, <c>shape_mismatch</c> or <c>bad_dtype</c>, while walking.</exception>
    public static (EncoderDecoderConfig Config, IEnumerable<StoredWeight> Weights) Locate(EncoderDecoderConfig config, Checkpoint checkpoint)
    {
        var megatron = checkpoint.Find(EvaNames.ToMegatron("shared.weight").Name) is not null;
        if (config.Roles && new[] { Roles }.Concat(EvaNames.Aliases(Roles)).All(name => checkpoint.Find(name) is null)) config = config with { Roles = false };
        return (config, Needed(config).Select(weight => StoredWeight.Find(checkpoint, weight.Name, weight.Shape, megatron
            ? [EvaNames.ToMegatron(weight.Name)]
            : [new StoredPart(weight.Name), .. EvaNames.Aliases(weight.Name).Select(alias => new StoredPart(alias))])));
    }

    /// <summary>Builds the model of a configuration with a checkpoint's weights. Types are converted to <paramref name="dtype"/>.</summary>
    /// <exception cref="CheckpointException">As <see cref="Locate"/>, or <c>non_finite</c>.</exception>
    public static EncoderDecoder Load(EncoderDecoderConfig config, Checkpoint checkpoint, Device? device = null, ScalarType? dtype = null)
    {
        (config, var weights) = Locate(config, checkpoint);
        var located = weights.ToDictionary(weight => weight.Name);
        var model = new EncoderDecoder(config, seed: null, device, dtype);
        TorchWeights.Fill(model, located, checkpoint);
        return model;
    }

    /// <summary>All weights, by the checkpoint's names.</summary>
    /// <param name="megatron">Megatron's fused names instead of Hugging Face's.</param>
    public static void Save(EncoderDecoder model, string path, bool megatron = false, ScalarType? dtype = null) =>
        TorchWeights.Save(model, path, name => megatron ? EvaNames.ToMegatron(name) : new StoredPart(name), dtype);
}
