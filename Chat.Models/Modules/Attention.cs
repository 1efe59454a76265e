using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Modules;

/// <summary>
/// Multi-head attention with one additive bias. All that is not content travels in the bias: padding, causality, relative positions.
/// Hence one attention in this code base, for both stacks, training and cached decoding.
/// </summary>
public sealed class Attention : Module<Tensor, Tensor, Tensor, Tensor>
{
    private readonly long heads;
    private readonly double queryFactor;
    private readonly Linear q, k, v, o;

    /// <summary>The table of relative positions, [buckets H]; only the first block of a stack owns one, the others use its bias.</summary>
    private readonly Embedding? relative_attention_bias;

    /// <param name="scaled">Whether scores are divided by √D. T5 and EVA1.0 do not, EVA2.0 does; the wrong choice ruins the output without an error.</param>
    /// <param name="buckets">Size of the table of relative positions, or <c>null</c> for none.</param>
    public Attention(long width, long heads, long headWidth, bool scaled, long? buckets = null, Device? device = null, ScalarType? dtype = null)
        : base(nameof(Attention))
    {
        this.heads = heads;
        queryFactor = scaled ? 1 : Math.Sqrt(headWidth);        // torch's call always divides by √D
        q = Linear(width, heads * headWidth, hasBias: false, device, dtype);
        k = Linear(width, heads * headWidth, hasBias: false, device, dtype);
        v = Linear(width, heads * headWidth, hasBias: false, device, dtype);
        o = Linear(heads * headWidth, width, hasBias: false, device, dtype);
        relative_attention_bias = buckets is { } count ? Embedding(count, heads, device: device, dtype: dtype) : null;
        RegisterComponents();
    }

    /// <exception cref="InvalidOperationException">This block has no table.</exception>
    public Embedding RelativeBias() => relative_attention_bias ?? throw new InvalidOperationException("Only the first block of a stack has a table of relative positions.");

    /// <summary>[B S C] → [B H S D], [B H S D]: what a memory answers with; computed once a token and kept by the cache.</summary>
    public (Tensor Keys, Tensor Values) Memorise(Tensor memory) => (k.call(memory).SplitHeads(heads), v.call(memory).SplitHeads(heads));

    /// <param name="x">[B T C] asks.</param>
    /// <param name="keys">[B H S D]</param>
    /// <param name="values">[B H S D]</param>
    /// <param name="bias">Broadcasts to [B H T S], added to the scores after scaling.</param>
    /// <returns>[B T C]</returns>
    public Tensor Attend(Tensor x, Tensor keys, Tensor values, Tensor bias)
    {
        using var scope = NewDisposeScope();
        var queries = q.call(x).SplitHeads(heads);                                                  // [B H T D]
        if (queryFactor != 1) queries = queries.Times(queryFactor);
        var answer = functional.scaled_dot_product_attention(queries, keys, values, bias);          // [B H T D]
        return o.call(answer.MergeHeads()).MoveToOuterDisposeScope();
    }

    /// <param name="x">[B T C] asks.</param>
    /// <param name="memory">[B S C] answers; x itself in self-attention.</param>
    /// <param name="bias">Broadcasts to [B H T S].</param>
    public override Tensor forward(Tensor x, Tensor memory, Tensor bias)
    {
        using var scope = NewDisposeScope();
        var (keys, values) = Memorise(memory);
        return Attend(x, keys, values, bias).MoveToOuterDisposeScope();
    }
}
