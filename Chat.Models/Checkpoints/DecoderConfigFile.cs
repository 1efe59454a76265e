using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Architectures;
using Chat.Models.Modules;

namespace Chat.Models.Checkpoints;

/// <summary>Hugging Face's <c>config.json</c> of GPT-2, Llama, Mistral, Qwen2 and Qwen3, in and out. Keys that change nothing in a forward pass are not read.</summary>
public static class DecoderConfigFile
{
    private const int WindowByDefault = 4096;

    /// <summary>The families by their <c>model_type</c>.</summary>
    public static IReadOnlyDictionary<string, DecoderFamily> Families { get; } = new Dictionary<string, DecoderFamily>
    {
        ["gpt2"] = DecoderFamily.Gpt2,
        ["llama"] = DecoderFamily.Llama,
        ["mistral"] = DecoderFamily.Mistral,
        ["qwen2"] = DecoderFamily.Qwen2,
        ["qwen3"] = DecoderFamily.Qwen3,
    };

    /// <exception cref="CheckpointException"><c>bad_config</c> for what cannot be, <c>unsupported</c> for an activation or kind of rotary positions that is not known.</exception>
    public static DecoderConfig Read(ConfigFile file, DecoderFamily family) => family == DecoderFamily.Gpt2 ? ReadGpt2(file) : ReadRotary(file, family);

    private static DecoderConfig ReadGpt2(ConfigFile file)
    {
        int width = file.Size("n_embd"), heads = file.Size("n_head"), vocabulary = file.Size("vocab_size");
        if (width % heads != 0) throw file.Bad("n_head", $"= {heads} does not divide n_embd = {width}");
        return new DecoderConfig
        {
            Family = DecoderFamily.Gpt2,
            VocabularySize = vocabulary,
            Width = width,
            FeedForward = file.Size("n_inner", checked(4 * width)),
            Layers = file.Size("n_layer"),
            Heads = heads,
            KeyValueHeads = heads,
            HeadWidth = width / heads,
            MaxPositions = file.Size("n_positions", file.Size("n_ctx", 1024)),
            Epsilon = file.Number("layer_norm_epsilon", 1e-5, least: 0, most: 1),
            Activation = ActivationOf(file, "activation_function", "gelu_new"),
            Gated = false,
            LayerNorm = true,
            Rotary = null,
            Tied = file.Flag("tie_word_embeddings", true),
            AttentionBias = true,
            OutputBias = true,
            FeedForwardBias = true,
            AttentionScale = file.Flag("scale_attn_weights", true),
            LayerScale = file.Flag("scale_attn_by_inverse_layer_idx", false),
            Start = file.KnownTokens("bos_token_id", vocabulary).Cast<int?>().FirstOrDefault(),
            Ends = file.KnownTokens("eos_token_id", vocabulary),
        };
    }

    private static DecoderConfig ReadRotary(ConfigFile file, DecoderFamily family)
    {
        int width = file.Size("hidden_size"), heads = file.Size("num_attention_heads"), keyHeads = file.Size("num_key_value_heads", heads), vocabulary = file.Size("vocab_size"), layers = file.Size("num_hidden_layers");
        if (!file.Has("head_dim") && width % heads != 0) throw file.Bad("num_attention_heads", $"= {heads} does not divide hidden_size = {width}");
        if (heads % keyHeads != 0) throw file.Bad("num_key_value_heads", $"= {keyHeads} does not divide num_attention_heads = {heads}");
        var headWidth = file.Size("head_dim", family == DecoderFamily.Qwen3 ? 128 : width / heads);
        if (headWidth % 2 != 0) throw file.Bad("head_dim", $"= {headWidth} is odd: rotary positions turn pairs");
        if ((long)heads * headWidth > 1 << 20) throw file.Bad("head_dim", $"= {headWidth} makes {heads} heads wider than any model's");
        var qwen = family is DecoderFamily.Qwen2 or DecoderFamily.Qwen3;
        var windowed = family == DecoderFamily.Mistral || (qwen && file.Flag("use_sliding_window", false));
        return new DecoderConfig
        {
            Family = family,
            VocabularySize = vocabulary,
            Width = width,
            FeedForward = file.Size("intermediate_size"),
            Layers = layers,
            Heads = heads,
            KeyValueHeads = keyHeads,
            HeadWidth = headWidth,
            MaxPositions = file.Size("max_position_embeddings", DefaultPositions(family)),
            Epsilon = file.Number("rms_norm_eps", 1e-6, least: 0, most: 1),
            Activation = ActivationOf(file, "hidden_act", "silu"),
            Gated = true,
            LayerNorm = false,
            Rotary = Rotary(file, headWidth, file.Size("max_position_embeddings", DefaultPositions(family))),
            Tied = file.Flag("tie_word_embeddings", false),
            AttentionBias = family == DecoderFamily.Qwen2 || file.Flag("attention_bias", false),
            OutputBias = family != DecoderFamily.Qwen2 && file.Flag("attention_bias", false),
            FeedForwardBias = file.Flag("mlp_bias", false),
            HeadNorms = family == DecoderFamily.Qwen3,
            // Mistral's null means none; Qwen's window counts only where it is switched on, and in the upper layers.
            Window = !windowed || file.IsNull("sliding_window") ? null : file.Size("sliding_window", WindowByDefault),
            WindowFrom = qwen && windowed ? file.Size("max_window_layers", 28, least: 0) : 0,
            WindowLayers = qwen && windowed ? LayerTypes(file, layers) : null,
            Start = file.KnownTokens("bos_token_id", vocabulary).Cast<int?>().FirstOrDefault(),
            Ends = file.KnownTokens("eos_token_id", vocabulary),
        };
    }

