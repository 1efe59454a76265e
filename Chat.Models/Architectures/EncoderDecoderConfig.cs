using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;

namespace Chat.Models.Architectures;

/// <summary>
/// Sizes and switches of an EVA-style encoder-decoder; <c>config.json</c> in the reference's keys. Keys that the reference reads but does not
/// use (<c>feed_forward_proj</c>, <c>max_position_embeddings</c>, <c>use_scaled_init_for_output_weights</c>) are not read.
/// </summary>
public sealed record EncoderDecoderConfig
{
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
    public double Epsilon { get; init; } = 1e-6;
    /// <summary>Scores are divided by √HeadWidth: EVA2.0 yes, EVA1.0 and T5 no.</summary>
    public required bool AttentionScale { get; init; }
    /// <summary>Our key <c>gelu</c>, tanh or erf; the reference's two branches differ and have no key for it.</summary>
    public Gelu Gelu { get; init; } = Gelu.Tanh;
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
    public static EncoderDecoderConfig Read(ConfigFile file)
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
            Gelu = file.Choice("gelu", "tanh", "erf") == "erf" ? Gelu.Erf : Gelu.Tanh,
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

    /// <summary>The <c>config.json</c> that <see cref="Load"/> reads back to an equal record.</summary>
    public string ToJson() => new JsonObject
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
        ["gelu"] = Gelu == Gelu.Erf ? "erf" : "tanh",
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
    }.ToJsonString(Indented) + "\n";

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };
}
