using Chat.Models.Libtorch;
using Chat.Models.Modules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>
/// Decoder-only models: GPT-2 (Radford et al., 2019), Llama (arXiv 2302.13971, 2407.21783), Mistral (arXiv 2310.06825), Qwen2 (arXiv 2407.10671), Qwen3 (arXiv 2505.09388).
/// One forward pass for all; what differs stands in <see cref="DecoderConfig"/>. Parameter names are Llama's, whatever the family.
/// </summary>
public sealed class Decoder : Module
{
    private readonly Stack model;
    private readonly Linear? lm_head;

    /// <summary>A model with fresh weights drawn from <paramref name="seed"/>, or of no meaning until loaded when it is <c>null</c>.</summary>
    public Decoder(DecoderConfig config, ulong? seed = null, Device? device = null, ScalarType? dtype = null) : base(nameof(Decoder))
    {
        LibtorchLoader.Require();
        Config = config;
        model = new Stack(config, device, dtype);
        lm_head = config.Tied ? null : Linear(config.Width, config.VocabularySize, hasBias: false, device, dtype);
        RegisterComponents();
        if (seed is { } drawn) Initialise(drawn);
    }

    public DecoderConfig Config { get; }

    /// <summary>Where the weights are, and in what type they are.</summary>
    public Device WeightDevice => model.Words.weight!.device;
    public ScalarType WeightType => model.Words.weight!.dtype;

    /// <summary>Scores whole texts; a pad on the right cannot reach an earlier position.</summary>
    /// <param name="ids">[n T] token ids (int64).</param>
    /// <param name="firstPosition">Position of each row's first token.</param>
    /// <returns>[n T V] logits of each position's next token, in the weights' type.</returns>
    public Tensor Forward(Tensor ids, int firstPosition = 0)
    {
        using var scope = NewDisposeScope();
        var rows = (int)ids.shape[0];
        return Score(Run(ids, new int[rows], (int)ids.shape[1], firstPosition, step: null)).MoveToOuterDisposeScope();
    }

    /// <summary>Feeds <c>counts[i]</c> tokens to row <c>rows[i]</c> of a cache: one each in plain decoding, several to read a prompt or to verify a draft. Call without gradients.</summary>
    /// <param name="ids">[n T] new tokens, padded on the right.</param>
    /// <returns>[n T C] what <see cref="Score"/> takes; that of pads holds no meaning.</returns>
    public Tensor Advance(KeyValueRows cache, ReadOnlySpan<int> rows, Tensor ids, ReadOnlySpan<int> counts, int firstPosition = 0)
    {
        using var scope = NewDisposeScope();
        var step = cache.Next(rows, counts, (int)ids.shape[1]);
        var hidden = Run(ids, step.Starts, step.Length, firstPosition, step);
        cache.Commit(step);
        return hidden.MoveToOuterDisposeScope();
    }

    /// <summary>As <see cref="Advance"/>, with the logits behind each new token. [n T V]</summary>
    public Tensor Step(KeyValueRows cache, ReadOnlySpan<int> rows, Tensor ids, ReadOnlySpan<int> counts, int firstPosition = 0)
    {
        using var scope = NewDisposeScope();
        return Score(Advance(cache, rows, ids, counts, firstPosition)).MoveToOuterDisposeScope();
    }

    /// <summary>[… C] → [… V]: the head alone, so that a long prompt pays for its last position only.</summary>
    public Tensor Score(Tensor hidden) => lm_head is not null ? lm_head.call(hidden) : functional.linear(hidden, model.Words.weight!);

    /// <summary>Room for rows under way.</summary>
    public KeyValueRows Cache(int rows, int maxLength) => new(Config.Layers, Config.KeyValueHeads, Config.HeadWidth, rows, maxLength, WeightDevice, WeightType);

    private Tensor Run(Tensor ids, int[] starts, int length, int firstPosition, RowStep? step)
    {
        int[] positions = [.. starts.Select(start => start + firstPosition)];
        var targets = (int)ids.shape[1];
        var rotary = Config.Rotary is not { } turns ? null : new RotaryPositions(turns.Frequencies(Config.HeadWidth, firstPosition + length), positions, targets, turns.AttentionFactor, WeightDevice);
        var biases = new Dictionary<int, Tensor>();
        return model.forward(ids, positions, rotary, layer => biases.TryGetValue(Config.WindowOf(layer) ?? 0, out var bias) ? bias
            : biases[Config.WindowOf(layer) ?? 0] = Bias(starts, targets, length, Config.WindowOf(layer)), step);
    }