    private static IReadOnlyList<bool>? LayerTypes(ConfigFile file, int layers)
    {
        if (file.Texts("layer_types") is not { } types) return null;
        if (types.Count != layers) throw file.Bad("layer_types", $"lists {types.Count} layers of num_hidden_layers = {layers}");
        return [.. types.Select(type => type switch
        {
            "sliding_attention" => true,
            "full_attention" => false,
            _ => throw file.Unsupported("layer_types", type, "full_attention, sliding_attention"),
        })];
    }

    private static int DefaultPositions(DecoderFamily family) => family == DecoderFamily.Llama ? 2048 : 32_768;

    private static RotaryConfig Rotary(ConfigFile file, int headWidth, int positions)
    {
        ConfigFile? old = file.Section("rope_scaling"), parameters = file.Section("rope_parameters");
        var theta = file.Has("rope_theta") || parameters is null ? file.Number("rope_theta", 10_000, least: 1, most: 1e12) : parameters.Number("rope_theta", 10_000, least: 1, most: 1e12);
        RotaryScaling? scaling = null;
        foreach (var section in new[] { parameters, old })
        {
            if (section is null) continue;
            var kind = section.Text("rope_type") ?? section.Text("type") ?? "default";
            if (section.Number("partial_rotary_factor", 1, least: 0, most: 1) != 1) throw section.Unsupported("partial_rotary_factor", "below 1", "1");
            if (section.Has("full_attention") || section.Has("sliding_attention")) throw section.Unsupported("rope_parameters", "one for each kind of layer", "one for all");
            scaling = kind switch
            {
                "default" => scaling,
                "linear" => new LinearScaling(Factor(section)),
                "dynamic" => headWidth > 2 ? new DynamicScaling(section.Number("factor", absent: null, least: 1, most: 1e6), positions) : throw section.Bad("rope_type", "= dynamic needs heads wider than 2"),
                "yarn" => Yarn(section, theta, positions),
                "llama3" => Llama3(section),
                _ => throw section.Unsupported("rope_type", kind, "default, linear, dynamic, yarn, llama3"),
            };
        }
        return new RotaryConfig(theta, scaling);
    }

    private static double Factor(ConfigFile section) => section.Number("factor", absent: null, least: 1e-6, most: 1e6);

    private static YarnScaling Yarn(ConfigFile section, double theta, int positions)
    {
        if (theta <= 1) throw section.Bad("rope_theta", $"= {theta} must be above 1 for yarn");
        var original = section.Size("original_max_position_embeddings", positions);
        // Without a factor the ratio of the lengths is meant; where both are there and differ, Hugging Face takes the factor too.
        var factor = section.Number("factor", (double)positions / original, least: 1e-6, most: 1e6);
        double Positive(string key, double absent) => section.Number(key, absent, least: 0, most: 1e6) is var number && number > 0 ? number : absent;          // 0 means absent there
        return new(factor, original, Positive("beta_fast", 32), Positive("beta_slow", 1), section.Flag("truncate", true),
            section.Number("attention_factor", YarnScaling.SharpeningOf(factor, section.Number("mscale", 0, least: 0, most: 1e6), section.Number("mscale_all_dim", 0, least: 0, most: 1e6)), least: 1e-6, most: 1e6));
    }

    private static Llama3Scaling Llama3(ConfigFile section)
    {
        double low = section.Number("low_freq_factor", absent: null, least: 1e-6, most: 1e6), high = section.Number("high_freq_factor", absent: null, least: 1e-6, most: 1e6);
        if (high <= low) throw section.Bad("high_freq_factor", $"= {high} must be above low_freq_factor = {low}");
        return new Llama3Scaling(Factor(section), low, high, section.Size("original_max_position_embeddings"));
    }

