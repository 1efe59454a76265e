using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Modules;

/// <summary>GELU's two forms: Hendrycks and Gimpel's tanh approximation, or the exact one. They differ by up to 5e-3 in the logits of a tiny model.</summary>
public enum Gelu { Tanh, Erf }

/// <summary>wo( gelu(wi_0 x) ⊙ wi_1 x ), no biases (Shazeer, arXiv 2002.05202).</summary>
public sealed class GatedFeedForward : Module<Tensor, Tensor>
{
    private readonly Gelu gelu;
    private readonly Linear wi_0, wi_1, wo;

    public GatedFeedForward(long width, long inner, Gelu gelu, Device? device = null, ScalarType? dtype = null) : base(nameof(GatedFeedForward))
    {
        this.gelu = gelu;
        wi_0 = Linear(width, inner, hasBias: false, device, dtype);
        wi_1 = Linear(width, inner, hasBias: false, device, dtype);
        wo = Linear(inner, width, hasBias: false, device, dtype);
        RegisterComponents();
    }

    /// <param name="x">[B T C]</param>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var gate = Gate(wi_0.call(x));                                      // [B T F]
        return wo.call(gate * wi_1.call(x)).MoveToOuterDisposeScope();      // [B T C]
    }

    private Tensor Gate(Tensor x) => functional.gelu(x, gelu == Gelu.Tanh ? TorchSharp.Modules.GELU.Approximate.tanh : TorchSharp.Modules.GELU.Approximate.none);
}
