using Chat.Models.Libtorch;
using Chat.Models.Modules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Architectures;

/// <summary>
/// EVA2.0's dialogue model: an encoder reads the packed context, a decoder writes the reply (Gu et al., arXiv 2203.09313; EVA1.0 arXiv 2108.01547 with
/// attention scale off), and T5 (Raffel et al., arXiv 1910.10683; 1.1 with gates, arXiv 2002.05202). Parameter names are the Hugging Face checkpoint's. One table of words for both
/// stacks, and a head without bias: untied and unscaled, or T5 1.0's, which is the table of words.
/// </summary>
public sealed class EncoderDecoder : Module
{
    private const double EmbeddingDeviation = 0.02;
    private readonly Embedding shared;
    private readonly Embedding? role_embeds;
    private readonly EncoderStack encoder;
    private readonly DecoderStack decoder;
    private readonly Linear? lm_head;
    private readonly Dropout dropout;

    /// <summary>A model with fresh weights drawn from <paramref name="seed"/> (the same seed gives the same weights), or of no meaning until loaded when it is <c>null</c>.</summary>
    public EncoderDecoder(EncoderDecoderConfig config, ulong? seed = 0, Device? device = null, ScalarType? dtype = null) : base(nameof(EncoderDecoder))
    {
        LibtorchLoader.Require();
        Config = config;
        shared = Embedding(config.VocabularySize, config.Width, device: device, dtype: dtype);
        role_embeds = config.Roles ? Embedding(2, config.Width, device: device, dtype: dtype) : null;
        encoder = new EncoderStack(config, device, dtype);
        decoder = new DecoderStack(config, device, dtype);
        lm_head = config.Tied ? null : Linear(config.Width, config.VocabularySize, hasBias: false, device, dtype);
        dropout = Dropout(config.Dropout);
        RegisterComponents();
        if (seed is { } drawn) Initialise(drawn);
    }

    public EncoderDecoderConfig Config { get; }

    /// <summary>Where the weights are, and in what type they are.</summary>
    public Device WeightDevice => shared.weight!.device;
    public ScalarType WeightType => shared.weight!.dtype;

    /// <summary>Weights of a configuration, from the formula; aliases not counted twice.</summary>
    public static long ParameterCount(EncoderDecoderConfig config)
    {
        long v = config.VocabularySize, d = config.Width, i = (long)config.Heads * config.HeadWidth, f = config.FeedForward;
        var attention = 4 * d * i;
        var feedForward = (config.Gated ? 3 : 2) * d * f;
        return (config.Tied ? 1 : 2) * v * d + (config.Roles ? 2 * d : 0)
            + config.EncoderLayers * (attention + feedForward + 2 * d)
            + config.DecoderLayers * (2 * attention + feedForward + 3 * d)
            + 2 * d + 2L * config.Buckets * config.Heads;
    }

    /// <summary>Reads contexts.</summary>
    /// <param name="ids">[B S] token ids (int64), padded on the right.</param>
    /// <param name="mask">[B S], 1 where a real token stands, any type.</param>
    /// <param name="roles">[B S], 0 or 1, or <c>null</c> for no role term at all.</param>
    /// <returns>[B S C]; rows of pads hold no meaning.</returns>
    public Tensor Encode(Tensor ids, Tensor mask, Tensor? roles = null)
    {
        using var scope = NewDisposeScope();
        return encoder.call(Embed(ids, roles), RelativePositions.Padding(mask, WeightType)).MoveToOuterDisposeScope();
    }

    /// <summary>Scores whole replies, teacher-forced.</summary>
    /// <param name="ids">[B S] contexts.</param>
    /// <param name="mask">[B S], 1 where a real token stands.</param>
    /// <param name="replies">[B T] replies from the start token on, padded on the right; a pad cannot reach an earlier position.</param>
    /// <returns>[B T V] logits of each position's next token, in the weights' type.</returns>
    public Tensor Forward(Tensor ids, Tensor mask, Tensor replies, Tensor? roles = null, Tensor? replyRoles = null)
    {
        using var scope = NewDisposeScope();
        return Decode(Encode(ids, mask, roles), mask, replies, replyRoles).MoveToOuterDisposeScope();
    }

