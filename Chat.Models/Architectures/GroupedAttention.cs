using Chat.Models.Modules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>
/// Self-attention of decoder-only models: several query heads share a head of keys and values (Ainslie et al., arXiv 2305.13245), positions are turned into queries and keys
/// or stand in the embeddings already, and all that hides keys travels in the bias.
/// </summary>
public sealed class GroupedAttention : Module
{
    private readonly long heads, keyValueHeads, headWidth;
    private readonly double factor;
    private readonly Linear q_proj, k_proj, v_proj, o_proj;
    private readonly RmsNorm? q_norm, k_norm;

    public GroupedAttention(DecoderConfig config, int layer, Device? device = null, ScalarType? dtype = null) : base(nameof(GroupedAttention))
    {
        (heads, keyValueHeads, headWidth) = (config.Heads, config.KeyValueHeads, config.HeadWidth);
        factor = config.ScoreFactor(layer) * Math.Sqrt(headWidth);          // torch's call always divides by √D
        q_proj = Linear(config.Width, config.QueryWidth, config.AttentionBias, device, dtype);
        k_proj = Linear(config.Width, config.KeyValueWidth, config.AttentionBias, device, dtype);
        v_proj = Linear(config.Width, config.KeyValueWidth, config.AttentionBias, device, dtype);
        o_proj = Linear(config.QueryWidth, config.Width, config.OutputBias, device, dtype);
        q_norm = config.HeadNorms ? new RmsNorm(headWidth, config.Epsilon, device, dtype) : null;
        k_norm = config.HeadNorms ? new RmsNorm(headWidth, config.Epsilon, device, dtype) : null;
        RegisterComponents();
    }

    /// <param name="x">[n T C]</param>
    /// <param name="positions">Turns queries and keys; <c>null</c> where positions are learned embeddings.</param>
    /// <param name="bias">Broadcasts to [n H T S].</param>
    /// <param name="step">In cached decoding: takes the new tokens' keys and values and gives back those of the whole rows.</param>
    /// <returns>[n T C]</returns>
    public Tensor forward(Tensor x, RotaryPositions? positions, Tensor bias, RowStep? step)
    {
        using var scope = NewDisposeScope();
        Tensor queries = q_proj.call(x).SplitHeads(heads), keys = k_proj.call(x).SplitHeads(keyValueHeads), values = v_proj.call(x).SplitHeads(keyValueHeads);     // [n H T D]
        if (q_norm is not null && k_norm is not null) (queries, keys) = (q_norm.call(queries), k_norm.call(keys));
        if (positions is not null) (queries, keys) = (positions.Turn(queries), positions.Turn(keys));
        if (step is not null) (keys, values) = step.Append(keys, values);                               // [n H S D]
        if (factor != 1) queries = queries.Times(factor);
        var answer = functional.scaled_dot_product_attention(queries, Shared(keys), Shared(values), bias);
        return o_proj.call(answer.MergeHeads()).MoveToOuterDisposeScope();
    }

    /// <summary>A copy of each key and value head for every query head that reads it. [n Hk S D] → [n H S D]</summary>
    private Tensor Shared(Tensor x) => heads == keyValueHeads ? x : x.unsqueeze(2).expand(-1, -1, heads / keyValueHeads, -1, -1).flatten(1, 2);
}
