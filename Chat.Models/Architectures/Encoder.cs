using Chat.Models.Libtorch;
using Chat.Models.Modules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>
/// BERT-shaped encoders (Devlin et al., arXiv 1810.04805), MiniLM among them (arXiv 2002.10957): read a text in both directions, norm behind each sum. With mean pooling they embed
/// sentences (arXiv 1908.10084). Parameter names are the Hugging Face checkpoint's.
/// </summary>
public sealed class Encoder : Module
{
    private readonly Words embeddings;
    private readonly Blocks encoder;
    private readonly First? pooler;
    private readonly Linear? classifier;

    /// <summary>A model with fresh weights drawn from <paramref name="seed"/>, or of no meaning until loaded when it is <c>null</c>.</summary>
    public Encoder(EncoderConfig config, ulong? seed = null, Device? device = null, ScalarType? dtype = null) : base(nameof(Encoder))
    {
        LibtorchLoader.Require();
        Config = config;
        embeddings = new Words(config, device, dtype);
        encoder = new Blocks(config, device, dtype);
        pooler = config.Pooler ? new First(config, device, dtype) : null;
        classifier = config.Labels > 0 ? Linear(config.Width, config.Labels, hasBias: true, device, dtype) : null;
        RegisterComponents();
        if (seed is { } drawn) Initialise(drawn);
    }

    public EncoderConfig Config { get; }

    /// <summary>The hidden states behind the embeddings and behind each layer, the last one last. [n S C] each.</summary>
    /// <param name="ids">[n S] token ids (int64), padded on the right.</param>
    /// <param name="mask">[n S], 1 where a real token stands, any type.</param>
    /// <param name="types">[n S] token types (int64), or <c>null</c> for all 0.</param>
    public Tensor[] States(Tensor ids, Tensor mask, Tensor? types = null)
    {
        using var scope = NewDisposeScope();
        var x = embeddings.forward(ids, types);
        var bias = RelativePositions.Padding(mask, x.dtype);            // [n 1 1 S]
        List<Tensor> states = [x.MoveToOuterDisposeScope()];
        foreach (var block in encoder) states.Add((x = block.call(x, bias)).MoveToOuterDisposeScope());
        return [.. states];
    }

    /// <summary>The last hidden states alone. [n S C]</summary>
    public Tensor Forward(Tensor ids, Tensor mask, Tensor? types = null)
    {
        using var scope = NewDisposeScope();
        return States(ids, mask, types)[^1].MoveToOuterDisposeScope();
    }

    /// <summary>tanh(dense(first position)). [n S C] → [n C]</summary>
    /// <exception cref="InvalidOperationException">The model has no pooler.</exception>
    public Tensor Pool(Tensor last) => (pooler ?? throw new InvalidOperationException("This model has no pooler.")).call(last);

    /// <summary>The labels' scores before softmax, of pooled vectors or of states. [… C] → [… labels]</summary>
    /// <exception cref="InvalidOperationException">The model has no labels.</exception>
    public Tensor Classify(Tensor vectors) => (classifier ?? throw new InvalidOperationException("This model has no classifier.")).call(vectors);

    /// <summary>A sentence's direction: the mean over its real tokens, of length 1. [n S C], [n S] → [n C]</summary>
    public static Tensor Embed(Tensor last, Tensor mask)
    {
        using var scope = NewDisposeScope();
        var real = mask.to_type(last.dtype).unsqueeze(-1);                                                          // [n S 1]
        var mean = (last * real).sum(1) / real.sum(1).AtLeast(1e-9);
        return functional.normalize(mean, dim: -1, eps: 1e-12).MoveToOuterDisposeScope();
    }

