using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Kernels;
using Chat.Models.Modules;

namespace Chat.Models.Engine;

/// <summary>A row of the runner: the reply under way and the context it answers, each as pages.</summary>
internal sealed record CpuRow(PageList Context, PageList Reply);

/// <summary>A token to feed, at a position of its row's reply whose page stands ready.</summary>
internal readonly record struct ReplyToken(CpuRow Row, int Id, int Position);

/// <summary>
/// EVA2.0's dialogue model and T5 on the kernels: the layer loops of <see cref="EncoderDecoder"/>, which is its oracle. Takes all memory at construction
/// and allocates nothing in a pass. Not thread-safe.
/// </summary>
internal sealed unsafe class CpuEncoderDecoder : IDisposable
{
    private readonly EncoderDecoderConfig config;
    private readonly CpuWeights weights;
    private readonly CpuWork work;
    private readonly EmbeddingTable words;
    private readonly EncoderLayer[] encoder;
    private readonly DecoderLayer[] decoder;
    private readonly NativeBuffer encoderNorm, decoderNorm, encoderBias, decoderBias;
    private readonly WeightMatrix head;

    private readonly KeyValuePages pages, encoderPages;
    private readonly int[] encoderPageIds;
    private readonly VectorBatch stream, normed, mixed, gated, chosen;
    private readonly NativeBuffer projected, wide, added, scores, logits;
    private readonly int inner, feedForward, width, longest;
    private readonly float scale;
    private readonly Action<int, int> embedToken, addToken, gateToken, sealMixed, attendContext, attendReply, attendEncoded, writeReply, writeEncoded;

    // What the pass under way is about; the delegates above read it.
    private readonly Place[] places;
    private readonly ReplyToken[] fed;
    private int layer;
    private NativeBuffer? norm;

    /// <param name="capacity">Tokens computed together at most; no shorter than a context.</param>
    public CpuEncoderDecoder(EncoderDecoderConfig config, Checkpoint checkpoint, WeightFormat format, Team team, KeyValuePages pages, int rows, int maxContext, int maxReply, int capacity)
    {
        (config, var found) = EvaWeights.Locate(config, checkpoint);
        (this.config, this.pages, Capacity) = (config, pages, Math.Max(capacity, maxContext));
        work = new(team);
        weights = new(checkpoint, found, format);
        words = weights.Table("shared.weight");
        head = weights.Head(config.Tied ? "shared.weight" : "lm_head.weight");
        encoder = [.. Enumerable.Range(0, config.EncoderLayers).Select(n => new EncoderLayer(weights, $"encoder.block.{n}", config.Gated))];
        decoder = [.. Enumerable.Range(0, config.DecoderLayers).Select(n => new DecoderLayer(weights, $"decoder.block.{n}", config.Gated))];
        encoderNorm = weights.Vector("encoder.final_layer_norm.weight");
        decoderNorm = weights.Vector("decoder.final_layer_norm.weight", config.Tied ? 1 / MathF.Sqrt(config.Width) : 1);      // a tied head reads x / √C
        encoderBias = Bias("encoder", bidirectional: true, longest = maxContext);
        decoderBias = Bias("decoder", bidirectional: false, MaxReply = maxReply);

        int inside = config.Heads * config.HeadWidth, panel = WeightMatrix.PanelRows;
        (inner, feedForward, width) = (WeightMatrix.Padded(inside, panel), WeightMatrix.Padded(config.FeedForward, panel), WeightMatrix.Padded(config.Width, panel));
        scale = config.AttentionScale ? 1 / MathF.Sqrt(config.HeadWidth) : 1;
        stream = weights.Keep(new VectorBatch(Capacity, config.Width));
        (normed, mixed, gated) = (Vectors(Capacity, config.Width), Vectors(Capacity, inside), Vectors(Capacity, config.FeedForward));
        chosen = Vectors(rows, config.Width);
        (projected, wide, added) = (Floats((long)Capacity * 3 * inner), Floats((long)Capacity * 2 * feedForward), Floats((long)Capacity * width));
        logits = Floats((long)rows * VocabularyStride);
        scores = Floats((long)work.Threads * ScoreRoom);

        encoderPageIds = new int[Capacity / KeyValuePages.PageTokens + Capacity];
        encoderPages = weights.Keep(new KeyValuePages(1, config.Heads, config.HeadWidth, encoderPageIds.Length));
        for (var i = 0; i < encoderPageIds.Length; i++) encoderPageIds[i] = encoderPages.Take();
        (places, fed) = (new Place[Capacity], new ReplyToken[Capacity]);
        (embedToken, addToken, gateToken, sealMixed) = (EmbedToken, AddToken, GateToken, SealMixed);
        (attendContext, attendReply, attendEncoded, writeReply, writeEncoded) = (AttendContext, AttendReply, AttendEncoded, WriteReply, WriteEncoded);
    }

