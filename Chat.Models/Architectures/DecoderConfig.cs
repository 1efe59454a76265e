using Chat.Models.Modules;

namespace Chat.Models.Architectures;

/// <summary>Whose names of keys and weights a decoder has.</summary>
public enum DecoderFamily { Gpt2, Llama, Mistral, Qwen2, Qwen3 }

/// <summary>
/// Sizes and switches of a decoder-only model: all that tells the families apart, as values. Free of tensors, so that every runner reads the same record;
/// <see cref="Checkpoints.DecoderConfigFile"/> reads it from <c>config.json</c>.
/// </summary>
public sealed record DecoderConfig
{
    public required DecoderFamily Family { get; init; }
    public required int VocabularySize { get; init; }
    public required int Width { get; init; }
    public required int FeedForward { get; init; }
    public required int Layers { get; init; }
    public required int Heads { get; init; }
    /// <summary>Query head h reads key and value head h · KeyValueHeads / Heads (grouped queries, Ainslie et al., arXiv 2305.13245).</summary>
    public required int KeyValueHeads { get; init; }
    /// <summary>Heads · HeadWidth need not be Width.</summary>
    public required int HeadWidth { get; init; }
    /// <summary>Positions it was made for; with learned positions there are no others.</summary>
    public required int MaxPositions { get; init; }
    public required double Epsilon { get; init; }
    public required Activation Activation { get; init; }
    /// <summary>down(activation(gate) · up) rather than down(activation(up)).</summary>
    public required bool Gated { get; init; }
    /// <summary>LayerNorm with a bias rather than RMSNorm.</summary>
    public required bool LayerNorm { get; init; }
    /// <summary>Rotary positions; <c>null</c> means learned ones, added to the embeddings.</summary>
    public required RotaryConfig? Rotary { get; init; }
    /// <summary>The head is the table of words.</summary>
    public required bool Tied { get; init; }
    /// <summary>Biases of queries, keys and values; of attention's output; of the feed-forward layer.</summary>
    public bool AttentionBias { get; init; }
    public bool OutputBias { get; init; }
    public bool FeedForwardBias { get; init; }
    /// <summary>RMSNorm over each head of queries and keys before they are turned (Qwen3).</summary>
    public bool HeadNorms { get; init; }
    /// <summary>Scores are divided by √HeadWidth. GPT-2's configuration can switch it off.</summary>
    public bool AttentionScale { get; init; } = true;
    /// <summary>Scores of layer n are divided by n + 1 as well.</summary>
    public bool LayerScale { get; init; }
    /// <summary>In windowed layers a query sees this many keys, itself included (Mistral, arXiv 2310.06825).</summary>
    public int? Window { get; init; }
    /// <summary>The first windowed layer.</summary>
    public int WindowFrom { get; init; }
    /// <summary>Layer by layer whether it is windowed, where the configuration lists it; <see cref="WindowFrom"/> otherwise.</summary>
    public IReadOnlyList<bool>? WindowLayers { get; init; }
    /// <summary>Starts a text; none in families without such a token.</summary>
    public int? Start { get; init; }
    /// <summary>Tokens that end a reply.</summary>
    public IReadOnlyList<int> Ends { get; init; } = [];

    /// <summary>
    /// Tokens of a prompt and of a reply that are served. Both share the positions; beyond <see cref="LongestServed"/> memory for every row would cost more than such a length is worth here.
    /// </summary>
    public int MaxContext => Served - MaxReply;
    public int MaxReply => Math.Min(1024, Served / 2);
    public const int LongestServed = 4096;
    private int Served => Math.Min(MaxPositions, LongestServed);

    /// <summary>Checks that so many tokens of a row have positions: learned ones and those of <see cref="DynamicScaling"/> end, others go on.</summary>
    /// <exception cref="ArgumentException">They have not.</exception>
    public void CheckRoom(int tokens)
    {
        if (Rotary is null or { Scaling: DynamicScaling } && tokens > MaxPositions) throw new ArgumentException($"{tokens} tokens are asked for; the model has {MaxPositions} positions.");
    }

    /// <summary>Width of all query heads, and of all key heads.</summary>
    public int QueryWidth => Heads * HeadWidth;
    public int KeyValueWidth => KeyValueHeads * HeadWidth;

    /// <summary>Keys that a query of the layer sees, or <c>null</c> for all before it.</summary>
    public int? WindowOf(int layer) => WindowLayers?[layer] ?? layer >= WindowFrom ? Window : null;

    /// <summary>What the layer's scores are multiplied by.</summary>
    public double ScoreFactor(int layer) => (AttentionScale ? 1 / Math.Sqrt(HeadWidth) : 1) / (LayerScale ? layer + 1 : 1);
}
