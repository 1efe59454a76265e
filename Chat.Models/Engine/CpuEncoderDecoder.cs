using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Kernels;
using Chat.Models.Modules;

namespace Chat.Models.Engine;

/// <summary>EVA2.0's dialogue model and T5 on the kernels: the layer loops of <see cref="EncoderDecoder"/>, which is its oracle. Not thread-safe.</summary>
internal sealed unsafe class CpuEncoderDecoder : CpuModel
{
    private readonly EncoderDecoderConfig config;
    private readonly EmbeddingTable words;
    private readonly EncoderLayer[] encoder;
    private readonly DecoderLayer[] decoder;
    private readonly CpuNorm encoderNorm;
    private readonly NativeBuffer encoderBias, decoderBias;
    private readonly KeyValuePages encoderPages;
    private readonly int[] opening, encoderPageIds;
    private readonly int maxContext, replyRoom;
    private readonly float scale;
    private readonly Action<int, int> embed, attendContext, attendReply, attendEncoded, writeContext, writeReply, writeEncoded;

    // What the pass under way is about; the delegates above read it.
    private readonly Place[] places;
    private int layer;

    private CpuEncoderDecoder(EncoderDecoderConfig config, CpuSizes sizes, CpuWeights weights, Team team, int maxContext, int replyRoom, int pages)
        : base(sizes, weights, team, new(config.DecoderLayers, config.Heads, config.HeadWidth, pages),
            // A tied head reads x / √C.
            new(weights.Vector("decoder.final_layer_norm.weight", config.Tied ? 1 / MathF.Sqrt(config.Width) : 1)), weights.Head(config.Tied ? "shared.weight" : "lm_head.weight"))
    {
        (this.config, this.maxContext, this.replyRoom) = (config, maxContext, replyRoom);
        words = weights.Table("shared.weight");
        encoder = [.. Enumerable.Range(0, config.EncoderLayers).Select(n => new EncoderLayer(weights, $"encoder.block.{n}", config.Gated))];
        decoder = [.. Enumerable.Range(0, config.DecoderLayers).Select(n => new DecoderLayer(weights, $"decoder.block.{n}", config.Gated))];
        encoderNorm = new(weights.Vector("encoder.final_layer_norm.weight"));
        (encoderBias, decoderBias) = (Bias("encoder", bidirectional: true, maxContext), Bias("decoder", bidirectional: false, replyRoom));
        scale = config.AttentionScale ? 1 / MathF.Sqrt(config.HeadWidth) : 1;
        opening = [config.Start];

        // Contexts of one pass, one layer of them, each from a page of its own on.
        encoderPageIds = new int[Capacity / KeyValuePages.PageTokens + Math.Min(Rows, Capacity) + 1];
        encoderPages = weights.Keep(new KeyValuePages(1, config.Heads, config.HeadWidth, encoderPageIds.Length));
        for (var i = 0; i < encoderPageIds.Length; i++) encoderPageIds[i] = encoderPages.Take();
        places = new Place[Capacity];
        (embed, attendContext, attendReply, attendEncoded) = (Embed, AttendContext, AttendReply, AttendEncoded);
        (writeContext, writeReply, writeEncoded) = (WriteContext, WriteReply, WriteEncoded);
    }

