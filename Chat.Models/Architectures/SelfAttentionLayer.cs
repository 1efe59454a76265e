using Chat.Models.Modules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>x + SelfAttention(norm(x)).</summary>
public sealed class SelfAttentionLayer : Module<Tensor, Tensor, RowStep?, Tensor>
{
    private readonly Attention SelfAttention;
    private readonly RmsNorm layer_norm;
    private readonly Dropout dropout;

    public SelfAttentionLayer(EncoderDecoderConfig config, bool ownsTable, Device? device = null, ScalarType? dtype = null) : base(nameof(SelfAttentionLayer))
    {
        SelfAttention = new Attention(config.Width, config.Heads, config.HeadWidth, config.AttentionScale, ownsTable ? config.Buckets : null, device, dtype);
        layer_norm = new RmsNorm(config.Width, config.Epsilon, device, dtype);
        dropout = Dropout(config.Dropout);
        RegisterComponents();
    }

    /// <summary>The stack's table of relative positions; only its first block has it.</summary>
    public Embedding Table => SelfAttention.RelativeBias();

    /// <param name="x">[B T C]</param>
    /// <param name="bias">Broadcasts to [B H T S].</param>
    /// <param name="step">In cached decoding: takes the new tokens' keys and values and gives back those of the whole reply.</param>
    public override Tensor forward(Tensor x, Tensor bias, RowStep? step)
    {
        using var scope = NewDisposeScope();
        var normed = layer_norm.call(x);
        var (keys, values) = SelfAttention.Memorise(normed);
        if (step is not null) (keys, values) = step.Append(keys, values);
        return x.Plus(dropout.call(SelfAttention.Attend(normed, keys, values, bias))).MoveToOuterDisposeScope();
    }
}
