using Chat.Models.Kernels;
using Chat.Models.Modules;

namespace Chat.Models.Engine;

/// <summary>
/// A row of the runner: the tokens under way, and the context that an encoder read for them, each as pages. In decoder-only models the context stands before the
/// reply in one text.
/// </summary>
internal sealed class CpuRow(PageList context, PageList reply)
{
    public PageList Context => context;
    public PageList Reply => reply;

    /// <summary>The reply's tokens, fed ones and those still due; and a context that an encoder has not read yet.</summary>
    public int[] Ids { get; } = new int[reply.MaxTokens];
    public int Known { get; set; }

    /// <summary>How many of them stand before the reply's own.</summary>
    public int Opening { get; set; }
    public ReadOnlyMemory<int> Unread { get; set; }

    /// <summary>Tokens of the prompt still to be read.</summary>
    public int Due { get; set; }

    /// <summary>Whole pages of the reply that the prefix cache knows, and the last one's entry.</summary>
    public int KnownPages { get; set; }
    public long LastEntry { get; set; } = PrefixCache.Root;

    public void Become(CpuRow other)
    {
        if (other == this) return;
        context.Become(other.Context);
        reply.Become(other.Reply);
        other.Ids.AsSpan(0, other.Known).CopyTo(Ids);
        (Known, Opening, Unread, Due, KnownPages, LastEntry) = (other.Known, other.Opening, other.Unread, other.Due, other.KnownPages, other.LastEntry);
    }

    public void Clear()
    {
        context.Clear();
        reply.Clear();
        (Known, Opening, Unread, Due, KnownPages, LastEntry) = (0, 0, default, 0, 0, PrefixCache.Root);
    }

    /// <summary>Pages that so many bytes hold: one row's at least, that no reply can be too long, and no more than all rows can use.</summary>
    public static int PagesOf(long bytes, long pageBytes, int rowPages, int rows) => (int)Math.Clamp(bytes / pageBytes, rowPages, (long)rowPages * rows);
}

/// <summary>A token to feed, at a position of its row whose page stands ready.</summary>
internal readonly record struct RowToken(CpuRow Row, int Id, int Position);

/// <summary>A norm: RMSNorm, or LayerNorm where it has a bias.</summary>
internal sealed record CpuNorm(NativeBuffer Weight, NativeBuffer? Bias = null);

/// <summary>y = W·x + b</summary>
internal sealed record CpuLinear(WeightMatrix Matrix, NativeBuffer? Bias = null);

/// <summary>down(activation(up x)), or with the gate's rows before up's down(activation(gate x) ⊙ up x), behind a norm.</summary>
internal sealed record CpuFeedForward(CpuNorm Norm, CpuLinear Input, CpuLinear Output);

/// <summary>Sizes of a model on the kernels.</summary>
/// <param name="KeyValueHeads">Each is read by Heads / KeyValueHeads query heads.</param>
/// <param name="Rows">Rows alive at once.</param>
/// <param name="Capacity">Tokens computed together at most.</param>
/// <param name="Longest">Tokens that a query sees at most.</param>
internal sealed record CpuSizes(int VocabularySize, int Width, int Heads, int KeyValueHeads, int HeadWidth, int FeedForward, bool Gated, Activation Activation, double Epsilon, int Rows, int Capacity, int Longest);

/// <summary>
/// What all transformers on the kernels share: memory for one pass, taken at construction, and the steps between their matrices. A family's layer loops stand
/// in a file of its own. A pass allocates nothing. Not thread-safe.
/// </summary>
internal abstract unsafe class CpuModel : IDisposable
{
    protected readonly CpuWeights weights;
    protected readonly CpuWork work;
    protected readonly VectorBatch stream, normed;
    protected readonly NativeBuffer projected;
    protected readonly int queryWidth, keyValueWidth;

    /// <summary>What <see cref="Norm"/> applies now.</summary>
    protected CpuNorm? norm;