    /// <summary>Hides the keys behind each query, and those too far before it. [n 1 T S]</summary>
    private Tensor Bias(int[] starts, int targets, int sources, int? window)
    {
        var hidden = new float[starts.Length * targets * sources];
        for (var row = 0; row < starts.Length; row++)
            for (var t = 0; t < targets; t++)
            {
                var keys = hidden.AsSpan((row * targets + t) * sources, sources);
                var query = starts[row] + t;
                keys[Math.Min(query + 1, sources)..].Fill(RelativePositions.Hidden);
                if (window is { } seen) keys[..Math.Clamp(query + 1 - seen, 0, sources)].Fill(RelativePositions.Hidden);
            }
        return tensor(hidden, [starts.Length, 1, targets, sources], dtype: WeightType, device: WeightDevice);
    }

    private void Initialise(ulong seed)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        using var generator = new Generator(seed, CPU);
        foreach (var (name, weight) in named_parameters())
        {
            if (name.EndsWith(".bias", StringComparison.Ordinal)) weight.zero_();
            else if (!name.Contains("norm", StringComparison.Ordinal)) weight.copy_(empty(weight.shape, ScalarType.Float32).normal_(0, 0.02, generator));
        }
    }

    /// <summary>Embeddings, blocks and the final norm.</summary>
    private sealed class Stack : Module
    {
        private readonly Embedding embed_tokens;
        private readonly Embedding? embed_positions;
        private readonly ModuleList<Block> layers;
        private readonly Module<Tensor, Tensor> norm;

        public Stack(DecoderConfig config, Device? device, ScalarType? dtype) : base(nameof(Stack))
        {
            embed_tokens = Embedding(config.VocabularySize, config.Width, device: device, dtype: dtype);
            embed_positions = config.Rotary is null ? Embedding(config.MaxPositions, config.Width, device: device, dtype: dtype) : null;
            layers = ModuleList([.. Enumerable.Range(0, config.Layers).Select(n => new Block(config, n, device, dtype))]);
            norm = Norm(config, device, dtype);
            RegisterComponents();
        }

        public Embedding Words => embed_tokens;

        public Tensor forward(Tensor ids, int[] positions, RotaryPositions? rotary, Func<int, Tensor> bias, RowStep? step)
        {
            using var scope = NewDisposeScope();
            var x = embed_tokens.call(ids);                             // [n T C]
            if (embed_positions is not null) x = x.Plus(embed_positions.call(Places(positions, (int)ids.shape[1], ids.device)));
            for (var n = 0; n < layers.Count; n++)
            {
                if (step is not null) step.Layer = n;
                x = layers[n].forward(x, rotary, bias(n), step);
            }
            return norm.call(x).MoveToOuterDisposeScope();
        }

        /// <summary>[n T]. A row's pads may stand beyond the last position: they take that one, and nobody looks at them.</summary>
        private Tensor Places(int[] starts, int targets, Device device)
        {
            var last = embed_positions!.weight!.shape[0] - 1;
            return tensor([.. starts.SelectMany(start => Enumerable.Range(start, targets).Select(position => Math.Min(position, last)))], [starts.Length, targets], device: device);
        }
    }

    /// <summary>x + attention(norm x), then x + feed-forward(norm x).</summary>
    private sealed class Block : Module
    {
        private readonly Module<Tensor, Tensor> input_layernorm, post_attention_layernorm;
        private readonly GroupedAttention self_attn;
        private readonly FeedForward mlp;

        public Block(DecoderConfig config, int layer, Device? device, ScalarType? dtype) : base(nameof(Block))
        {
            input_layernorm = Norm(config, device, dtype);
            self_attn = new GroupedAttention(config, layer, device, dtype);
            post_attention_layernorm = Norm(config, device, dtype);
            mlp = new FeedForward(config.Width, config.FeedForward, config.Activation, config.Gated, config.FeedForwardBias, device, dtype);
            RegisterComponents();
        }

        public Tensor forward(Tensor x, RotaryPositions? rotary, Tensor bias, RowStep? step)
        {
            using var scope = NewDisposeScope();
            x = x.Plus(self_attn.forward(input_layernorm.call(x), rotary, bias, step));
            return x.Plus(mlp.call(post_attention_layernorm.call(x))).MoveToOuterDisposeScope();
        }
    }

    private static Module<Tensor, Tensor> Norm(DecoderConfig config, Device? device, ScalarType? dtype) =>
        config.LayerNorm ? LayerNorm(config.Width, config.Epsilon, device: device, dtype: dtype) : new RmsNorm(config.Width, config.Epsilon, device, dtype);
}
