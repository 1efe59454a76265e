using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Kernels;

namespace Chat.Models.Engine;

/// <summary>Decoder-only models on the kernels (GPT-2, Llama, Mistral, Qwen2, Qwen3): the layer loop of <see cref="Decoder"/>, which is its oracle. Not thread-safe.</summary>
internal sealed unsafe class CpuDecoder : CpuModel
{
    private readonly DecoderConfig config;
    private readonly EmbeddingTable words;
    private readonly EmbeddingTable? positions;
    private readonly Layer[] layers;
    private readonly NativeBuffer? turns;
    private readonly Action<int, int> embed, write, attend;
    private readonly int room;

    // The pass under way; the delegates above read it.
    private readonly RowToken[] fed;
    private int layer;

    private CpuDecoder(DecoderConfig config, CpuSizes sizes, CpuWeights weights, Team team, int room, int pages, int pinPages)
        : base(sizes, weights, team, new(config.Layers, config.KeyValueHeads, config.HeadWidth, pages, pinPages),
            NormOf(config, weights, "model.norm"), weights.Head(config.Tied ? "model.embed_tokens.weight" : "lm_head.weight"))
    {
        (this.config, this.room) = (config, room);
        words = weights.Table("model.embed_tokens.weight");
        positions = config.Rotary is null ? weights.Table("model.embed_positions.weight") : null;
        layers = [.. Enumerable.Range(0, config.Layers).Select(n => new Layer(config, weights, n))];
        turns = config.Rotary is { } rotary ? Turns(rotary.Frequencies(config.HeadWidth), rotary.AttentionFactor) : null;
        fed = new RowToken[Capacity];
        (embed, write, attend) = (Embed, Write, Attend);
    }

