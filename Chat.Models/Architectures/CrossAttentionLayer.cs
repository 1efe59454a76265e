using Chat.Models.Modules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>x + CrossAttention(norm(x), context). The context is the encoder's output after its final norm, and is not normed again.</summary>
public sealed class CrossAttentionLayer : Module<Tensor, (Tensor Keys, Tensor Values), Tensor, Tensor>
{
    private readonly Attention EncDecAttention;
    private readonly RmsNorm layer_norm;
    private readonly Dropout dropout;

    public CrossAttentionLayer(EncoderDecoderConfig config, Device? device = null, ScalarType? dtype = null) : base(nameof(CrossAttentionLayer))
    {
        EncDecAttention = new Attention(config.Width, config.Heads, config.HeadWidth, config.AttentionScale, buckets: null, device, dtype);
        layer_norm = new RmsNorm(config.Width, config.Epsilon, device, dtype);
        dropout = Dropout(config.Dropout);
        RegisterComponents();
    }

    /// <summary>[B S C] → [B H S D], [B H S D]: once a context, however long the reply.</summary>
    public (Tensor Keys, Tensor Values) Memorise(Tensor context) => EncDecAttention.Memorise(context);

    /// <param name="x">[B T C]</param>
    /// <param name="context">What <see cref="Memorise"/> gave.</param>
    /// <param name="bias">Hides the context's pads; broadcasts to [B H T S].</param>
    public override Tensor forward(Tensor x, (Tensor Keys, Tensor Values) context, Tensor bias)
    {
        using var scope = NewDisposeScope();
        var answer = EncDecAttention.Attend(layer_norm.call(x), context.Keys, context.Values, bias);
        return x.Plus(dropout.call(answer)).MoveToOuterDisposeScope();
    }
}
