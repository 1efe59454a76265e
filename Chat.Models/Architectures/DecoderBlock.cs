using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>Self-attention over the reply, cross-attention to the context, then feed-forward.</summary>
public sealed class DecoderBlock : Module
{
    private readonly ModuleList<Module> layer;

    public DecoderBlock(EncoderDecoderConfig config, bool first, Device? device = null, ScalarType? dtype = null) : base(nameof(DecoderBlock))
    {
        layer = ModuleList<Module>(
            new SelfAttentionLayer(config, ownsTable: first, device, dtype), new CrossAttentionLayer(config, device, dtype), new FeedForwardLayer(config, device, dtype));
        RegisterComponents();
    }

    internal SelfAttentionLayer Attention => (SelfAttentionLayer)layer[0];
    internal CrossAttentionLayer Context => (CrossAttentionLayer)layer[1];
    private FeedForwardLayer FeedForward => (FeedForwardLayer)layer[2];

    /// <param name="x">[B T C]</param>
    /// <param name="bias">[B or 1, H, T, S]: relative positions and causality of the reply.</param>
    /// <param name="context">Keys and values of the context, of this block.</param>
    /// <param name="contextBias">[B 1 1 S]: hides the context's pads.</param>
    /// <param name="step">The cache in incremental decoding; <c>null</c> when the whole reply is given.</param>
    public Tensor forward(Tensor x, Tensor bias, (Tensor Keys, Tensor Values) context, Tensor contextBias, CacheStep? step)
    {
        using var scope = NewDisposeScope();
        x = Attention.call(x, bias, step);
        x = Context.call(x, context, contextBias);
        return FeedForward.call(x).MoveToOuterDisposeScope();
    }
}