    /// <param name="capacity">Tokens computed together at most; as many as a context has, at least.</param>
    /// <param name="cacheBytes">Memory for keys and values, which rows share: at least one row's, at most all rows'.</param>
    /// <exception cref="CheckpointException">What is wrong with the weights.</exception>
    public static CpuEncoderDecoder Load(EncoderDecoderConfig config, Checkpoint checkpoint, WeightFormat format, Team team, int rows, int maxContext, int maxReply, int capacity, long cacheBytes)
    {
        (config, var found) = EvaWeights.Locate(config, checkpoint);
        var weights = new CpuWeights(checkpoint, found, format);
        var replyRoom = maxReply + 1;                                       // the start token stands before the reply's first
        try
        {
            return new(config, new(config.VocabularySize, config.Width, config.Heads, config.Heads, config.HeadWidth, config.FeedForward, config.Gated, config.Activation, config.Epsilon,
                rows, Math.Max(capacity, maxContext), Math.Max(maxContext, replyRoom)), weights, team, maxContext, replyRoom,
                CpuRow.PagesOf(cacheBytes, KeyValuePages.BytesOf(config.DecoderLayers, config.Heads, config.HeadWidth), PageList.PagesFor(maxContext) + PageList.PagesFor(replyRoom), rows));
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    public override CpuRow NewRow() => new(new(Pages, maxContext), new(Pages, replyRoom));

    public override ReadOnlySpan<int> Opening(ReadOnlySpan<int> context) => opening;

    public override bool HasEncoder => true;

    public override void Encode(ReadOnlySpan<CpuRow> rows)
    {
        int count = 0, page = 0, longest = 0;
        foreach (var row in rows)
        {
            var context = row.Unread.Span;
            row.Context.Append(context.Length);
            for (var t = 0; t < context.Length; t++) places[count++] = new(row, context[t], t, context.Length, page);
            page += PageList.PagesFor(context.Length);
            longest = Math.Max(longest, context.Length);
        }
        norm = encoder[0].Norm;
        EachToken(count, embed);
        for (var n = 0; n < encoder.Length; n++)
        {
            var block = encoder[n];
            Project(block.Input, count);
            EachToken(count, writeEncoded);
            EachHead(count, longest, attendEncoded);
            CloseAttention(block.Output, count, block.FeedForward.Norm);
            Feed(block.FeedForward, count, n + 1 < encoder.Length ? encoder[n + 1].Norm : encoderNorm);
        }
        for (layer = 0; layer < decoder.Length; layer++)
        {
            Project(decoder[layer].ContextMemory, count);
            EachToken(count, writeContext);
        }
    }

    public override float* Step(ReadOnlySpan<RowToken> tokens, ReadOnlySpan<int> outputs)
    {
        var count = tokens.Length;
        int longest = 0, longestContext = 0;
        for (var t = 0; t < count; t++)
        {
            places[t] = new(tokens[t].Row, tokens[t].Id, tokens[t].Position, 0, 0);
            (longest, longestContext) = (Math.Max(longest, tokens[t].Position + 1), Math.Max(longestContext, tokens[t].Row.Context.Tokens));
        }
        norm = decoder[0].Norm;
        EachToken(count, embed);
        for (layer = 0; layer < decoder.Length; layer++)
        {
            var block = decoder[layer];
            Project(block.Input, count);
            EachToken(count, writeReply);
            EachHead(count, longest, attendReply);
            CloseAttention(block.Output, count, block.ContextNorm);
            Project(block.ContextQuery, count);
            EachHead(count, longestContext, attendContext);
            CloseAttention(block.ContextOutput, count, block.FeedForward.Norm);
            Feed(block.FeedForward, count, layer + 1 < decoder.Length ? decoder[layer + 1].Norm : null);
        }
        return Score(outputs);
    }

    private void Embed(int t, int thread)
    {
        words.Read(places[t].Id, stream.Row(t));
        Norm(t);
    }

    private void WriteEncoded(int t, int thread)
    {
        ref var place = ref places[t];
        encoderPages.Write(0, encoderPageIds[place.FirstPage + place.Position / KeyValuePages.PageTokens], place.Position % KeyValuePages.PageTokens, Keys(t), Values(t));
    }

    // Keys stand first here: there are no queries before them.
    private void WriteContext(int t, int thread)
    {
        var (page, slot) = places[t].Row.Context[places[t].Position];
        Pages.Write(layer, page, slot, Queries(t), Queries(t) + keyValueWidth);
    }

    private void WriteReply(int t, int thread)
    {
        var (page, slot) = places[t].Row.Reply[places[t].Position];
        Pages.Write(layer, page, slot, Keys(t), Values(t));
    }

    private void AttendEncoded(int piece, int thread)
    {
        var (t, h) = Math.DivRem(piece, config.Heads);
        ref var place = ref places[t];
        var distances = encoderBias.Floats + (long)h * BiasRoom(maxContext) + maxContext - 1 - place.Position;
        Attend(encoderPages, 0, encoderPageIds.AsSpan(place.FirstPage), 0, place.Length, t, h, scale, distances, thread);
    }

    private void AttendReply(int piece, int thread)
    {
        var (t, h) = Math.DivRem(piece, config.Heads);
        ref var place = ref places[t];
        var distances = decoderBias.Floats + (long)h * BiasRoom(replyRoom) + replyRoom - 1 - place.Position;
        Attend(Pages, layer, place.Row.Reply.Pages, 0, place.Position + 1, t, h, scale, distances, thread);
    }

    private void AttendContext(int piece, int thread)
    {
        var (t, h) = Math.DivRem(piece, config.Heads);
        var context = places[t].Row.Context;
        Attend(Pages, layer, context.Pages, 0, context.Tokens, t, h, scale, null, thread);
    }

    /// <summary>[H, distances]: the bias of each distance key − query, so that the keys a query sees have theirs side by side, key 0's at «longest − 1 − query».</summary>
    private NativeBuffer Bias(string stack, bool bidirectional, int longest)
    {
        var table = weights.Floats($"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");       // [buckets H]
        var bias = Floats((long)config.Heads * BiasRoom(longest));
        for (var h = 0; h < config.Heads; h++)
            for (var offset = 1 - longest; offset < longest; offset++)
                bias.Floats[(long)h * BiasRoom(longest) + longest - 1 + offset] = table[RelativePositions.Bucket(offset, config.Buckets, bidirectional, config.MaxDistance) * config.Heads + h];
        return bias;
    }

    private static int BiasRoom(int longest) => 2 * longest + KeyValuePages.PageTokens;

    /// <summary>A token of the pass: its row, and in the encoder its context's length and first page.</summary>
    private readonly record struct Place(CpuRow Row, int Id, int Position, int Length, int FirstPage);

    private static CpuFeedForward FeedForwardOf(CpuWeights weights, string layer, bool gated) => new(new(weights.Vector($"{layer}.layer_norm.weight")),
        new(weights.Matrix([.. (gated ? ["wi_0", "wi_1"] : new[] { "wi" }).Select(part => $"{layer}.DenseReluDense.{part}.weight")])), new(weights.Matrix($"{layer}.DenseReluDense.wo.weight")));

    private sealed record EncoderLayer(CpuNorm Norm, WeightMatrix Input, CpuLinear Output, CpuFeedForward FeedForward)
    {
        public EncoderLayer(CpuWeights weights, string block, bool gated) : this(new(weights.Vector($"{block}.layer.0.layer_norm.weight")),
            weights.Matrix([.. "qkv".Select(part => $"{block}.layer.0.SelfAttention.{part}.weight")]), new(weights.Matrix($"{block}.layer.0.SelfAttention.o.weight")),
            FeedForwardOf(weights, $"{block}.layer.1", gated)) { }
    }

    private sealed record DecoderLayer(CpuNorm Norm, WeightMatrix Input, CpuLinear Output,
        CpuNorm ContextNorm, WeightMatrix ContextQuery, WeightMatrix ContextMemory, CpuLinear ContextOutput, CpuFeedForward FeedForward)
    {
        public DecoderLayer(CpuWeights weights, string block, bool gated) : this(new(weights.Vector($"{block}.layer.0.layer_norm.weight")),
            weights.Matrix([.. "qkv".Select(part => $"{block}.layer.0.SelfAttention.{part}.weight")]), new(weights.Matrix($"{block}.layer.0.SelfAttention.o.weight")),
            new(weights.Vector($"{block}.layer.1.layer_norm.weight")), weights.Matrix($"{block}.layer.1.EncDecAttention.q.weight"),
            weights.Matrix($"{block}.layer.1.EncDecAttention.k.weight", $"{block}.layer.1.EncDecAttention.v.weight"), new(weights.Matrix($"{block}.layer.1.EncDecAttention.o.weight")),
            FeedForwardOf(weights, $"{block}.layer.2", gated)) { }
    }
}