    private readonly CpuSizes sizes;
    private readonly VectorBatch mixed, gated, chosen;
    private readonly NativeBuffer wide, added, scores, logits;
    private readonly CpuNorm last;
    private readonly WeightMatrix head;
    private readonly Action<int, int> addToken, gateToken, sealMixed;
    private readonly int width, feedForward;
    private NativeBuffer? bias;

    /// <param name="last">The norm before the head.</param>
    protected CpuModel(CpuSizes sizes, CpuWeights weights, Team team, KeyValuePages pages, CpuNorm last, WeightMatrix head)
    {
        (this.sizes, this.weights, Pages, this.last, this.head) = (sizes, weights, weights.Keep(pages), last, head);
        work = new(team);
        const int panel = WeightMatrix.PanelRows;
        (width, feedForward) = (WeightMatrix.Padded(sizes.Width, panel), WeightMatrix.Padded(sizes.FeedForward, panel));
        (queryWidth, keyValueWidth) = (WeightMatrix.Padded(sizes.Heads * sizes.HeadWidth, panel), WeightMatrix.Padded(sizes.KeyValueHeads * sizes.HeadWidth, panel));
        stream = weights.Keep(new VectorBatch(Capacity, sizes.Width));
        (normed, mixed, gated) = (Vectors(Capacity, sizes.Width), Vectors(Capacity, sizes.Heads * sizes.HeadWidth), Vectors(Capacity, sizes.FeedForward));
        chosen = Vectors(MostScored, sizes.Width);
        (projected, wide, added) = (Floats((long)Capacity * ProjectedStride), Floats((long)Capacity * WideStride), Floats((long)Capacity * width));
        (scores, logits) = (Floats((long)work.Threads * ScoreRoom), Floats((long)MostScored * VocabularyStride));
        (addToken, gateToken, sealMixed) = (AddToken, GateToken, (t, _) => mixed.Seal(t));
    }

    public KeyValuePages Pages { get; }
    public int VocabularySize => sizes.VocabularySize;
    public int Rows => sizes.Rows;
    public int Capacity => sizes.Capacity;

    /// <summary>Tokens whose successors are scored together, at most; a draft is verified with several in a row.</summary>
    public int MostScored => Math.Max(sizes.Rows, 32);

    /// <summary>Scores from one row of logits to the next.</summary>
    public int VocabularyStride => head.Panels * WeightMatrix.PanelRows;

    /// <summary>A row with nothing in it.</summary>
    public abstract CpuRow NewRow();

    /// <summary>Whether an encoder reads contexts, apart from the text.</summary>
    public virtual bool HasEncoder => false;

    /// <summary>The tokens that a reply's own follow in its text.</summary>
    public abstract ReadOnlySpan<int> Opening(ReadOnlySpan<int> context);

    /// <summary>Lets the encoder read the rows' contexts, at most <see cref="Capacity"/> tokens together.</summary>
    public virtual void Encode(ReadOnlySpan<CpuRow> rows) => throw new NotSupportedException("There is no encoder.");

    /// <summary>Feeds tokens, at most <see cref="Capacity"/> together and each row's in order, and scores what follows some of them.</summary>
    /// <param name="outputs">Indices of the tokens whose successors are scored; <see cref="MostScored"/> at most.</param>
    /// <returns>[outputs <see cref="VocabularyStride"/>], valid until the next call.</returns>
    public abstract float* Step(ReadOnlySpan<RowToken> tokens, ReadOnlySpan<int> outputs);

    public void Dispose() => weights.Dispose();

    /// <summary>Numbers from one token's queries, keys and values to the next.</summary>
    protected int ProjectedStride => queryWidth + 2 * keyValueWidth;

    protected float* Queries(int t) => projected.Floats + (long)t * ProjectedStride;
    protected float* Keys(int t) => Queries(t) + queryWidth;
    protected float* Values(int t) => Keys(t) + keyValueWidth;

    private int WideStride => (sizes.Gated ? 2 : 1) * feedForward;
    private int ScoreRoom => WeightMatrix.Padded(sizes.Longest, KeyValuePages.PageTokens);

    protected void Project(WeightMatrix by, int count) => work.Multiply(by, normed, count, projected.Floats, ProjectedStride);

