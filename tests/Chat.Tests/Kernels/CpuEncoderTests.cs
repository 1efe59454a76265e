using System.Numerics.Tensors;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using Chat.Models.Modules;
using Chat.Tests.Architectures;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Kernels;

/// <summary>BERT-shaped encoders on the kernels, against libtorch in float32.</summary>
public sealed class CpuEncoderTests : IDisposable
{
    private static readonly EncoderConfig Plain = new() { VocabularySize = 40, Width = 32, FeedForward = 64, Layers = 3, Heads = 2, MaxPositions = 40, Labels = 3 };
    private static readonly int[][] Texts = [TinyModel.Ids(11, 1), TinyModel.Ids(1, 2), TinyModel.Ids(40, 3), TinyModel.Ids(17, 4), TinyModel.Ids(32, 5), TinyModel.Ids(16, 6)];
    private readonly DisposeScope scope = NewDisposeScope();
    private readonly IDisposable gradients = no_grad();
    private readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        gradients.Dispose();
        scope.Dispose();
        folder.Dispose();
    }

    public static TheoryData<EncoderConfig> Shapes => new(
        Plain,
        Plain with { Width = 35, Heads = 5, FeedForward = 50, Epsilon = 1e-5, Labels = 17 },
        Plain with { Activation = Activation.GeluTanh, TokenTypes = 3, Pooler = false },
        Plain with { Activation = Activation.Relu, Heads = 1, Labels = 0 },
        Plain with { Width = 128, Layers = 1 });

    [Theory, MemberData(nameof(Shapes))]
    public void Every_shape_gives_the_states_behind_each_layer_the_pooled_vector_and_the_labels_that_libtorch_gives(EncoderConfig config)
    {
        using var model = Save(config);
        var (ids, mask) = TinyModel.Batch(Texts);
        var types = Texts.Select(text => text.Select((_, i) => i * config.TokenTypes / text.Length).ToArray()).ToArray();
        var states = model.States(ids, mask, TinyModel.Batch(types, pad: 0).Ids);
        for (var layers = 0; layers <= config.Layers; layers++)
        {
            using var upTo = Load(config with { Layers = layers });
            var rows = Read(upTo, Texts, types);
            for (var row = 0; row < rows.Length; row++) TinyModel.Close(states[layers][row].narrow(0, 0, Texts[row].Length).Floats(), rows[row]);
        }

        using var encoder = Load(config with { Labels = 0, Pooler = true });
        Assert.Equal(config, encoder.Config);
        var last = Read(encoder, Texts, types);
        float[] pooled = new float[config.Width], embedding = new float[config.Width], labels = new float[config.Labels];
        for (var row = 0; row < Texts.Length; row++)
        {
            var first = last[row][..config.Width];
            CpuEncoder.Embed(last[row], embedding);
            TinyModel.Close(Encoder.Embed(states[^1], mask)[row].Floats(), embedding, 1e-5);
            if (config.Pooler)
            {
                encoder.Pool(first, pooled);
                TinyModel.Close(model.Pool(states[^1])[row].Floats(), pooled);
                first = [.. pooled];
            }
            else Assert.Throws<InvalidOperationException>(() => encoder.Pool(first, pooled));
            if (config.Labels > 0)
            {
                encoder.Classify(first, labels);
                TinyModel.Close(model.Classify(config.Pooler ? model.Pool(states[^1]) : states[^1].select(1, 0))[row].Floats(), labels);
            }
            else Assert.Throws<InvalidOperationException>(() => encoder.Classify(first, labels));
        }
    }

    [Fact]
    public void Bfloat16_weights_lose_nothing()
    {
        using var model = Save(Plain, ScalarType.BFloat16);
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        using var rounded = EncoderWeights.Load(Plain, checkpoint, dtype: ScalarType.Float32);
        using var encoder = Load(Plain);
        var (ids, mask) = TinyModel.Batch(Texts);
        var states = rounded.Forward(ids, mask);
        Assert.DoesNotContain(states.Floats().Zip(model.Forward(ids, mask).Floats()), pair => pair.First == pair.Second);

        var rows = Read(encoder, Texts);
        for (var row = 0; row < rows.Length; row++) TinyModel.Close(states[row].narrow(0, 0, Texts[row].Length).Floats(), rows[row]);
    }

    [Theory]
    [InlineData(WeightFormat.Int8, 0.05), InlineData(WeightFormat.Int4, 0.5)]
    public void Integer_weights_give_nearly_the_exact_states(WeightFormat format, double most)
    {
        using var model = Save(Plain with { Width = 64, FeedForward = 256 });
        using var exact = Load(model.Config);
        using var coded = Load(model.Config, format);

        var worst = Read(exact, Texts).Zip(Read(coded, Texts)).SelectMany(pair => pair.First.Chunk(64).Zip(pair.Second.Chunk(64)))
            .Max(pair => TensorPrimitives.Distance<float>(pair.First, pair.Second) / TensorPrimitives.Norm<float>(pair.First));

        Assert.InRange(worst, most / 20, most);
    }

    [Theory]
    [InlineData(WeightFormat.Exact, 1), InlineData(WeightFormat.Int8, 1), InlineData(WeightFormat.Int4, 2)]
    public void A_text_has_the_same_bits_alone_and_in_company_of_any_size_and_with_any_team(WeightFormat format, int threads)
    {
        Save(Plain).Dispose();
        using var team = new Team(threads);
        using var alone = Load(Plain, format);
        using var company = Load(Plain, format, team, capacity: 40);              // several passes
        using var all = Load(Plain, format, team, capacity: 1_000);

        var expected = Texts.Select(text => Read(alone, [text])[0]).ToArray();

        Assert.Equal(expected, Read(company, Texts));
        Assert.Equal(expected, Read(all, Texts));
        // Many short texts need more pages than tokens would.
        int[][] words = [.. Enumerable.Range(0, 50).Select(i => TinyModel.Ids(1, i))];
        Assert.Equal(words.Select(word => Read(alone, [word])[0]), Read(company, words));
    }

    [Fact]
    public void Input_that_cannot_be_is_an_error_that_says_what_and_leaves_the_encoder_as_it_was()
    {
        Save(Plain with { Labels = 0 }).Dispose();
        using var encoder = Load(Plain with { Labels = 0 });
        var before = Read(encoder, Texts);
        var states = new float[3 * 32];

        Throws("Text 1 has 0 tokens; 1 to 40 can be read", [6, 7, 8], [3, 0]);
        Throws("Text 0 has -1 tokens", [6, 7, 8], [-1, 4]);
        Throws("Text 0 has 41 tokens", new int[41], [41]);
        Throws("The lengths add up to 2, but there are 3 ids", [6, 7, 8], [2]);
        Throws("The lengths add up to 4, but there are 3 ids", [6, 7, 8], [2, 2]);
        Throws("Id 1 is 40; ids are 0 to 39", [6, 40, 8], [3]);
        Throws("Id 2 is -1", [6, 7, -1], [3]);
        Throws("Type 0 is 2; types are 0 to 1", [6, 7, 8], [3], [2, 0, 0]);
        Throws("There are 2 types for 3 ids", [6, 7, 8], [3], [0, 0]);
        Throws("4 states of 32 numbers do not fit 96", [6, 7, 8, 9], [4]);
        Assert.All(states, value => Assert.Equal(0, value));
        Assert.Throws<ArgumentException>(() => encoder.Pool(new float[31], new float[32]));
        Assert.Throws<ArgumentException>(() => encoder.Pool(new float[32], new float[33]));
        Assert.Throws<ArgumentException>(() => CpuEncoder.Embed(new float[33], new float[32]));
        Assert.Throws<ArgumentException>(() => CpuEncoder.Embed([], new float[32]));

        encoder.Encode([], [], [], []);
        Assert.Equal(before, Read(encoder, Texts));

        void Throws(string message, int[] ids, int[] lengths, int[]? types = null) =>
            Assert.Contains(message, Assert.Throws<ArgumentException>(() => encoder.Encode(ids, lengths, types ?? [], states)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(WeightFormat.Exact, 1), InlineData(WeightFormat.Int8, 2), InlineData(WeightFormat.Int4, 1)]
    public void Reading_allocates_nothing(WeightFormat format, int threads)
    {
        Save(Plain).Dispose();
        using var team = new Team(threads);
        using var encoder = Load(Plain, format, team, capacity: 60);
        int[] ids = [.. Texts.SelectMany(text => text)], lengths = [.. Texts.Select(text => text.Length)], types = new int[ids.Length];
        float[] states = new float[ids.Length * 32], vector = new float[32], labels = new float[3];
        long Round()
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 20; i++)
            {
                encoder.Encode(ids, lengths, types, states);
                encoder.Pool(states.AsSpan(0, 32), vector);
                encoder.Classify(vector, labels);
                CpuEncoder.Embed(states.AsSpan(0, 11 * 32), vector);
            }
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        // What happens once may fall into any one round; what happens each time falls into all.
        Assert.Contains(0, Enumerable.Range(0, 5).Select(_ => Round()));
    }

    [Fact]
    public void A_folder_of_another_family_or_without_a_weight_is_refused()
    {
        var model = Save(Plain);
        File.WriteAllText(folder.At("config.json"), model.Config.ToJson());
        using (var encoder = CpuEncoder.Load(folder.Path)) Assert.Equal(model.Config, encoder.Config);

        File.WriteAllText(folder.At("config.json"), (model.Config with { Layers = 4 }).ToJson());
        Assert.Equal(CheckpointErrors.MissingTensor, Assert.Throws<CheckpointException>(() => CpuEncoder.Load(folder.Path)).Kind);
        Assert.Equal(CheckpointErrors.Unsupported, Assert.Throws<CheckpointException>(() => CpuEncoder.Load(Golden.At("families/models/gpt2_a"))).Kind);
        model.Dispose();
    }

    [Theory]
    [InlineData("", "LABEL_0 LABEL_1 LABEL_2")]
    [InlineData(""","id2label":null""", "LABEL_0 LABEL_1 LABEL_2")]
    [InlineData(""","id2label":{"2":"joy","0":"anger","1":"忧"},"label2id":{}""", "anger 忧 joy")]
    [InlineData(""","id2label":{"0":"anger","1":"fear"}""", null)]
    [InlineData(""","id2label":{"0":"a","1":"b","2":"c","3":"d"}""", null)]
    [InlineData(""","id2label":{"0":"a","1":"b","2":3}""", null)]
    [InlineData(""","id2label":["a","b","c"]""", null)]
    public void A_classifiers_labels_have_the_names_of_the_configuration(string names, string? expected)
    {
        using var model = Save(Plain);
        File.WriteAllText(folder.At("config.json"), Plain.ToJson().TrimEnd()[..^1] + names + "}");
        if (expected is null)
        {
            var error = Assert.Throws<CheckpointException>(() => CpuEncoder.Load(folder.Path));
            Assert.Equal(CheckpointErrors.BadConfig, error.Kind);
            Assert.Contains("id2label", error.Message, StringComparison.Ordinal);
            return;
        }
        using var encoder = CpuEncoder.Load(folder.Path);
        Assert.Equal(expected.Split(' '), encoder.LabelNames);
    }

    [Fact]
    public void An_encoder_without_a_classifier_has_no_label_names()
    {
        using var model = Save(Plain with { Labels = 0 });
        File.WriteAllText(folder.At("config.json"), Plain.ToJson().TrimEnd()[..^1] + ""","id2label":{"0":"LABEL_0","1":"LABEL_1"}}""");
        using var encoder = CpuEncoder.Load(folder.Path);
        Assert.Empty(encoder.LabelNames);
    }

    /// <summary>A model with weights large enough that every part of it shows, saved in the folder.</summary>
    private Encoder Save(EncoderConfig config, ScalarType? dtype = null)
    {
        var model = new Encoder(config, seed: 5);
        model.eval();
        using var generator = new Generator(3, CPU);
        foreach (var (name, weight) in model.named_parameters())
        {
            if (weight.dim() == 2) weight.mul_(10);
            else weight.add_(empty(weight.shape).normal_(0, 0.3, generator));
        }
        EncoderWeights.Save(model, folder.At(Checkpoint.SingleFile), dtype);
        return model;
    }

    private CpuEncoder Load(EncoderConfig config, WeightFormat format = WeightFormat.Exact, Team? team = null, int capacity = 128)
    {
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        return CpuEncoder.Load(config, checkpoint, format, team, capacity);
    }

    /// <summary>The last states of each text, [tokens C].</summary>
    private static float[][] Read(CpuEncoder encoder, int[][] texts, int[][]? types = null)
    {
        var states = new float[texts.Sum(text => text.Length) * encoder.Config.Width];
        encoder.Encode([.. texts.SelectMany(text => text)], [.. texts.Select(text => text.Length)], types is null ? [] : [.. types.SelectMany(text => text)], states);
        var from = 0;
        return [.. texts.Select(text => states[from..(from += text.Length * encoder.Config.Width)])];
    }
}