    public int Capacity { get; }
    public int MaxReply { get; }

    /// <summary>Scores from one row of logits to the next.</summary>
    public int VocabularyStride => head.Panels * WeightMatrix.PanelRows;

    private int ScoreRoom => WeightMatrix.Padded(Math.Max(longest, MaxReply), KeyValuePages.PageTokens);

    /// <summary>Reads contexts, at most <see cref="Capacity"/> tokens together, into rows whose context pages stand ready.</summary>
    public void Read(ReadOnlySpan<PrefillItem> items, CpuRow[] rows)
    {
        int count = 0, page = 0;
        foreach (var item in items)
        {
            var context = item.Context.Span;
            for (var t = 0; t < context.Length; t++) places[count++] = new(rows[item.Row], context[t], t, context.Length, page);
            page += PageList.PagesFor(context.Length);
        }

        norm = encoder[0].Norm;
        work.Each(count, width * 4, embedToken);
        for (var n = 0; n < encoder.Length; n++)
        {
            var block = encoder[n];
            work.Multiply(block.Input, normed, count, projected.Floats, 3 * inner);
            work.Each(count, inner * 4, writeEncoded);
            work.Each(count * config.Heads, places[0].Length * config.HeadWidth / 2, attendEncoded);
            CloseAttention(block.Output, count, block.FeedForward.Norm);
            Feed(block.FeedForward, count, n + 1 < encoder.Length ? encoder[n + 1].Norm : encoderNorm);
        }
        for (layer = 0; layer < decoder.Length; layer++)
        {
            work.Multiply(decoder[layer].ContextMemory, normed, count, projected.Floats, 2 * inner);
            for (var t = 0; t < count; t++)
            {
                var (at, slot) = places[t].Row.Context[places[t].Position];
                var memory = projected.Floats + (long)t * 2 * inner;
                pages.Write(layer, at, slot, memory, memory + inner);
            }
        }
    }

    /// <summary>Feeds tokens, at most <see cref="Capacity"/> together and each row's in order, and scores what follows some of them.</summary>
    /// <param name="outputs">Indices of the tokens whose successors are scored; as many as the runner has rows, at most.</param>
    /// <returns>[outputs <see cref="VocabularyStride"/>], valid until the next call.</returns>
    public float* Step(ReadOnlySpan<ReplyToken> tokens, ReadOnlySpan<int> outputs)
    {
        var count = tokens.Length;
        tokens.CopyTo(fed);
        for (var t = 0; t < count; t++) places[t] = new(fed[t].Row, fed[t].Id, fed[t].Position, 0, 0);
        norm = decoder[0].Norm;
        work.Each(count, width * 4, embedToken);
        for (layer = 0; layer < decoder.Length; layer++)
        {
            var block = decoder[layer];
            work.Multiply(block.Input, normed, count, projected.Floats, 3 * inner);
            work.Each(count, inner * 4, writeReply);
            work.Each(count * config.Heads, (long)fed[0].Position * config.HeadWidth / 2, attendReply);
            CloseAttention(block.Output, count, block.ContextNorm);
            work.Multiply(block.ContextQuery, normed, count, projected.Floats, 3 * inner);
            work.Each(count * config.Heads, (long)fed[0].Row.Context.Tokens * config.HeadWidth / 2, attendContext);
            CloseAttention(block.ContextOutput, count, block.FeedForward.Norm);
            Feed(block.FeedForward, count, layer + 1 < decoder.Length ? decoder[layer + 1].Norm : null);
        }
        for (var i = 0; i < outputs.Length; i++)
        {
            Elementwise.RmsNorm(stream.Row(outputs[i]), decoderNorm.Floats, config.Width, (float)config.Epsilon, chosen.Row(i));
            chosen.Seal(i);
        }
        if (outputs.Length > 0) work.Multiply(head, chosen, outputs.Length, logits.Floats, VocabularyStride);
        return logits.Floats;
    }

