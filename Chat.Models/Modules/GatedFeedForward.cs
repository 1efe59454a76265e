using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Modules;

/// <summary>wo( activation(wi_0 x) ⊙ wi_1 x ), no biases (Shazeer, arXiv 2002.05202); or T5 1.0's wo( activation(wi x) ) without a gate.</summary>
public sealed class GatedFeedForward : Module<Tensor, Tensor>
{
    private readonly Activation activation;
    private readonly Linear? wi_0, wi_1, wi;
    private readonly Linear wo;

    public GatedFeedForward(long width, long inner, Activation activation, bool gated = true, Device? device = null, ScalarType? dtype = null) : base(nameof(GatedFeedForward))
    {
        this.activation = activation;
        Linear In() => Linear(width, inner, hasBias: false, device, dtype);
        (wi_0, wi_1, wi) = gated ? (In(), In(), null) : ((Linear?)null, (Linear?)null, In());
        wo = Linear(inner, width, hasBias: false, device, dtype);
        RegisterComponents();
    }

    /// <param name="x">[B T C]</param>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var inner = wi is not null ? activation.Call(wi.call(x)) : activation.Call(wi_0!.call(x)) * wi_1!.call(x);     // [B T F]
        return wo.call(inner).MoveToOuterDisposeScope();                                                               // [B T C]
    }
}
