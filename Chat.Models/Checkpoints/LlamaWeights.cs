namespace Chat.Models.Checkpoints;

/// <summary>The weights of a Llama model by its configuration.</summary>
public static class LlamaWeights
{
    /// <exception cref="CheckpointException"><c>bad_config</c> for sizes that cannot be, <c>unsupported</c> for an unknown kind of rotary positions.</exception>
    public static IEnumerable<(string Name, long[] Shape)> Needed(ConfigFile config)
    {
        int vocabulary = config.Size("vocab_size"), width = config.Size("hidden_size"), inner = config.Size("intermediate_size"), layers = config.Size("num_hidden_layers");
        int heads = config.Size("num_attention_heads"), sharedHeads = config.Size("num_key_value_heads", heads);
        if (!config.Has("head_dim") && width % heads != 0) throw config.Bad("num_attention_heads", $"= {heads} does not divide hidden_size = {width}");
        if (heads % sharedHeads != 0) throw config.Bad("num_key_value_heads", $"= {sharedHeads} does not divide num_attention_heads = {heads}");
        var headWidth = config.Size("head_dim", Math.Max(width / heads, 1));
        if (headWidth % 2 != 0) throw config.Bad("head_dim", $"= {headWidth} is odd: rotary positions turn pairs");
        config.Number("rms_norm_eps", 1e-6, least: 0, most: 1);
        CheckRotary(config);
        var tied = config.Flag("tie_word_embeddings", false);
        bool attentionBias = config.Flag("attention_bias", false), mlpBias = config.Flag("mlp_bias", false);
        return Weights();

        IEnumerable<(string, long[])> Weights()
        {
            yield return ("model.embed_tokens.weight", [vocabulary, width]);
            for (var n = 0; n < layers; n++)
            {
                var layer = $"model.layers.{n}";
                yield return ($"{layer}.input_layernorm.weight", [width]);
                foreach (var (name, rows, columns) in new (string, long, long)[]
                {
                    ("q_proj", heads * (long)headWidth, width), ("k_proj", sharedHeads * (long)headWidth, width),
                    ("v_proj", sharedHeads * (long)headWidth, width), ("o_proj", width, heads * (long)headWidth),
                })
                {
                    yield return ($"{layer}.self_attn.{name}.weight", [rows, columns]);
                    if (attentionBias) yield return ($"{layer}.self_attn.{name}.bias", [rows]);
                }
                yield return ($"{layer}.post_attention_layernorm.weight", [width]);
                foreach (var (name, rows, columns) in new (string, long, long)[] { ("gate_proj", inner, width), ("up_proj", inner, width), ("down_proj", width, inner) })
                {
                    yield return ($"{layer}.mlp.{name}.weight", [rows, columns]);
                    if (mlpBias) yield return ($"{layer}.mlp.{name}.bias", [rows]);
                }
            }
            yield return ("model.norm.weight", [width]);
            if (!tied) yield return ("lm_head.weight", [vocabulary, width]);
        }
    }

    private static void CheckRotary(ConfigFile config)
    {
        foreach (var key in new[] { "rope_scaling", "rope_parameters" })
        {
            if (config.Section(key) is not { } rotary) continue;
            var kind = rotary.Text("rope_type") ?? rotary.Text("type") ?? "default";
            if (kind is not ("default" or "llama3")) throw new CheckpointException(CheckpointErrors.Unsupported, $"{key}: rotary positions of type '{kind}' are not known. Known: default, llama3.");
        }
        config.Number("rope_theta", 10_000, least: 1, most: 1e12);
    }
}