    internal static Activation ActivationOf(ConfigFile file, string key, string absent) => (file.Text(key) ?? absent) switch
    {
        "gelu_new" or "gelu_pytorch_tanh" or "gelu_fast" => Activation.GeluTanh,
        "gelu" => Activation.GeluErf,
        "silu" or "swish" => Activation.Silu,
        "relu" => Activation.Relu,
        var other => throw file.Unsupported(key, other, "gelu, gelu_new, gelu_pytorch_tanh, relu, silu"),
    };

    /// <summary>The <c>config.json</c> that <see cref="Read"/> reads back to the same values, in the keys of the family.</summary>
    public static string ToJson(DecoderConfig config)
    {
        var json = config.Family == DecoderFamily.Gpt2 ? Gpt2Json(config) : RotaryJson(config);
        if (config.Start is { } start) json["bos_token_id"] = start;
        if (config.Ends.Count > 0) json["eos_token_id"] = config.Ends.Count == 1 ? config.Ends[0] : new JsonArray([.. config.Ends.Select(id => (JsonNode)id)]);
        return json.ToJsonString(Indented) + "\n";
    }

    private static JsonObject Gpt2Json(DecoderConfig config) => new()
    {
        ["architectures"] = new JsonArray("GPT2LMHeadModel"),
        ["model_type"] = "gpt2",
        ["vocab_size"] = config.VocabularySize,
        ["n_embd"] = config.Width,
        ["n_inner"] = config.FeedForward,
        ["n_layer"] = config.Layers,
        ["n_head"] = config.Heads,
        ["n_positions"] = config.MaxPositions,
        ["n_ctx"] = config.MaxPositions,
        ["layer_norm_epsilon"] = config.Epsilon,
        ["activation_function"] = NameOf(config.Activation),
        ["tie_word_embeddings"] = config.Tied,
        ["scale_attn_weights"] = config.AttentionScale,
        ["scale_attn_by_inverse_layer_idx"] = config.LayerScale,
    };

    private static JsonObject RotaryJson(DecoderConfig config)
    {
        var rotary = config.Rotary ?? throw new ArgumentException($"A model of the family {config.Family} has rotary positions.");
        var family = Families.Single(pair => pair.Value == config.Family).Key;
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray($"{config.Family}ForCausalLM"),
            ["model_type"] = family,
            ["vocab_size"] = config.VocabularySize,
            ["hidden_size"] = config.Width,
            ["intermediate_size"] = config.FeedForward,
            ["num_hidden_layers"] = config.Layers,
            ["num_attention_heads"] = config.Heads,
            ["num_key_value_heads"] = config.KeyValueHeads,
            ["head_dim"] = config.HeadWidth,
            ["max_position_embeddings"] = config.MaxPositions,
            ["rms_norm_eps"] = config.Epsilon,
            ["hidden_act"] = NameOf(config.Activation),
            ["rope_theta"] = rotary.Theta,
            ["tie_word_embeddings"] = config.Tied,
            ["attention_bias"] = config.AttentionBias,
            ["mlp_bias"] = config.FeedForwardBias,
            ["sliding_window"] = config.Window,
        };
        if (rotary.Scaling is { } scaling) json["rope_scaling"] = ScalingJson(scaling);
        if (config.Window is null || config.Family == DecoderFamily.Mistral) return json;
        json["use_sliding_window"] = true;
        json["max_window_layers"] = config.WindowFrom;
        if (config.WindowLayers is { } layers) json["layer_types"] = new JsonArray([.. layers.Select(sliding => (JsonNode)(sliding ? "sliding_attention" : "full_attention"))]);
        return json;
    }

    private static JsonObject ScalingJson(RotaryScaling scaling) => scaling switch
    {
        LinearScaling linear => new() { ["rope_type"] = "linear", ["factor"] = linear.Factor },
        DynamicScaling dynamic => new() { ["rope_type"] = "dynamic", ["factor"] = dynamic.Factor },
        YarnScaling yarn => new()
        {
            ["rope_type"] = "yarn",
            ["factor"] = yarn.Factor,
            ["original_max_position_embeddings"] = (int)yarn.OriginalPositions,
            ["beta_fast"] = yarn.Often,
            ["beta_slow"] = yarn.Seldom,
            ["truncate"] = yarn.WholePairs,
            ["attention_factor"] = yarn.Sharpening,
        },
        Llama3Scaling llama3 => new()
        {
            ["rope_type"] = "llama3",
            ["factor"] = llama3.Factor,
            ["low_freq_factor"] = llama3.LowFrequencyFactor,
            ["high_freq_factor"] = llama3.HighFrequencyFactor,
            ["original_max_position_embeddings"] = (int)llama3.OriginalPositions,
        },
        _ => throw new ArgumentException($"config.json has no name for {scaling.GetType().Name}."),
    };

    internal static string NameOf(Activation activation) => activation switch
    {
        Activation.GeluTanh => "gelu_new",
        Activation.GeluErf => "gelu",
        Activation.Silu => "silu",
        _ => "relu",
    };

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };
}