    public void Dispose() => weights.Dispose();

    private void Feed(FeedForwardLayer block, int count, NativeBuffer? next)
    {
        work.Multiply(block.Input, normed, count, wide.Floats, 2 * feedForward);
        work.Each(count, feedForward * 8, gateToken);
        Close(block.Output, gated, count, next);
    }

    private void CloseAttention(WeightMatrix output, int count, NativeBuffer next)
    {
        if (output.IsInteger) work.Each(count, inner * 2, sealMixed);
        Close(output, mixed, count, next);
    }

    /// <summary>Ends a sublayer: its output matrix, the residual sum, and the next sublayer's norm.</summary>
    private void Close(WeightMatrix output, VectorBatch x, int count, NativeBuffer? next)
    {
        work.Multiply(output, x, count, added.Floats, width);
        norm = next;
        work.Each(count, width * 4, addToken);
    }

    private void EmbedToken(int t, int thread)
    {
        words.Read(places[t].Id, stream.Row(t));
        Norm(t);
    }

    private void AddToken(int t, int thread)
    {
        Elementwise.Add(stream.Row(t), added.Floats + (long)t * width, width);
        if (norm is not null) Norm(t);
    }

    private void Norm(int t)
    {
        Elementwise.RmsNorm(stream.Row(t), norm!.Floats, config.Width, (float)config.Epsilon, normed.Row(t));
        normed.Seal(t);
    }

    private void SealMixed(int t, int thread) => mixed.Seal(t);

    private void GateToken(int t, int thread)
    {
        var gate = wide.Floats + (long)t * 2 * feedForward;
        Elementwise.Activate(config.Activation, gate, config.Gated ? gate + feedForward : null, feedForward, gated.Row(t));
        gated.Seal(t);
    }

    private void WriteEncoded(int t, int thread)
    {
        var memory = projected.Floats + (long)t * 3 * inner + inner;
        ref var place = ref places[t];
        encoderPages.Write(0, encoderPageIds[place.FirstPage + place.Position / KeyValuePages.PageTokens], place.Position % KeyValuePages.PageTokens, memory, memory + inner);
    }

    private void WriteReply(int t, int thread)
    {
        var memory = projected.Floats + (long)t * 3 * inner + inner;
        var (page, slot) = fed[t].Row.Reply[fed[t].Position];
        pages.Write(layer, page, slot, memory, memory + inner);
    }

    private void AttendEncoded(int piece, int thread)
    {
        var (t, h) = Math.DivRem(piece, config.Heads);
        ref var place = ref places[t];
        var bias = encoderBias.Floats + (long)h * BiasRoom(longest) + longest - 1 - place.Position;
        Attend(encoderPages, 0, h, encoderPageIds.AsSpan(place.FirstPage), place.Length, t, bias, thread);
    }

    private void AttendReply(int piece, int thread)
    {
        var (t, h) = Math.DivRem(piece, config.Heads);
        var bias = decoderBias.Floats + (long)h * BiasRoom(MaxReply) + MaxReply - 1 - fed[t].Position;
        Attend(pages, layer, h, fed[t].Row.Reply.Pages, fed[t].Position + 1, t, bias, thread);
    }

