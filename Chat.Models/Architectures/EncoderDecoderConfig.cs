using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;

namespace Chat.Models.Architectures;

/// <summary>Whose keys and defaults an encoder-decoder's <c>config.json</c> has.</summary>
public enum EncoderDecoderFamily { Eva, T5 }

/// <summary>
/// Sizes and switches of an encoder-decoder with relative positions, EVA's or T5's; <c>config.json</c> in the reference's keys. Keys that EVA's reference reads but does
/// not use (<c>feed_forward_proj</c>, <c>max_position_embeddings</c>, <c>use_scaled_init_for_output_weights</c>) are not read. Free of tensors.
/// </summary>
public sealed record EncoderDecoderConfig
{
    public EncoderDecoderFamily Family { get; init; }
    public required int VocabularySize { get; init; }
    /// <summary>d_model.</summary>
    public required int Width { get; init; }
    /// <summary>d_ff.</summary>
    public required int FeedForward { get; init; }
    public required int Heads { get; init; }
    /// <summary>d_kv. Heads · HeadWidth need not be Width.</summary>
    public int HeadWidth { get; init; } = 64;
    public required int EncoderLayers { get; init; }
    public required int DecoderLayers { get; init; }
    public int Buckets { get; init; } = 32;
    /// <summary>Beyond this distance all keys share a bucket.</summary>
    public int MaxDistance { get; init; } = RelativePositions.MaxDistance;
    public double Epsilon { get; init; } = 1e-6;
    /// <summary>Scores are divided by √HeadWidth: EVA2.0 yes, EVA1.0 and T5 no.</summary>
    public required bool AttentionScale { get; init; }
    /// <summary>For EVA our key <c>gelu</c>, tanh or erf; the reference's two branches differ and have no key for it.</summary>
    public Activation Activation { get; init; } = Activation.GeluTanh;
    /// <summary>wo(activation(wi_0 x) · wi_1 x) rather than T5 1.0's wo(activation(wi x)).</summary>
    public bool Gated { get; init; } = true;
    /// <summary>The head is the table of words, and what it reads is divided by √Width (T5 1.0).</summary>
    public bool Tied { get; init; }
    public double Dropout { get; init; }
    /// <summary>Standard deviation of fresh linear weights and of the head; embeddings have 0.02.</summary>
    public double InitialDeviation { get; init; } = 0.001;
    /// <summary>Whether there is a table of the two roles. Released checkpoints have none.</summary>
    public bool Roles { get; init; } = true;
    public int Pad { get; init; } = 5;
    /// <summary>Ends an utterance and a reply.</summary>
    public int Separator { get; init; } = 4;
    /// <summary>Ends the encoder's input and starts the decoder's.</summary>
    public int Start { get; init; }
    /// <summary>Our keys: tokens it was trained to read and write; relative positions set no limit of their own.</summary>
    public int MaxContext { get; init; } = 128;
    public int MaxReply { get; init; } = 128;

    /// <exception cref="CheckpointException"><c>missing_file</c> or <c>bad_config</c>.</exception>
    public static EncoderDecoderConfig Load(string path) => Read(ConfigFile.Load(path));

    /// <exception cref="CheckpointException"><c>bad_config</c>: a key is absent, of the wrong type, or impossible; the message names it.</exception>
    public static EncoderDecoderConfig Read(ConfigFile file) => (file.Has("model_type") || file.Has("architectures")) && ModelFamilies.Of(file) == ModelFamilies.T5 ? ReadT5(file) : ReadEva(file);

    private static EncoderDecoderConfig ReadEva(ConfigFile file)
    {
        int layers = file.Size("num_layers"), vocabulary = file.Size("vocab_size");
        return new EncoderDecoderConfig
        {
            VocabularySize = vocabulary,
            Width = file.Size("d_model"),
            FeedForward = file.Size("d_ff"),
            Heads = file.Size("num_heads"),
            HeadWidth = file.Size("d_kv", 64),
            EncoderLayers = layers,
            // null means symmetric; an absent key means the reference's class default.
            DecoderLayers = file.IsNull("num_decoder_layers") ? layers : file.Size("num_decoder_layers", 12),
            Buckets = file.Size("relative_attention_num_buckets", 32, least: 4),
            Epsilon = file.Number("layer_norm_epsilon", 1e-6, least: 0, most: 1),
            AttentionScale = file.Flag("attn_scale", false),
            Activation = file.Choice("gelu", "tanh", "erf") == "erf" ? Activation.GeluErf : Activation.GeluTanh,
            Dropout = file.Number("dropout_rate", 0.1, least: 0, most: 0.9),
            InitialDeviation = file.Number("init_method_std", 0.001, least: 0, most: 1),
            Roles = file.Flag("role_embeddings", true),
            Pad = file.Token("pad_token_id", 5, vocabulary),
            Separator = file.Token("eos_token_id", 4, vocabulary),
            Start = file.Token("decoder_start_token_id", file.Token("bos_token_id", 0, vocabulary), vocabulary),
            MaxContext = file.Size("max_encoder_length", 128),
            MaxReply = file.Size("max_decoder_length", 128),
        };
    }

