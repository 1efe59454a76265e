using Chat.Models.Modules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>x + FeedForward(norm(x)).</summary>
public sealed class FeedForwardLayer : Module<Tensor, Tensor>
{
    private readonly GatedFeedForward DenseReluDense;       // the checkpoints' name; the function is gated in all but T5 1.0
    private readonly RmsNorm layer_norm;
    private readonly Dropout dropout;

    public FeedForwardLayer(EncoderDecoderConfig config, Device? device = null, ScalarType? dtype = null) : base(nameof(FeedForwardLayer))
    {
        DenseReluDense = new GatedFeedForward(config.Width, config.FeedForward, config.Activation, config.Gated, device, dtype);
        layer_norm = new RmsNorm(config.Width, config.Epsilon, device, dtype);
        dropout = Dropout(config.Dropout);
        RegisterComponents();
    }

    /// <param name="x">[B T C]</param>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return x.Plus(dropout.call(DenseReluDense.call(layer_norm.call(x)))).MoveToOuterDisposeScope();
    }
}