    /// <param name="room">Tokens that a row holds, its context and its reply together.</param>
    /// <param name="cacheBytes">Memory for keys and values, which rows share: at least one row's, at most all rows'.</param>
    /// <param name="pinBytes">Memory beside it, for what is pinned.</param>
    /// <exception cref="CheckpointException">What is wrong with the weights.</exception>
    /// <exception cref="ArgumentException">More tokens than the model has positions.</exception>
    public static CpuDecoder Load(DecoderConfig config, Checkpoint checkpoint, WeightFormat format, Team team, int rows, int room, int capacity, long cacheBytes, long pinBytes)
    {
        config.CheckRoom(room);
        (config, var found) = DecoderWeights.Locate(config, checkpoint);
        var weights = new CpuWeights(checkpoint, found, format);
        var pageBytes = KeyValuePages.BytesOf(config.Layers, config.KeyValueHeads, config.HeadWidth);
        try
        {
            return new(config, new(config.VocabularySize, config.Width, config.Heads, config.KeyValueHeads, config.HeadWidth, config.FeedForward, config.Gated, config.Activation, config.Epsilon, rows, capacity, room),
                weights, team, room, CpuRow.PagesOf(cacheBytes, pageBytes, PageList.PagesFor(room), rows), checked((int)(pinBytes / pageBytes)));
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    public override CpuRow NewRow() => new(new(Pages, 0), new(Pages, room));

    public override ReadOnlySpan<int> Opening(ReadOnlySpan<int> context) => context;

    public override float* Step(ReadOnlySpan<RowToken> tokens, ReadOnlySpan<int> outputs)
    {
        var (count, longest) = (tokens.Length, 0);
        tokens.CopyTo(fed);
        foreach (var token in tokens) longest = Math.Max(longest, token.Position + 1);
        norm = layers[0].Norm;
        EachToken(count, embed);
        for (layer = 0; layer < layers.Length; layer++)
        {
            var block = layers[layer];
            Project(block.Input.Matrix, count);
            EachToken(count, write);
            EachHead(count, Math.Min(longest, config.WindowOf(layer) ?? longest), attend);
            CloseAttention(block.Output, count, block.FeedForward.Norm);
            Feed(block.FeedForward, count, layer + 1 < layers.Length ? layers[layer + 1].Norm : null);
        }
        return Score(outputs);
    }

    private void Embed(int t, int thread)
    {
        words.Read(fed[t].Id, stream.Row(t));
        positions?.AddTo(fed[t].Position, stream.Row(t));
        Norm(t);
    }

    /// <summary>Biases, norms and turns of a token's queries and keys; then its keys and values go into its page.</summary>
    private void Write(int t, int thread)
    {
        var block = layers[layer];
        if (block.Input.Bias is { } bias) Elementwise.Add(Queries(t), bias.Floats, ProjectedStride);
        Place(Queries(t), config.Heads, block.QueryNorm, fed[t].Position);
        Place(Keys(t), config.KeyValueHeads, block.KeyNorm, fed[t].Position);
        var (page, slot) = fed[t].Row.Reply[fed[t].Position];
        Pages.Write(layer, page, slot, Keys(t), Values(t));
    }

    private void Place(float* heads, int count, NativeBuffer? headNorm, int position)
    {
        for (var h = 0; h < count; h++, heads += config.HeadWidth)
        {
            if (headNorm is not null) Elementwise.HeadNorm(heads, headNorm.Floats, config.HeadWidth, (float)config.Epsilon);
            if (turns is not null) Elementwise.Turn(heads, config.HeadWidth, turns.Floats + (long)position * config.HeadWidth);
        }
    }

    private void Attend(int piece, int thread)
    {
        var (t, h) = Math.DivRem(piece, config.Heads);
        var seen = fed[t].Position + 1;
        Attend(Pages, layer, fed[t].Row.Reply.Pages, Math.Max(0, seen - (config.WindowOf(layer) ?? seen)), seen, t, h, layers[layer].Scale, null, thread);
    }

    /// <summary>[positions D]: the cosines of a position's pairs, then their sines. Angles in double, as in training.</summary>
    private NativeBuffer Turns(double[] frequencies, double factor)
    {
        var table = Floats((long)room * config.HeadWidth);
        for (var position = 0; position < room; position++)
            for (var pair = 0; pair < frequencies.Length; pair++)
            {
                var (sine, cosine) = Math.SinCos(position * frequencies[pair]);
                var at = (long)position * config.HeadWidth + pair;
                (table.Floats[at], table.Floats[at + frequencies.Length]) = ((float)(factor * cosine), (float)(factor * sine));
            }
        return table;
    }

    private static CpuNorm NormOf(DecoderConfig config, CpuWeights weights, string name) => new(weights.Vector($"{name}.weight"), config.LayerNorm ? weights.Vector($"{name}.bias") : null);

    private sealed record Layer(CpuNorm Norm, CpuLinear Input, NativeBuffer? QueryNorm, NativeBuffer? KeyNorm, float Scale, CpuLinear Output, CpuFeedForward FeedForward)
    {
        public Layer(DecoderConfig config, CpuWeights weights, int n) : this(config, weights, $"model.layers.{n}", (float)config.ScoreFactor(n)) { }

        private Layer(DecoderConfig config, CpuWeights weights, string name, float scale) : this(
            NormOf(config, weights, $"{name}.input_layernorm"),
            weights.Linear(config.AttentionBias, $"{name}.self_attn.q_proj", $"{name}.self_attn.k_proj", $"{name}.self_attn.v_proj"),
            config.HeadNorms ? weights.Vector($"{name}.self_attn.q_norm.weight") : null,
            config.HeadNorms ? weights.Vector($"{name}.self_attn.k_norm.weight") : null,
            scale,
            weights.Linear(config.OutputBias, $"{name}.self_attn.o_proj"),
            new(NormOf(config, weights, $"{name}.post_attention_layernorm"),
                weights.Linear(config.FeedForwardBias, config.Gated ? [$"{name}.mlp.gate_proj", $"{name}.mlp.up_proj"] : [$"{name}.mlp.up_proj"]),
                weights.Linear(config.FeedForwardBias, $"{name}.mlp.down_proj"))) { }
    }
}