    private static EncoderDecoderConfig ReadT5(ConfigFile file)
    {
        int layers = file.Size("num_layers"), vocabulary = file.Size("vocab_size"), positions = file.Size("n_positions", 512), buckets = file.Size("relative_attention_num_buckets", 32, least: 4);
        var (activation, gated) = (file.Text("feed_forward_proj") ?? "relu") switch
        {
            "gated-gelu" => (Activation.GeluTanh, true),
            "gated-silu" => (Activation.Silu, true),
            "gated-relu" => (Activation.Relu, true),
            "gelu" => (Activation.GeluErf, false),
            "relu" => (Activation.Relu, false),
            var other => throw file.Unsupported("feed_forward_proj", other, "gated-gelu, gated-silu, gated-relu, gelu, relu"),
        };
        return new EncoderDecoderConfig
        {
            Family = EncoderDecoderFamily.T5,
            VocabularySize = vocabulary,
            Width = file.Size("d_model"),
            FeedForward = file.Size("d_ff"),
            Heads = file.Size("num_heads"),
            HeadWidth = file.Size("d_kv", 64),
            EncoderLayers = layers,
            DecoderLayers = file.Size("num_decoder_layers", layers),
            Buckets = buckets,
            // Half the decoder's buckets hold one distance each; the others share what lies beyond.
            MaxDistance = file.Size("relative_attention_max_distance", 128, least: buckets / 2 + 1),
            Epsilon = file.Number("layer_norm_epsilon", 1e-6, least: 0, most: 1),
            AttentionScale = false,
            Activation = activation,
            Gated = gated,
            Tied = file.Flag("tie_word_embeddings", true),
            Dropout = file.Number("dropout_rate", 0.1, least: 0, most: 0.9),
            InitialDeviation = 0.05,
            Roles = false,
            Pad = file.Token("pad_token_id", 0, vocabulary),
            Separator = file.Token("eos_token_id", 1, vocabulary),
            Start = file.Token("decoder_start_token_id", file.Token("pad_token_id", 0, vocabulary), vocabulary),
            MaxContext = positions,
            MaxReply = positions,
        };
    }

    /// <summary>The <c>config.json</c> that <see cref="Load"/> reads back to an equal record.</summary>
    public string ToJson() => (Family == EncoderDecoderFamily.T5 ? T5Json() : EvaJson()).ToJsonString(Indented) + "\n";

    private JsonObject T5Json() => new()
    {
        ["architectures"] = new JsonArray("T5ForConditionalGeneration"),
        ["model_type"] = "t5",
        ["vocab_size"] = VocabularySize,
        ["d_model"] = Width,
        ["d_ff"] = FeedForward,
        ["d_kv"] = HeadWidth,
        ["num_heads"] = Heads,
        ["num_layers"] = EncoderLayers,
        ["num_decoder_layers"] = DecoderLayers,
        ["relative_attention_num_buckets"] = Buckets,
        ["relative_attention_max_distance"] = MaxDistance,
        ["layer_norm_epsilon"] = Epsilon,
        ["feed_forward_proj"] = (Activation, Gated) switch
        {
            (Activation.GeluTanh, true) => "gated-gelu",
            (Activation.Silu, true) => "gated-silu",
            (Activation.Relu, true) => "gated-relu",
            (Activation.GeluErf, false) => "gelu",
            (Activation.Relu, false) => "relu",
            var other => throw new InvalidOperationException($"T5 has no name for the feed-forward layer {other}."),
        },
        ["tie_word_embeddings"] = Tied,
        ["dropout_rate"] = Dropout,
        ["is_encoder_decoder"] = true,
        ["pad_token_id"] = Pad,
        ["eos_token_id"] = Separator,
        ["decoder_start_token_id"] = Start,
        ["n_positions"] = MaxContext,
    };

    private JsonObject EvaJson() => new()
    {
        ["architectures"] = new JsonArray("EVAModel"),
        ["model_type"] = "eva",
        ["vocab_size"] = VocabularySize,
        ["d_model"] = Width,
        ["d_ff"] = FeedForward,
        ["d_kv"] = HeadWidth,
        ["num_heads"] = Heads,
        ["num_layers"] = EncoderLayers,
        ["num_decoder_layers"] = DecoderLayers,
        ["relative_attention_num_buckets"] = Buckets,
        ["layer_norm_epsilon"] = Epsilon,
        ["attn_scale"] = AttentionScale,
        ["gelu"] = Activation == Activation.GeluErf ? "erf" : "tanh",
        ["dropout_rate"] = Dropout,
        ["init_method_std"] = InitialDeviation,
        ["role_embeddings"] = Roles,
        ["is_encoder_decoder"] = true,
        ["tie_word_embeddings"] = false,
        ["pad_token_id"] = Pad,
        ["eos_token_id"] = Separator,
        ["bos_token_id"] = Start,
        ["decoder_start_token_id"] = Start,
        ["max_encoder_length"] = MaxContext,
        ["max_decoder_length"] = MaxReply,
    };

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };
}
