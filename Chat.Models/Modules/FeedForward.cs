using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Modules;

/// <summary>down( activation(up x) ), or with a gate down( activation(gate x) ⊙ up x ) (Shazeer, arXiv 2002.05202).</summary>
public sealed class FeedForward : Module<Tensor, Tensor>
{
    private readonly Activation activation;
    private readonly Linear? gate_proj;
    private readonly Linear up_proj, down_proj;

    public FeedForward(long width, long inner, Activation activation, bool gated, bool bias, Device? device = null, ScalarType? dtype = null) : base(nameof(FeedForward))
    {
        this.activation = activation;
        gate_proj = gated ? Linear(width, inner, bias, device, dtype) : null;
        up_proj = Linear(width, inner, bias, device, dtype);
        down_proj = Linear(inner, width, bias, device, dtype);
        RegisterComponents();
    }

    /// <param name="x">[n T C]</param>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var up = up_proj.call(x);                                                                           // [n T F]
        var inner = gate_proj is null ? activation.Call(up) : activation.Call(gate_proj.call(x)) * up;
        return down_proj.call(inner).MoveToOuterDisposeScope();
    }
}
