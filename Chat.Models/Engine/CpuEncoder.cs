using System.Numerics.Tensors;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Kernels;

namespace Chat.Models.Engine;

/// <summary>
/// BERT-shaped encoders on the kernels: the layer loop of <see cref="Encoder"/>, which is its oracle. Texts of any lengths are read together without padding, and each
/// has the same bits alone and in company. All memory is taken at construction; reading allocates nothing. Not thread-safe.
/// </summary>
public sealed unsafe class CpuEncoder : IDisposable
{
    private const int PageTokens = KeyValuePages.PageTokens, Panel = WeightMatrix.PanelRows;
    private const int LeastCapacity = 512;
    private readonly CpuWeights weights;
    private readonly CpuWork work;
    private readonly EmbeddingTable words, positions, kinds;
    private readonly CpuNorm embeddingNorm;
    private readonly Layer[] layers;
    private readonly CpuLinear? pooler, classifier;
    private readonly KeyValuePages pages;
    private readonly int[] pageIds;
    private readonly VectorBatch stream, mixed, gated, single;
    private readonly NativeBuffer projected, wide, added, scores, head;
    private readonly int width, feedForward, scoreRoom;
    private readonly int[] groups;                          // the first token of each group of a text's tokens that attend together
    private readonly float scale;
    private readonly Action<int, int> embed, write, attend, addAttention, activate, addFeedForward;

    // The pass under way; the delegates above read it.
    private readonly Place[] places;
    private Layer? layer;

    private CpuEncoder(EncoderConfig config, IReadOnlyList<string> labelNames, CpuWeights weights, CpuWeights exact, Team team, int capacity)
    {
        (Config, LabelNames, this.weights, Capacity) = (config, labelNames, weights, capacity);
        work = new(team);
        (words, positions, kinds) = (weights.Table("embeddings.word_embeddings.weight"), weights.Table("embeddings.position_embeddings.weight"), weights.Table("embeddings.token_type_embeddings.weight"));
        embeddingNorm = NormOf(weights, "embeddings.LayerNorm");
        layers = [.. Enumerable.Range(0, config.Layers).Select(n => new Layer(weights, $"encoder.layer.{n}"))];
        // One product a text: what integers would spare there is nothing.
        pooler = config.Pooler ? exact.Linear(biased: true, "pooler.dense") : null;
        classifier = config.Labels > 0 ? exact.Linear(biased: true, "classifier") : null;

        // Texts of one pass, one layer of them, each from a page of its own on.
        pageIds = new int[2 * PageList.PagesFor(capacity)];
        pages = weights.Keep(new KeyValuePages(1, config.Heads, config.Width / config.Heads, pageIds.Length));
        for (var i = 0; i < pageIds.Length; i++) pageIds[i] = pages.Take();
        (places, groups) = (new Place[capacity], new int[capacity]);
        (width, feedForward, scoreRoom) = (WeightMatrix.Padded(config.Width, Panel), WeightMatrix.Padded(config.FeedForward, Panel), WeightMatrix.Padded(config.MaxPositions, PageTokens));
        scale = 1 / MathF.Sqrt(config.Width / config.Heads);
        (stream, mixed, gated) = (Vectors(config.Width), Vectors(config.Width), Vectors(config.FeedForward));
        single = weights.Keep(new VectorBatch(1, config.Width));
        (projected, wide, added) = (Floats((long)capacity * 3 * width), Floats((long)capacity * feedForward), Floats((long)capacity * width));
        (scores, head) = (Floats((long)work.Threads * PagedAttention.Together * scoreRoom), Floats(Math.Max(width, WeightMatrix.Padded(config.Labels, Panel))));
        (embed, write, attend, addAttention, activate, addFeedForward) = (Embed, Write, Attend, AddAttention, Activate, AddFeedForward);

        VectorBatch Vectors(int columns) => weights.Keep(new VectorBatch(capacity, columns, weights.IsInteger));
        NativeBuffer Floats(long count) => weights.Keep(NativeBuffer.OfFloats(count));
    }

