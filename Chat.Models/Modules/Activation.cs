using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Modules;

/// <summary>The non-linearity of a feed-forward layer. GELU has two forms, Hendrycks and Gimpel's tanh approximation and the exact one; they differ by up to 5e-3 in the logits of a tiny model.</summary>
public enum Activation { GeluTanh, GeluErf, Silu, Relu }

/// <summary>The functions behind the names.</summary>
public static class Activations
{
    public static Tensor Call(this Activation activation, Tensor x) => activation switch
    {
        Activation.GeluTanh => functional.gelu(x, TorchSharp.Modules.GELU.Approximate.tanh),
        Activation.GeluErf => functional.gelu(x, TorchSharp.Modules.GELU.Approximate.none),
        Activation.Silu => functional.silu(x),
        Activation.Relu => functional.relu(x),
        _ => throw new ArgumentOutOfRangeException(nameof(activation), activation, "No function is known for it."),
    };
}