    private void AttendContext(int piece, int thread)
    {
        var (t, h) = Math.DivRem(piece, config.Heads);
        var context = fed[t].Row.Context;
        Attend(pages, layer, h, context.Pages, context.Tokens, t, null, thread);
    }

    private void Attend(KeyValuePages store, int storeLayer, int h, ReadOnlySpan<int> list, int tokens, int t, float* bias, int thread)
    {
        var offset = h * config.HeadWidth;
        PagedAttention.Attend(store, storeLayer, h, list, tokens, projected.Floats + (long)t * 3 * inner + offset, scale, bias, scores.Floats + (long)thread * ScoreRoom, mixed.Row(t) + offset);
    }

    /// <summary>[H, distances]: the bias of each distance key − query, so that the keys a query sees have theirs side by side, key 0's at «longest − 1 − query».</summary>
    private NativeBuffer Bias(string stack, bool bidirectional, int most)
    {
        var table = weights.Floats($"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");       // [buckets H]
        var bias = Floats((long)config.Heads * BiasRoom(most));
        for (var h = 0; h < config.Heads; h++)
            for (var offset = 1 - most; offset < most; offset++)
                bias.Floats[(long)h * BiasRoom(most) + most - 1 + offset] = table[RelativePositions.Bucket(offset, config.Buckets, bidirectional, config.MaxDistance) * config.Heads + h];
        return bias;
    }

    private static int BiasRoom(int longest) => 2 * longest + KeyValuePages.PageTokens;

    private NativeBuffer Floats(long count) => weights.Keep(NativeBuffer.OfFloats(count));

    private VectorBatch Vectors(int tokens, int columns) => weights.Keep(new VectorBatch(tokens, columns, weights.IsInteger));

    /// <summary>A token of the pass: its row, and for the encoder its context's length and first page.</summary>
    private readonly record struct Place(CpuRow Row, int Id, int Position, int Length, int FirstPage);

    private sealed record FeedForwardLayer(NativeBuffer Norm, WeightMatrix Input, WeightMatrix Output)
    {
        public FeedForwardLayer(CpuWeights weights, string layer, bool gated) : this(weights.Vector($"{layer}.layer_norm.weight"),
            weights.Matrix([.. (gated ? ["wi_0", "wi_1"] : new[] { "wi" }).Select(part => $"{layer}.DenseReluDense.{part}.weight")]), weights.Matrix($"{layer}.DenseReluDense.wo.weight")) { }
    }

    private sealed record EncoderLayer(NativeBuffer Norm, WeightMatrix Input, WeightMatrix Output, FeedForwardLayer FeedForward)
    {
        public EncoderLayer(CpuWeights weights, string block, bool gated) : this(weights.Vector($"{block}.layer.0.layer_norm.weight"),
            weights.Matrix([.. "qkv".Select(part => $"{block}.layer.0.SelfAttention.{part}.weight")]), weights.Matrix($"{block}.layer.0.SelfAttention.o.weight"),
            new(weights, $"{block}.layer.1", gated)) { }
    }

    private sealed record DecoderLayer(NativeBuffer Norm, WeightMatrix Input, WeightMatrix Output,
        NativeBuffer ContextNorm, WeightMatrix ContextQuery, WeightMatrix ContextMemory, WeightMatrix ContextOutput, FeedForwardLayer FeedForward)
    {
        public DecoderLayer(CpuWeights weights, string block, bool gated) : this(weights.Vector($"{block}.layer.0.layer_norm.weight"),
            weights.Matrix([.. "qkv".Select(part => $"{block}.layer.0.SelfAttention.{part}.weight")]), weights.Matrix($"{block}.layer.0.SelfAttention.o.weight"),
            weights.Vector($"{block}.layer.1.layer_norm.weight"), weights.Matrix($"{block}.layer.1.EncDecAttention.q.weight"),
            weights.Matrix($"{block}.layer.1.EncDecAttention.k.weight", $"{block}.layer.1.EncDecAttention.v.weight"), weights.Matrix($"{block}.layer.1.EncDecAttention.o.weight"),
            new(weights, $"{block}.layer.2", gated)) { }
    }
}