    /// <summary>As <see cref="Forward"/>, before the head: what <see cref="Score"/> reads.</summary>
    /// <param name="replySegments">
    /// [B T] where rows hold several pairs: the number of each token's pair, 0 on pads, and <paramref name="mask"/> then has such numbers too. Tokens of a pair see those of their own pair only.
    /// </param>
    /// <returns>[B T C]</returns>
    public Tensor Hidden(Tensor ids, Tensor mask, Tensor replies, Tensor? replySegments = null)
    {
        using var scope = NewDisposeScope();
        if (replySegments is null) return decoder.forward(Embed(replies, null), Encode(ids, mask), RelativePositions.Padding(mask, WeightType), null).MoveToOuterDisposeScope();
        var encoded = encoder.call(Embed(ids, null), RelativePositions.Segments(mask, mask, WeightType));
        return decoder.forward(Embed(replies, null), encoded, RelativePositions.Segments(replySegments, mask, WeightType), RelativePositions.Segments(replySegments, replySegments, WeightType)).MoveToOuterDisposeScope();
    }

    /// <summary>The head.</summary>
    /// <param name="hidden">[… C]</param>
    /// <returns>[… V] logits.</returns>
    public Tensor Score(Tensor hidden) => lm_head is not null ? lm_head.call(hidden) : functional.linear(hidden.Over(Math.Sqrt(Config.Width)), shared.weight!);

    /// <summary>As <see cref="Forward"/>, for contexts already read.</summary>
    /// <param name="encoded">[B S C] of <see cref="Encode"/>.</param>
    public Tensor Decode(Tensor encoded, Tensor mask, Tensor replies, Tensor? replyRoles = null)
    {
        using var scope = NewDisposeScope();
        return Score(decoder.forward(Embed(replies, replyRoles), encoded, RelativePositions.Padding(mask, WeightType), null)).MoveToOuterDisposeScope();
    }

    /// <summary>Reads contexts into rows of a cache, whose replies then start empty. Call without gradients.</summary>
    /// <param name="lengths">Real tokens of each context.</param>
    public void Begin(DecoderCache cache, ReadOnlySpan<int> rows, Tensor ids, ReadOnlySpan<int> lengths, Tensor? roles = null)
    {
        using var scope = NewDisposeScope();
        var width = (int)ids.shape[1];
        var mask = new float[rows.Length * width];
        for (var i = 0; i < rows.Length; i++) mask.AsSpan(i * width, lengths[i]).Fill(1);
        var encoded = Encode(ids, tensor(mask, [rows.Length, width], device: ids.device), roles);
        cache.Begin(rows, lengths, decoder.Memorise(encoded));
    }

    /// <summary>Feeds <c>counts[i]</c> tokens to row <c>rows[i]</c>: one each in plain decoding, several to read a start or to verify a draft. Call without gradients.</summary>
    /// <param name="ids">[n T] new tokens, padded on the right.</param>
    /// <returns>[n T V] logits behind each new token; those at pads hold no meaning.</returns>
    public Tensor Step(DecoderCache cache, ReadOnlySpan<int> rows, Tensor ids, ReadOnlySpan<int> counts, Tensor? roles = null)
    {
        using var scope = NewDisposeScope();
        var step = cache.Next(rows, counts, (int)ids.shape[1]);
        var hidden = decoder.Step(Embed(ids, roles), step);
        cache.Commit(step);
        return Score(hidden).MoveToOuterDisposeScope();
    }

    private Tensor Embed(Tensor ids, Tensor? roles)
    {
        var x = shared.call(ids);                                   // [B T C], not scaled
        if (roles is not null) x = x.Plus((role_embeds ?? throw new InvalidOperationException("This model has no role embeddings, yet roles are given.")).call(roles));
        return dropout.call(x);
    }

    private void Initialise(ulong seed)
    {
        using var scope = NewDisposeScope();
        using var gradients = no_grad();
        using var generator = new Generator(seed, CPU);
        foreach (var (name, weight) in named_parameters())
        {
            if (name.EndsWith("norm.weight", StringComparison.Ordinal) || weight.device.type == TorchSharp.DeviceType.META) continue;
            var embedding = name is "shared.weight" or "role_embeds.weight" || name.Contains("relative_attention_bias", StringComparison.Ordinal);
            weight.copy_(empty(weight.shape, ScalarType.Float32).normal_(0, embedding ? EmbeddingDeviation : Config.InitialDeviation, generator));
        }
    }
}