    /// <summary>Calls <paramref name="body"/> for each token.</summary>
    protected void EachToken(int count, Action<int, int> body) => work.Each(count, width * 4, body);

    /// <summary>Calls <paramref name="attend"/> for each head of each token; <paramref name="seen"/> tokens are what one of them sees, about.</summary>
    protected void EachHead(int count, int seen, Action<int, int> attend) => work.Each(count * sizes.Heads, (long)seen * sizes.HeadWidth / 2, attend);

    /// <summary>Attention of token <paramref name="t"/>'s query head <paramref name="h"/> to tokens of pages.</summary>
    /// <param name="first">The first token that it sees.</param>
    /// <param name="distances">Added to the scores, or null.</param>
    protected void Attend(KeyValuePages store, int layer, ReadOnlySpan<int> pages, int first, int tokens, int t, int h, float scale, float* distances, int thread)
    {
        var offset = h * sizes.HeadWidth;
        PagedAttention.Attend(store, layer, h * sizes.KeyValueHeads / sizes.Heads, pages, first, tokens, Queries(t) + offset, scale, distances, scores.Floats + (long)thread * ScoreRoom, mixed.Row(t) + offset);
    }

    /// <summary>Ends attention: its output matrix, the residual sum, and the norm of what comes next.</summary>
    protected void CloseAttention(CpuLinear output, int count, CpuNorm? next)
    {
        if (output.Matrix.IsInteger) work.Each(count, width * 2, sealMixed);
        Close(output, mixed, count, next);
    }

    protected void Feed(CpuFeedForward block, int count, CpuNorm? next)
    {
        work.Multiply(block.Input.Matrix, normed, count, wide.Floats, WideStride);
        bias = block.Input.Bias;
        work.Each(count, feedForward * 8, gateToken);
        Close(block.Output, gated, count, next);
    }

    /// <summary>Norms a token of the stream for the matrices that follow.</summary>
    protected void Norm(int t)
    {
        Norm(norm!, stream.Row(t), normed.Row(t));
        normed.Seal(t);
    }

    /// <summary>The logits behind the given tokens of the stream.</summary>
    protected float* Score(ReadOnlySpan<int> outputs)
    {
        for (var i = 0; i < outputs.Length; i++)
        {
            Norm(last, stream.Row(outputs[i]), chosen.Row(i));
            chosen.Seal(i);
        }
        if (outputs.Length > 0) work.Multiply(head, chosen, outputs.Length, logits.Floats, VocabularyStride);
        return logits.Floats;
    }

    protected NativeBuffer Floats(long count) => weights.Keep(NativeBuffer.OfFloats(count));

    private VectorBatch Vectors(int tokens, int columns) => weights.Keep(new VectorBatch(tokens, columns, weights.IsInteger));

    private void Close(CpuLinear output, VectorBatch x, int count, CpuNorm? next)
    {
        work.Multiply(output.Matrix, x, count, added.Floats, width);
        (norm, bias) = (next, output.Bias);
        work.Each(count, width * 4, addToken);
    }

    private void AddToken(int t, int thread)
    {
        if (bias is not null) Elementwise.Add(stream.Row(t), bias.Floats, width);
        Elementwise.Add(stream.Row(t), added.Floats + (long)t * width, width);
        if (norm is not null) Norm(t);
    }

    private void GateToken(int t, int thread)
    {
        var input = wide.Floats + (long)t * WideStride;
        if (bias is not null) Elementwise.Add(input, bias.Floats, WideStride);
        Elementwise.Activate(sizes.Activation, input, sizes.Gated ? input + feedForward : null, feedForward, gated.Row(t));
        gated.Seal(t);
    }

    private void Norm(CpuNorm by, float* x, float* y)
    {
        if (by.Bias is null) Elementwise.RmsNorm(x, by.Weight.Floats, sizes.Width, (float)sizes.Epsilon, y);
        else Elementwise.LayerNorm(x, by.Weight.Floats, by.Bias.Floats, sizes.Width, (float)sizes.Epsilon, y);
    }
}
