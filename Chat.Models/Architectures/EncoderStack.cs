using Chat.Models.Modules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>Blocks that read the whole context in both directions, and the final norm.</summary>
public sealed class EncoderStack : Module<Tensor, Tensor, Tensor>
{
    private readonly ModuleList<EncoderBlock> block;
    private readonly RmsNorm final_layer_norm;
    private readonly int maxDistance;

    public EncoderStack(EncoderDecoderConfig config, Device? device = null, ScalarType? dtype = null) : base(nameof(EncoderStack))
    {
        maxDistance = config.MaxDistance;
        block = ModuleList([.. Enumerable.Range(0, config.EncoderLayers).Select(n => new EncoderBlock(config, first: n == 0, device, dtype))]);
        final_layer_norm = new RmsNorm(config.Width, config.Epsilon, device, dtype);
        RegisterComponents();
    }

    /// <param name="x">[B S C] embeddings.</param>
    /// <param name="hidden">Hides what is not to be seen; broadcasts to [B 1 S S].</param>
    /// <returns>[B S C]</returns>
    public override Tensor forward(Tensor x, Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var length = (int)x.shape[1];
        var bias = RelativePositions.Bias(block[0].Attention.Table, bidirectional: true, [0], length, length, maxDistance).Plus(hidden);
        foreach (var each in block) x = each.call(x, bias);
        return final_layer_norm.call(x).MoveToOuterDisposeScope();
    }
}