    private void Initialise(ulong seed)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        using var generator = new Generator(seed, CPU);
        foreach (var (name, weight) in named_parameters())
        {
            if (name.EndsWith(".bias", StringComparison.Ordinal)) weight.zero_();
            else if (!name.Contains("LayerNorm", StringComparison.Ordinal)) weight.copy_(empty(weight.shape, ScalarType.Float32).normal_(0, 0.02, generator));
        }
    }

    /// <summary>norm(word + position + type).</summary>
    private sealed class Words : Module
    {
        private readonly Embedding word_embeddings, position_embeddings, token_type_embeddings;
        private readonly TorchSharp.Modules.LayerNorm LayerNorm;

        public Words(EncoderConfig config, Device? device, ScalarType? dtype) : base(nameof(Words))
        {
            word_embeddings = Embedding(config.VocabularySize, config.Width, device: device, dtype: dtype);
            position_embeddings = Embedding(config.MaxPositions, config.Width, device: device, dtype: dtype);
            token_type_embeddings = Embedding(config.TokenTypes, config.Width, device: device, dtype: dtype);
            LayerNorm = nn.LayerNorm(config.Width, config.Epsilon, device: device, dtype: dtype);
            RegisterComponents();
        }

        /// <summary>Pads may stand beyond the last position: they take that one, and nobody looks at them.</summary>
        public Tensor forward(Tensor ids, Tensor? types)
        {
            using var scope = NewDisposeScope();
            var last = position_embeddings.weight!.shape[0] - 1;
            var positions = tensor([.. Enumerable.Range(0, (int)ids.shape[1]).Select(i => Math.Min(i, last))], device: ids.device);
            return LayerNorm.call(word_embeddings.call(ids).Plus(position_embeddings.call(positions)).Plus(token_type_embeddings.call(types ?? zeros_like(ids)))).MoveToOuterDisposeScope();
        }
    }

    /// <summary>The checkpoint's level «encoder.layer».</summary>
    private sealed class Blocks : Module
    {
        private readonly ModuleList<Block> layer;

        public Blocks(EncoderConfig config, Device? device, ScalarType? dtype) : base(nameof(Blocks))
        {
            layer = ModuleList([.. Enumerable.Range(0, config.Layers).Select(_ => new Block(config, device, dtype))]);
            RegisterComponents();
        }

        public IEnumerator<Block> GetEnumerator() => layer.GetEnumerator();
    }

    /// <summary>norm(x + attention(x)), then norm(x + dense(activation(dense x))).</summary>
    private sealed class Block : Module<Tensor, Tensor, Tensor>
    {
        private readonly BothWays attention;
        private readonly Dense intermediate;
        private readonly Sum output;
        private readonly Activation activation;

        public Block(EncoderConfig config, Device? device, ScalarType? dtype) : base(nameof(Block))
        {
            activation = config.Activation;
            attention = new BothWays(config, device, dtype);
            intermediate = new Dense(config.Width, config.FeedForward, device, dtype);
            output = new Sum(config.FeedForward, config, device, dtype);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x, Tensor bias)
        {
            using var scope = NewDisposeScope();
            x = attention.call(x, bias);
            return output.call(activation.Call(intermediate.call(x)), x).MoveToOuterDisposeScope();
        }
    }

    /// <summary>Self-attention over all real tokens, with biases.</summary>
    private sealed class BothWays : Module<Tensor, Tensor, Tensor>
    {
        private readonly Heads self;
        private readonly Sum output;

        public BothWays(EncoderConfig config, Device? device, ScalarType? dtype) : base(nameof(BothWays))
        {
            self = new Heads(config, device, dtype);
            output = new Sum(config.Width, config, device, dtype);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x, Tensor bias)
        {
            using var scope = NewDisposeScope();
            return output.call(self.call(x, bias), x).MoveToOuterDisposeScope();
        }
    }

    private sealed class Heads : Module<Tensor, Tensor, Tensor>
    {
        private readonly long heads;
        private readonly Linear query, key, value;

        public Heads(EncoderConfig config, Device? device, ScalarType? dtype) : base(nameof(Heads))
        {
            heads = config.Heads;
            query = Linear(config.Width, config.Width, hasBias: true, device, dtype);
            key = Linear(config.Width, config.Width, hasBias: true, device, dtype);
            value = Linear(config.Width, config.Width, hasBias: true, device, dtype);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x, Tensor bias)
        {
            using var scope = NewDisposeScope();
            return functional.scaled_dot_product_attention(query.call(x).SplitHeads(heads), key.call(x).SplitHeads(heads), value.call(x).SplitHeads(heads), bias).MergeHeads().MoveToOuterDisposeScope();
        }
    }

    /// <summary>The checkpoint's level «intermediate.dense».</summary>
    private sealed class Dense : Module<Tensor, Tensor>
    {
        private readonly Linear dense;

        public Dense(long from, long to, Device? device, ScalarType? dtype) : base(nameof(Dense))
        {
            dense = Linear(from, to, hasBias: true, device, dtype);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => dense.call(x);
    }

    /// <summary>norm(x + dense(branch)).</summary>
    private sealed class Sum : Module<Tensor, Tensor, Tensor>
    {
        private readonly Linear dense;
        private readonly TorchSharp.Modules.LayerNorm LayerNorm;

        public Sum(long from, EncoderConfig config, Device? device, ScalarType? dtype) : base(nameof(Sum))
        {
            dense = Linear(from, config.Width, hasBias: true, device, dtype);
            LayerNorm = nn.LayerNorm(config.Width, config.Epsilon, device: device, dtype: dtype);
            RegisterComponents();
        }

        public override Tensor forward(Tensor branch, Tensor x)
        {
            using var scope = NewDisposeScope();
            return LayerNorm.call(x.Plus(dense.call(branch))).MoveToOuterDisposeScope();
        }
    }

    private sealed class First : Module<Tensor, Tensor>
    {
        private readonly Linear dense;

        public First(EncoderConfig config, Device? device, ScalarType? dtype) : base(nameof(First))
        {
            dense = Linear(config.Width, config.Width, hasBias: true, device, dtype);
            RegisterComponents();
        }

        /// <param name="x">[n S C]</param>
        public override Tensor forward(Tensor x)
        {
            using var scope = NewDisposeScope();
            return dense.call(x.select(1, 0)).tanh().MoveToOuterDisposeScope();
        }
    }
}
