using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;

namespace Chat.Models.Architectures;

/// <summary>Sizes of a BERT-shaped encoder; <c>config.json</c> in Hugging Face's keys. Free of tensors.</summary>
public sealed record EncoderConfig
{
    public required int VocabularySize { get; init; }
    public required int Width { get; init; }
    public required int FeedForward { get; init; }
    public required int Layers { get; init; }
    public required int Heads { get; init; }
    /// <summary>Learned positions: there are no others.</summary>
    public required int MaxPositions { get; init; }
    public int TokenTypes { get; init; } = 2;
    public double Epsilon { get; init; } = 1e-12;
    public Activation Activation { get; init; } = Activation.GeluErf;
    public int Pad { get; init; }
    /// <summary>Whether there is tanh(dense(first position)). Heads of other tasks go without.</summary>
    public bool Pooler { get; init; } = true;
    /// <summary>Rows of a classifier's head, over the pooled vector or over each state; 0 without one.</summary>
    public int Labels { get; init; }

    /// <exception cref="CheckpointException"><c>bad_config</c> or <c>unsupported</c>; the message names the key.</exception>
    public static EncoderConfig Read(ConfigFile file)
    {
        int width = file.Size("hidden_size"), heads = file.Size("num_attention_heads"), vocabulary = file.Size("vocab_size");
        if (width % heads != 0) throw file.Bad("num_attention_heads", $"= {heads} does not divide hidden_size = {width}");
        if (file.Text("position_embedding_type") is { } kind and not "absolute") throw file.Unsupported("position_embedding_type", kind, "absolute");
        return new EncoderConfig
        {
            VocabularySize = vocabulary,
            Width = width,
            FeedForward = file.Size("intermediate_size"),
            Layers = file.Size("num_hidden_layers"),
            Heads = heads,
            MaxPositions = file.Size("max_position_embeddings", 512),
            TokenTypes = file.Size("type_vocab_size", 2),
            Epsilon = file.Number("layer_norm_eps", 1e-12, least: 0, most: 1),
            Activation = DecoderConfigFile.ActivationOf(file, "hidden_act", "gelu"),
            Pad = file.Token("pad_token_id", 0, vocabulary),
        };
    }

    /// <summary>The names of a classifier's labels, as <c>id2label</c> has them; without it <c>LABEL_0</c> and so on, as Hugging Face calls them.</summary>
    /// <param name="labels">Rows of the classifier.</param>
    /// <exception cref="CheckpointException"><c>bad_config</c>: other labels than the classifier has.</exception>
    public static IReadOnlyList<string> LabelNames(ConfigFile file, int labels)
    {
        if (labels == 0 || file.Section("id2label") is not { } names) return [.. Enumerable.Range(0, labels).Select(label => $"LABEL_{label}")];
        if (names.Has($"{labels}")) throw file.Bad("id2label", $"names more than the {labels} labels of the classifier");
        return [.. Enumerable.Range(0, labels).Select(label => names.Text($"{label}") ?? throw file.Bad("id2label", $"has no name for label {label} of {labels}"))];
    }

    /// <summary>The <c>config.json</c> that <see cref="Read"/> reads back to an equal record, but for <see cref="Pooler"/> and <see cref="Labels"/>, which the weights tell.</summary>
    public string ToJson() => new JsonObject
    {
        ["architectures"] = new JsonArray("BertModel"),
        ["model_type"] = "bert",
        ["vocab_size"] = VocabularySize,
        ["hidden_size"] = Width,
        ["intermediate_size"] = FeedForward,
        ["num_hidden_layers"] = Layers,
        ["num_attention_heads"] = Heads,
        ["max_position_embeddings"] = MaxPositions,
        ["type_vocab_size"] = TokenTypes,
        ["layer_norm_eps"] = Epsilon,
        ["hidden_act"] = DecoderConfigFile.NameOf(Activation),
        ["pad_token_id"] = Pad,
        ["position_embedding_type"] = "absolute",
    }.ToJsonString(Indented) + "\n";

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };
}
