using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Modules;

/// <summary>x · rsqrt(mean(x²) + ε) · weight; no mean is subtracted, no bias added (Zhang and Sennrich, arXiv 1910.07467).</summary>
public sealed class RmsNorm : Module<Tensor, Tensor>
{
    private readonly double epsilon;
    private readonly Parameter weight;

    public RmsNorm(long width, double epsilon, Device? device = null, ScalarType? dtype = null) : base(nameof(RmsNorm))
    {
        this.epsilon = epsilon;
        weight = Parameter(ones(width, dtype, device));
        weight.DetachFromDisposeScope();
        RegisterComponents();
    }

    /// <param name="x">[… C]</param>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var wide = x.to_type(ScalarType.Float32);                                   // squares overflow in half precision
        var scale = (wide * wide).mean([-1], keepdim: true).Plus(epsilon).rsqrt();  // [… 1]
        return ((wide * scale).to_type(x.dtype) * weight).MoveToOuterDisposeScope();
    }
}
