using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Architectures;

/// <summary>What holds for every decoder-only family: one reference, cached steps, pads, files, memory.</summary>
public sealed class DecoderTests : IDisposable
{
    private readonly DisposeScope scope = NewDisposeScope();
    private readonly IDisposable gradients = no_grad();
    private readonly TemporaryFolder folder = new();
    private static readonly int[][] Texts = [TinyDecoder.Ids(11, 1), TinyDecoder.Ids(5, 2), TinyDecoder.Ids(8, 3)];

    public static TheoryData<string> Families => TinyDecoder.Names;

    public void Dispose()
    {
        gradients.Dispose();
        scope.Dispose();
        folder.Dispose();
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void A_forward_pass_agrees_with_the_slow_reference(string family)
    {
        using var model = TinyDecoder.Build(family);
        var reference = new NaiveDecoder(model);
        var logits = model.Forward(TinyModel.Batch(Texts, extra: 2).Ids);
        for (var row = 0; row < Texts.Length; row++) Agree(reference.Logits(Texts[row]), logits[row]);
        Agree(reference.Logits(Texts[1], firstPosition: 20), model.Forward(TinyModel.Batch([Texts[1]]).Ids, firstPosition: 20)[0]);
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Every_switch_of_a_family_shows_in_its_logits(string family)
    {
        var config = TinyDecoder.Families[family];
        DecoderConfig[] others =
        [
            config with { LayerScale = !config.LayerScale },
            config with { AttentionScale = false },
            .. config.Rotary is { } rotary ? new[] { config with { Rotary = rotary with { Theta = rotary.Theta * 3 } } } : [],
            .. config.Rotary?.Scaling is not null ? new[] { config with { Rotary = new(config.Rotary.Theta) } } : [],
            .. config.Window is { } window ? new[] { config with { Window = null }, config with { Window = window + 1 } } : [],
            .. config.WindowFrom > 0 || config.WindowLayers is not null ? new[] { config with { WindowFrom = 0, WindowLayers = null } } : [],
        ];
        using var model = TinyDecoder.Build(family);
        var path = folder.At("model.safetensors");
        DecoderWeights.Save(model, path);
        using var checkpoint = Checkpoint.OpenFile(path);
        var expected = model.Forward(TinyModel.Batch(Texts).Ids).Floats();
        foreach (var other in others)
        {
            using var changed = DecoderWeights.Load(other, checkpoint);
            Assert.Contains(changed.Forward(TinyModel.Batch(Texts).Ids).Floats().Zip(expected), pair => Math.Abs(pair.First - pair.Second) > 1e-2);
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void One_token_at_a_time_is_the_whole_text_at_once(string family)
    {
        using var model = TinyDecoder.Build(family);
        using var cache = model.Cache(rows: 4, maxLength: 12);
        for (var t = 0; t < 11; t++)
        {
            int[] rows = [.. Enumerable.Range(0, 3).Where(row => t < Texts[row].Length)];
            var logits = model.Step(cache, rows, TinyModel.Batch([.. rows.Select(row => new[] { Texts[row][t] })]).Ids, [.. rows.Select(_ => 1)]);
            for (var i = 0; i < rows.Length; i++) TinyModel.Close(Whole(model, rows[i])[t], logits[i, 0]);
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Ragged_chunks_and_forks_agree_with_whole_texts(string family)
    {
        using var model = TinyDecoder.Build(family);
        using var cache = model.Cache(rows: 4, maxLength: 12);
        model.Advance(cache, [2, 0], TinyModel.Batch([Texts[2][..3], Texts[0][..6]], extra: 2).Ids, [3, 6]);
        cache.Fork([(0, 1), (2, 0), (0, 2)]);                                           // 0 and 2 change places, and 1 copies what 0 was
        Assert.Equal([3, 6, 6, 0], Enumerable.Range(0, 4).Select(cache.Length));
        var logits = model.Step(cache, [1, 0, 2], TinyModel.Batch([Texts[0][6..10], Texts[2][3..5], Texts[0][6..7]]).Ids, [4, 2, 1]);
        TinyModel.Close(Whole(model, 0).narrow(0, 6, 4), logits[0]);
        TinyModel.Close(Whole(model, 2).narrow(0, 3, 2), logits[1].narrow(0, 0, 2));
        TinyModel.Close(Whole(model, 0).narrow(0, 6, 1), logits[2].narrow(0, 0, 1));
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void What_was_saved_is_loaded_bit_by_bit(string family)
    {
        using var model = TinyDecoder.Build(family);
        DecoderWeights.Save(model, folder.At("model.safetensors"));
        File.WriteAllText(folder.At("config.json"), DecoderConfigFile.ToJson(model.Config));
        ModelFamilies.Check(folder.Path);

        var file = ConfigFile.Load(folder.At("config.json"));
        var config = DecoderConfigFile.Read(file, DecoderConfigFile.Families[ModelFamilies.Of(file)]);
        Assert.Equal(DecoderConfigFile.ToJson(model.Config), DecoderConfigFile.ToJson(config));
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        using var again = DecoderWeights.Load(config, checkpoint);
        Assert.Equal(model.named_parameters().Select(pair => pair.name), again.named_parameters().Select(pair => pair.name));
        foreach (var (name, weight) in model.named_parameters()) Assert.Equal(weight.Floats(), again.get_parameter(name)!.Floats());
        Assert.Equal(model.Forward(TinyModel.Batch(Texts).Ids).Floats(), again.Forward(TinyModel.Batch(Texts).Ids).Floats());

        DecoderWeights.Save(again, folder.At("again.safetensors"));
        Assert.Equal(File.ReadAllBytes(folder.At("model.safetensors")), File.ReadAllBytes(folder.At("again.safetensors")));
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void The_parameters_are_what_the_configuration_needs(string family)
    {
        using var model = TinyDecoder.Build(family);
        Assert.Equal(DecoderWeights.Needed(model.Config).Select(weight => $"{weight.Name} [{string.Join(' ', weight.Shape)}]").Order(StringComparer.Ordinal),
            model.named_parameters().Select(pair => $"{pair.name} [{string.Join(' ', pair.parameter.shape)}]").Order(StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Numbers_read_without_tensors_are_the_models(string family)
    {
        using var model = TinyDecoder.Build(family);
        foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16 })
        {
            var path = folder.At($"{type}.safetensors");
            DecoderWeights.Save(model, path, type);
            using var checkpoint = Checkpoint.OpenFile(path);
            foreach (var weight in DecoderWeights.Locate(model.Config, checkpoint).Weights)
                Assert.Equal(model.get_parameter(weight.Name)!.to_type(type).Floats(), weight.ReadFloats(checkpoint));
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Passes_leave_no_tensor_behind(string family)
    {
        using var model = TinyDecoder.Build(family);
        using var cache = model.Cache(rows: 3, maxLength: 12);
        void Pass()
        {
            using var inner = NewDisposeScope();
            model.Forward(TinyModel.Batch(Texts).Ids);
            model.Step(cache, [0, 1], TinyModel.Batch([Texts[0][..4], Texts[1][..2]]).Ids, [4, 2]);
            cache.Fork([(0, 2)]);
            for (var row = 0; row < 3; row++) cache.Clear(row);
        }
        Pass();
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 20; i++) Pass();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void A_full_row_takes_no_token()
    {
        using var model = TinyDecoder.Build("llama");
        using var cache = model.Cache(rows: 1, maxLength: 4);
        model.Step(cache, [0], TinyModel.Batch([Texts[0][..3]]).Ids, [3]);
        Assert.Throws<InvalidOperationException>(() => model.Step(cache, [0], TinyModel.Batch([Texts[0][3..5]]).Ids, [2]));
        Assert.Equal(3, cache.Length(0));
    }

    /// <summary>[T V]</summary>
    private static Tensor Whole(Decoder model, int row) => model.Forward(TinyModel.Batch([Texts[row]]).Ids)[0];

    private static void Agree(double[][] expected, Tensor actual) =>
        TinyModel.Close(expected.SelectMany(row => row).Select(value => (float)value).ToArray(), actual.narrow(0, 0, expected.Length).Floats(), 1e-4, 1e-4);
}