    /// <summary>The checkpoint's configuration, with the pooler and the labels that its weights have.</summary>
    public EncoderConfig Config { get; }

    /// <summary>What the scores of <see cref="Classify"/> stand for, in their order; empty without a classifier.</summary>
    public IReadOnlyList<string> LabelNames { get; }

    /// <summary>Tokens computed together at most. More are read in several passes, a text always in one.</summary>
    public int Capacity { get; }

    /// <summary>The encoder of a model folder.</summary>
    /// <exception cref="CheckpointException">What is wrong with the folder; a family without encoder alone is <c>unsupported</c>.</exception>
    public static CpuEncoder Load(string folder, WeightFormat format = WeightFormat.Int8, Team? team = null)
    {
        var config = ConfigFile.Load(Path.Combine(folder, ModelFolder.ConfigFileName));
        if (ModelFamilies.Of(config) is var family && family != ModelFamilies.Bert) throw config.Unsupported("model_type", family, ModelFamilies.Bert);
        using var checkpoint = Checkpoint.OpenFolder(folder);
        return Load(EncoderConfig.Read(config), checkpoint, format, team, LeastCapacity, config);
    }

    /// <param name="team">Who computes; by default the process's own team.</param>
    /// <param name="capacity">Tokens computed together at most: as many as there are positions, at least.</param>
    /// <exception cref="CheckpointException">What is wrong with the weights.</exception>
    /// <param name="file">Where the labels' names are; <c>null</c>: they are numbered.</param>
    public static CpuEncoder Load(EncoderConfig config, Checkpoint checkpoint, WeightFormat format = WeightFormat.Int8, Team? team = null, int capacity = LeastCapacity, ConfigFile? file = null)
    {
        (config, var found) = EncoderWeights.Locate(config, checkpoint);
        StoredWeight[] located = [.. found];                        // before anything of the claimed size is made
        var names = EncoderConfig.LabelNames(file ?? ConfigFile.Parse("{}"u8.ToArray(), ModelFolder.ConfigFileName), config.Labels);
        var weights = new CpuWeights(checkpoint, located, format);
        try
        {
            return new(config, names, weights, weights.Keep(new CpuWeights(checkpoint, located, WeightFormat.Exact)), team ?? Team.Shared, Math.Max(capacity, config.MaxPositions));
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>Reads texts, each in both directions and apart from the others.</summary>
    /// <param name="ids">The texts' token ids, one text behind the other.</param>
    /// <param name="lengths">Tokens of each text: 1 to the number of positions.</param>
    /// <param name="types">The token type of each id; empty for all 0.</param>
    /// <param name="states">[tokens C]: the last hidden states are written here.</param>
    /// <exception cref="ArgumentException">An id, a type or a length that the model cannot have, or spans that do not fit together; nothing was written.</exception>
    public void Encode(ReadOnlySpan<int> ids, ReadOnlySpan<int> lengths, ReadOnlySpan<int> types, Span<float> states)
    {
        Check(ids, lengths, types);
        if (states.Length != (long)ids.Length * Config.Width) throw new ArgumentException($"{ids.Length} states of {Config.Width} numbers do not fit {states.Length}.", nameof(states));
        int text = 0, from = 0;
        while (text < lengths.Length)
        {
            int count = 0, longest = 0;
            for (var page = 0; text < lengths.Length; text++)
            {
                var length = lengths[text];
                if (count + length > Capacity || page + PageList.PagesFor(length) > pageIds.Length) break;
                for (var t = 0; t < length; t++, count++) places[count] = new(ids[from + count], types.IsEmpty ? 0 : types[from + count], t, length, page);
                page += PageList.PagesFor(length);
                longest = Math.Max(longest, length);
            }
            Pass(count, longest);
            for (var t = 0; t < count; t++) new ReadOnlySpan<float>(stream.Row(t), Config.Width).CopyTo(states[((from + t) * Config.Width)..]);
            from += count;
        }
    }

    /// <summary>tanh(dense(state)) of a text's first state. [C] → [C]</summary>
    /// <exception cref="InvalidOperationException">The model has no pooler.</exception>
    public void Pool(ReadOnlySpan<float> first, Span<float> pooled)
    {
        Apply(pooler ?? throw new InvalidOperationException("This model has no pooler."), first, pooled, Config.Width);
        for (var i = 0; i < pooled.Length; i++) pooled[i] = MathF.Tanh(pooled[i]);
    }

    /// <summary>The labels' scores before softmax: of the pooled vector for classifiers of texts, of any state for classifiers of tokens. [C] → [labels]</summary>
    /// <exception cref="InvalidOperationException">The model has no labels.</exception>
    public void Classify(ReadOnlySpan<float> vector, Span<float> labels) =>
        Apply(classifier ?? throw new InvalidOperationException("This model has no classifier."), vector, labels, Config.Labels);

    /// <summary>A text's direction: the mean of its states, of length 1 (Sentence-BERT). [tokens C] → [C]</summary>
    public static void Embed(ReadOnlySpan<float> states, Span<float> embedding)
    {
        if (embedding.IsEmpty || states.IsEmpty || states.Length % embedding.Length != 0) throw new ArgumentException($"{states.Length} values are no states of {embedding.Length} each.", nameof(states));
        embedding.Clear();
        for (; !states.IsEmpty; states = states[embedding.Length..]) TensorPrimitives.Add(embedding, states[..embedding.Length], embedding);
        TensorPrimitives.Divide(embedding, MathF.Max(TensorPrimitives.Norm<float>(embedding), 1e-12f), embedding);
    }

    public void Dispose() => weights.Dispose();

    private void Check(ReadOnlySpan<int> ids, ReadOnlySpan<int> lengths, ReadOnlySpan<int> types)
    {
        long tokens = 0;
        for (var text = 0; text < lengths.Length; text++)
        {
            if (lengths[text] < 1 || lengths[text] > Config.MaxPositions) throw new ArgumentException($"Text {text} has {lengths[text]} tokens; 1 to {Config.MaxPositions} can be read.", nameof(lengths));
            tokens += lengths[text];
        }
        if (tokens != ids.Length) throw new ArgumentException($"The lengths add up to {tokens}, but there are {ids.Length} ids.", nameof(lengths));
        if (!types.IsEmpty && types.Length != ids.Length) throw new ArgumentException($"There are {types.Length} types for {ids.Length} ids.", nameof(types));
        for (var i = 0; i < ids.Length; i++)
            if ((uint)ids[i] >= (uint)Config.VocabularySize) throw new ArgumentException($"Id {i} is {ids[i]}; ids are 0 to {Config.VocabularySize - 1}.", nameof(ids));
        for (var i = 0; i < types.Length; i++)
            if ((uint)types[i] >= (uint)Config.TokenTypes) throw new ArgumentException($"Type {i} is {types[i]}; types are 0 to {Config.TokenTypes - 1}.", nameof(types));
    }

    private void Pass(int count, int longest)
    {
        var together = 0;
        for (var t = 0; t < count; t++)
            if (places[t].Position % PagedAttention.Together == 0) groups[together++] = t;
        work.Each(count, width * 8, embed);
        foreach (var block in layers)
        {
            layer = block;
            work.Multiply(block.Input.Matrix, stream, count, projected.Floats, 3 * width);
            work.Each(count, width * 8, write);
            work.Each(together, (long)longest * width * PagedAttention.Together / 2, attend);
            work.Multiply(block.Output.Matrix, mixed, count, added.Floats, width);
            work.Each(count, width * 4, addAttention);
            work.Multiply(block.Up.Matrix, stream, count, wide.Floats, feedForward);
            work.Each(count, feedForward * 8, activate);
            work.Multiply(block.Down.Matrix, gated, count, added.Floats, width);
            work.Each(count, width * 4, addFeedForward);
        }
    }

    private void Embed(int t, int thread)
    {
        ref var place = ref places[t];
        var x = stream.Row(t);
        words.Read(place.Id, x);
        positions.AddTo(place.Position, x);
        kinds.AddTo(place.Type, x);
        Norm(t, embeddingNorm);
    }

    private void Write(int t, int thread)
    {
        ref var place = ref places[t];
        var queries = projected.Floats + (long)t * 3 * width;
        Elementwise.Add(queries, layer!.Input.Bias!.Floats, 3 * width);
        pages.Write(0, pageIds[place.FirstPage + place.Position / PageTokens], place.Position % PageTokens, queries + width, queries + 2 * width);
    }

    private void Attend(int group, int thread)
    {
        var t = groups[group];
        ref var place = ref places[t];
        int count = Math.Min(PagedAttention.Together, place.Length - place.Position), stride = 3 * width;
        float* queries = projected.Floats + (long)t * stride, answers = mixed.Row(t), room = scores.Floats + (long)thread * PagedAttention.Together * scoreRoom;
        var ids = pageIds.AsSpan(place.FirstPage);
        for (var h = 0; h < Config.Heads; h++, queries += pages.HeadWidth, answers += pages.HeadWidth)
            if (count == PagedAttention.Together) PagedAttention.AttendTogether(pages, 0, h, ids, place.Length, queries, stride, scale, room, answers, mixed.Stride);
            else
                for (var i = 0; i < count; i++) PagedAttention.Attend(pages, 0, h, ids, 0, place.Length, queries + (long)i * stride, scale, null, room, answers + (long)i * mixed.Stride);
        for (var i = 0; i < count; i++) mixed.Seal(t + i);
    }

    private void AddAttention(int t, int thread) => Add(t, layer!.Output, layer!.AttentionNorm);

    private void Activate(int t, int thread)
    {
        var x = wide.Floats + (long)t * feedForward;
        Elementwise.Add(x, layer!.Up.Bias!.Floats, feedForward);
        Elementwise.Activate(Config.Activation, x, null, feedForward, gated.Row(t));
        gated.Seal(t);
    }

    private void AddFeedForward(int t, int thread) => Add(t, layer!.Down, layer!.OutputNorm);

    /// <summary>norm(x + branch + its bias)</summary>
    private void Add(int t, CpuLinear branch, CpuNorm norm)
    {
        var x = stream.Row(t);
        Elementwise.Add(x, branch.Bias!.Floats, width);
        Elementwise.Add(x, added.Floats + (long)t * width, width);
        Norm(t, norm);
    }

    private void Norm(int t, CpuNorm norm)
    {
        var x = stream.Row(t);
        Elementwise.LayerNorm(x, norm.Weight.Floats, norm.Bias!.Floats, Config.Width, (float)Config.Epsilon, x);
        stream.Seal(t);
    }

    private void Apply(CpuLinear linear, ReadOnlySpan<float> x, Span<float> y, int results)
    {
        if (x.Length != Config.Width || y.Length != results) throw new ArgumentException($"{Config.Width} numbers give {results}; given were {x.Length} and room for {y.Length}.");
        x.CopyTo(new(single.Row(0), x.Length));
        work.Multiply(linear.Matrix, single, 1, head.Floats, 0);
        for (var i = 0; i < results; i++) y[i] = head.Floats[i] + linear.Bias!.Floats[i];
    }

    private static CpuNorm NormOf(CpuWeights weights, string name) => new(weights.Vector($"{name}.weight"), weights.Vector($"{name}.bias"));

    /// <summary>A token of the pass: where it stands in its text, and the text's first page.</summary>
    private readonly record struct Place(int Id, int Type, int Position, int Length, int FirstPage);

    private sealed record Layer(CpuLinear Input, CpuLinear Output, CpuNorm AttentionNorm, CpuLinear Up, CpuLinear Down, CpuNorm OutputNorm)
    {
        public Layer(CpuWeights weights, string name) : this(
            weights.Linear(biased: true, [.. new[] { "query", "key", "value" }.Select(part => $"{name}.attention.self.{part}")]), weights.Linear(biased: true, $"{name}.attention.output.dense"),
            NormOf(weights, $"{name}.attention.output.LayerNorm"), weights.Linear(biased: true, $"{name}.intermediate.dense"), weights.Linear(biased: true, $"{name}.output.dense"),
            NormOf(weights, $"{name}.output.LayerNorm")) { }
    }
}
