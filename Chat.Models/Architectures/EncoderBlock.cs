using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>Self-attention, then feed-forward.</summary>
public sealed class EncoderBlock : Module<Tensor, Tensor, Tensor>
{
    private readonly ModuleList<Module> layer;

    public EncoderBlock(EncoderDecoderConfig config, bool first, Device? device = null, ScalarType? dtype = null) : base(nameof(EncoderBlock))
    {
        layer = ModuleList<Module>(new SelfAttentionLayer(config, ownsTable: first, device, dtype), new FeedForwardLayer(config, device, dtype));
        RegisterComponents();
    }

    internal SelfAttentionLayer Attention => (SelfAttentionLayer)layer[0];
    private FeedForwardLayer FeedForward => (FeedForwardLayer)layer[1];

    /// <param name="x">[B S C]</param>
    /// <param name="bias">Broadcasts to [B H S S].</param>
    public override Tensor forward(Tensor x, Tensor bias) => FeedForward.call(Attention.call(x, bias, null));
}
