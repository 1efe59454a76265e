using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>
/// AdamW (Loshchilov and Hutter, arXiv 1711.05101) over float32 masters of the weights, which may be bfloat16: torch has no autocast here.
/// Vectors (norm gains) are not decayed. Its whole state is <see cref="State"/> and the count of steps.
/// </summary>
public sealed class MasterAdamW : IDisposable
{
    private const double Beta1 = 0.9, Beta2 = 0.98, Epsilon = 1e-8;

    private readonly (string Name, Parameter Weight, Tensor Master, Tensor Mean, Tensor Square)[] slots;
    private readonly double weightDecay;

    public MasterAdamW(IEnumerable<(string Name, Parameter Weight)> weights, double weightDecay)
    {
        this.weightDecay = weightDecay;
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        slots = [.. weights.Select(w => (w.Name, w.Weight,
            w.Weight.detach().to_type(ScalarType.Float32).clone().DetachFromDisposeScope(),
            zeros(w.Weight.shape, ScalarType.Float32, w.Weight.device).DetachFromDisposeScope(),
            zeros(w.Weight.shape, ScalarType.Float32, w.Weight.device).DetachFromDisposeScope()))];
    }

    /// <summary>Updates made so far.</summary>
    public long Steps { get; set; }

    /// <summary>The masters and both moments, float32, by name. Writing into them is loading; <see cref="Publish"/> must follow.</summary>
    public IEnumerable<(string Name, Tensor Value)> State => slots.SelectMany(s => new[] { ("weight/" + s.Name, s.Master), ("mean/" + s.Name, s.Mean), ("square/" + s.Name, s.Square) });

    /// <summary>Whether no weight and no moment is NaN or infinite.</summary>
    public bool IsFinite()
    {
        using var scope = NewDisposeScope();
        return State.All(s => s.Value.isfinite().all().item<bool>());
    }

    /// <summary>Euclidean norm of all gradients together, in float32.</summary>
    public double GradientNorm()
    {
        using var scope = NewDisposeScope();
        var squares = slots.Where(s => s.Weight.grad is not null).Select(s => s.Weight.grad!.to_type(ScalarType.Float32)).Select(g => (g * g).sum()).ToArray();
        return squares.Length == 0 ? 0 : Math.Sqrt(stack(squares).sum().item<float>());
    }

    /// <summary>One update; gradients are scaled to <paramref name="clip"/> when <paramref name="norm"/> is above it, and taken away.</summary>
    public void Step(double learningRate, double norm, double clip)
    {
        using var gradients = no_grad();
        Steps++;
        var scale = norm > clip ? clip / (norm + 1e-6) : 1.0;
        var meanCorrection = 1 - Math.Pow(Beta1, Steps);
        var squareCorrection = Math.Sqrt(1 - Math.Pow(Beta2, Steps));
        // Held to the end of the step: see Numbers.
        using Scalar factor = scale.ToScalar(), beta1 = Beta1.ToScalar(), rest1 = (1 - Beta1).ToScalar(), beta2 = Beta2.ToScalar(), rest2 = (1 - Beta2).ToScalar(), decay = (1 - learningRate * weightDecay).ToScalar(),
            root = squareCorrection.ToScalar(), epsilon = Epsilon.ToScalar(), one = 1.ToScalar(), rate = (-learningRate / meanCorrection).ToScalar();
        foreach (var (_, weight, master, mean, square) in slots)
        {
            if (weight.grad is not { } given) continue;
            using var scope = NewDisposeScope();
            var gradient = given.to_type(ScalarType.Float32).mul(factor);
            mean.mul_(beta1).add_(gradient, alpha: rest1);
            square.mul_(beta2).addcmul_(gradient, gradient, rest2);
            if (weightDecay > 0 && master.dim() > 1) master.mul_(decay);
            master.addcdiv_(mean, square.sqrt().div_(root).add_(epsilon, one), rate);
            weight.copy_(master);
            given.zero_();
        }
    }

    /// <summary>Multiplies a weight.</summary>
    public void Scale(string name, double factor)
    {
        using var gradients = no_grad();
        using var number = factor.ToScalar();
        slots.Single(s => s.Name == name).Master.mul_(number);
        Publish();
    }

    /// <summary>Copies the masters into the weights.</summary>
    public void Publish()
    {
        using var gradients = no_grad();
        foreach (var slot in slots) slot.Weight.copy_(slot.Master);          // returns the weight itself: not to be disposed of
    }

    public void Dispose()
    {
        foreach (var (_, _, master, mean, square) in slots)
        {
            master.Dispose();
            mean.Dispose();
            square.Dispose();
        }
    }
}
