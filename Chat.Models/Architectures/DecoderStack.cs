using Chat.Models.Modules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>Blocks that write the reply: each token sees those before it, and the whole context.</summary>
public sealed class DecoderStack : Module
{
    private readonly ModuleList<DecoderBlock> block;
    private readonly RmsNorm final_layer_norm;
    private readonly int maxDistance;

    public DecoderStack(EncoderDecoderConfig config, Device? device = null, ScalarType? dtype = null) : base(nameof(DecoderStack))
    {
        maxDistance = config.MaxDistance;
        block = ModuleList([.. Enumerable.Range(0, config.DecoderLayers).Select(n => new DecoderBlock(config, first: n == 0, device, dtype))]);
        final_layer_norm = new RmsNorm(config.Width, config.Epsilon, device, dtype);
        RegisterComponents();
    }

    private Embedding Table => block[0].Attention.Table;

    /// <summary>The whole reply at once.</summary>
    /// <param name="x">[B T C] embeddings.</param>
    /// <param name="encoded">[B S C], the encoder's output.</param>
    /// <param name="contextBias">Hides what is not to be seen of the context; broadcasts to [B 1 T S].</param>
    /// <param name="replyBias">Keeps replies apart that share a row, [B 1 T T]; <c>null</c> where each has its own.</param>
    /// <returns>[B T C]</returns>
    public Tensor forward(Tensor x, Tensor encoded, Tensor contextBias, Tensor? replyBias)
    {
        using var scope = NewDisposeScope();
        var length = (int)x.shape[1];
        var bias = RelativePositions.Bias(Table, bidirectional: false, [0], length, length, maxDistance);
        if (replyBias is not null) bias = bias.Plus(replyBias);
        foreach (var each in block) x = each.forward(x, bias, each.Context.Memorise(encoded), contextBias, step: null);
        return final_layer_norm.call(x).MoveToOuterDisposeScope();
    }

    /// <summary>The next tokens of replies whose earlier tokens the cache holds; the new ones are added to it.</summary>
    /// <param name="x">[B T C] embeddings of the new tokens.</param>
    /// <returns>[B T C]</returns>
    public Tensor Step(Tensor x, CacheStep step)
    {
        using var scope = NewDisposeScope();
        var bias = RelativePositions.Bias(Table, bidirectional: false, step.Starts, (int)x.shape[1], step.Length, maxDistance);
        for (var n = 0; n < block.Count; n++)
        {
            step.Layer = n;
            x = block[n].forward(x, bias, step.Context(), step.ContextBias, step);
        }
        return final_layer_norm.call(x).MoveToOuterDisposeScope();
    }

    /// <summary>Keys and values of contexts, block by block: what cross-attention needs of them.</summary>
    /// <param name="encoded">[B S C]</param>
    public IEnumerable<(Tensor Keys, Tensor Values)> Memorise(Tensor encoded) => block.Select(each => each.Context.Memorise(encoded));
}
