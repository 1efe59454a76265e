using Chat.Models.Architectures;
using static TorchSharp.torch;

namespace Chat.Models.Checkpoints;

/// <summary>
/// The weights of decoder-only models: what a configuration needs, and where a checkpoint holds it. Our names are Llama's; GPT-2 has names of its own, stores [in, out],
/// and keeps queries, keys and values in one tensor. Only loading and saving touch tensors.
/// </summary>
public static class DecoderWeights
{
    /// <summary>Every weight a configuration needs, with its shape, in the model's order. Lazy: a huge layer count costs nothing until it is walked.</summary>
    public static IEnumerable<(string Name, long[] Shape)> Needed(DecoderConfig config)
    {
        long v = config.VocabularySize, c = config.Width, f = config.FeedForward, i = config.QueryWidth, k = config.KeyValueWidth;
        yield return ("model.embed_tokens.weight", [v, c]);
        if (config.Rotary is null) yield return ("model.embed_positions.weight", [config.MaxPositions, c]);
        for (var n = 0; n < config.Layers; n++)
        {
            var layer = $"model.layers.{n}";
            foreach (var weight in Norm($"{layer}.input_layernorm", c)) yield return weight;
            foreach (var weight in Linear($"{layer}.self_attn.q_proj", i, c, config.AttentionBias)) yield return weight;
            foreach (var weight in Linear($"{layer}.self_attn.k_proj", k, c, config.AttentionBias)) yield return weight;
            foreach (var weight in Linear($"{layer}.self_attn.v_proj", k, c, config.AttentionBias)) yield return weight;
            foreach (var weight in Linear($"{layer}.self_attn.o_proj", c, i, config.OutputBias)) yield return weight;
            if (config.HeadNorms)
            {
                yield return ($"{layer}.self_attn.q_norm.weight", [config.HeadWidth]);
                yield return ($"{layer}.self_attn.k_norm.weight", [config.HeadWidth]);
            }
            foreach (var weight in Norm($"{layer}.post_attention_layernorm", c)) yield return weight;
            if (config.Gated)
                foreach (var weight in Linear($"{layer}.mlp.gate_proj", f, c, config.FeedForwardBias)) yield return weight;
            foreach (var weight in Linear($"{layer}.mlp.up_proj", f, c, config.FeedForwardBias)) yield return weight;
            foreach (var weight in Linear($"{layer}.mlp.down_proj", c, f, config.FeedForwardBias)) yield return weight;
        }
        foreach (var weight in Norm("model.norm", c)) yield return weight;
        if (!config.Tied) yield return ("lm_head.weight", [v, c]);

        IEnumerable<(string, long[])> Norm(string name, long width)
        {
            yield return ($"{name}.weight", [width]);
            if (config.LayerNorm) yield return ($"{name}.bias", [width]);
        }

        static IEnumerable<(string, long[])> Linear(string name, long rows, long columns, bool bias)
        {
            yield return ($"{name}.weight", [rows, columns]);
            if (bias) yield return ($"{name}.bias", [rows]);
        }
    }

    /// <summary>Weights of a configuration, aliases not counted twice.</summary>
    public static long ParameterCount(DecoderConfig config) => Needed(config).Sum(weight => weight.Shape.Aggregate(1L, (product, dim) => product * dim));

    /// <summary>Checks that a checkpoint has all a configuration needs, from headers alone. A bias that is stored is used, whether or not the configuration speaks of it.</summary>
    /// <returns>The configuration, with the biases that are there, and its weights. The weights are looked up as they are walked.</returns>
    /// <exception cref="CheckpointException"><c>missing_tensor</c>, <c>shape_mismatch</c> or <c>bad_dtype</c>, while walking.</exception>
    public static (DecoderConfig Config, IEnumerable<StoredWeight> Weights) Locate(DecoderConfig config, Checkpoint checkpoint)
    {
        bool Stored(string name) => Places(config, name).Any(place => checkpoint.Find(place.Name) is not null);
        config = config with
        {
            AttentionBias = config.AttentionBias || Stored("model.layers.0.self_attn.q_proj.bias"),
            OutputBias = config.OutputBias || Stored("model.layers.0.self_attn.o_proj.bias"),
            FeedForwardBias = config.FeedForwardBias || Stored("model.layers.0.mlp.down_proj.bias"),
        };
        return (config, Needed(config).Select(weight => StoredWeight.Find(checkpoint, weight.Name, weight.Shape, Places(config, weight.Name))));
    }

    /// <summary>The model of a configuration with a checkpoint's weights, in evaluation mode. Types are converted to <paramref name="dtype"/>.</summary>
    /// <exception cref="CheckpointException">As <see cref="Locate"/>, or <c>non_finite</c>.</exception>
    public static Decoder Load(DecoderConfig config, Checkpoint checkpoint, Device? device = null, ScalarType? dtype = null)
    {
        (config, var weights) = Locate(config, checkpoint);
        var located = weights.ToDictionary(weight => weight.Name);          // before anything of the claimed size is made
        var model = new Decoder(config, seed: null, device, dtype);
        TorchWeights.Fill(model, located, checkpoint);
        return model;
    }

    /// <summary>All weights, under the names and in the layout of the family.</summary>
    public static void Save(Decoder model, string path, ScalarType? dtype = null) => TorchWeights.Save(model, path, name => Places(model.Config, name)[0], dtype);

    /// <summary>Where a file of the family stores one of our weights; files of the bare model have the same names without the first part.</summary>
    public static StoredPart[] Places(DecoderConfig config, string name)
    {
        if (config.Family == DecoderFamily.Gpt2)
        {
            if (name == "lm_head.weight") return [new(name)];
            var place = Gpt2(name);
            return [place with { Name = $"transformer.{place.Name}" }, place];
        }
        return name.StartsWith("model.", StringComparison.Ordinal) ? [new(name), new(name["model.".Length..])] : [new(name)];
    }

    private static StoredPart Gpt2(string name)
    {
        if (name == "model.embed_tokens.weight") return new("wte.weight");
        if (name == "model.embed_positions.weight") return new("wpe.weight");
        if (name.StartsWith("model.norm.", StringComparison.Ordinal)) return new($"ln_f.{name["model.norm.".Length..]}");
        var parts = name.Split('.');                                    // model layers n … kind
        var (layer, part, kind) = ($"h.{parts[2]}", string.Join('.', parts[3..^1]), parts[^1]);
        return part switch
        {
            "input_layernorm" => new($"{layer}.ln_1.{kind}"),
            "post_attention_layernorm" => new($"{layer}.ln_2.{kind}"),
            "self_attn.q_proj" => Linear("attn.c_attn", 0, 3),
            "self_attn.k_proj" => Linear("attn.c_attn", 1, 3),
            "self_attn.v_proj" => Linear("attn.c_attn", 2, 3),
            "self_attn.o_proj" => Linear("attn.c_proj"),
            "mlp.up_proj" => Linear("mlp.c_fc"),
            "mlp.down_proj" => Linear("mlp.c_proj"),
            _ => throw new ArgumentException($"GPT-2 has no weight '{name}'."),
        };

        StoredPart Linear(string stored, int at = 0, int of = 1) => new($"{layer}.{stored}.{kind}", at, of, Transposed: kind == "weight");
    }
}
