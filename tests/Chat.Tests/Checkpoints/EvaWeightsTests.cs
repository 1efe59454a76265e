using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;
using Chat.Tests.Architectures;
using static TorchSharp.torch;

namespace Chat.Tests.Checkpoints;

public sealed class EvaWeightsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_saved_model_loads_bit_by_bit(bool megatron)
    {
        using var model = TinyModel.Build();
        EvaWeights.Save(model, folder.At("model.safetensors"), megatron);
        using var loaded = Load(model.Config);
        AssertSame(model, loaded);
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void T5_with_and_without_gates_and_a_head_of_its_own_survives_a_file(bool gated, bool tied)
    {
        using var gradients = no_grad();
        using var model = TinyModel.Build(TinyModel.T5 with { Gated = gated, Tied = tied, Activation = gated ? Activation.GeluTanh : Activation.Relu, InitialDeviation = 0.05 });
        EvaWeights.Save(model, folder.At("model.safetensors"));
        File.WriteAllText(folder.At("config.json"), model.Config.ToJson());
        ModelFamilies.Check(folder.Path);
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        using var again = EvaWeights.Load(EncoderDecoderConfig.Load(folder.At("config.json")), checkpoint);
        var (ids, mask) = TinyModel.Batch([TinyModel.Ids(9, 1)]);
        var (replies, _) = TinyModel.Batch([TinyModel.Ids(5, 2)]);
        Assert.Equal(model.Forward(ids, mask, replies).Floats(), again.Forward(ids, mask, replies).Floats());
        Assert.Equal(EncoderDecoder.ParameterCount(model.Config), model.parameters().Sum(weight => weight.numel()));
    }

    [Fact]
    public void A_tied_head_is_the_table_of_words_over_the_root_of_the_width()
    {
        using var gradients = no_grad();
        using var tied = TinyModel.Build(TinyModel.T5 with { Tied = true });
        using var untied = TinyModel.Build(TinyModel.T5);
        foreach (var (name, weight) in tied.named_parameters()) untied.Weight(name).copy_(weight);
        untied.Weight("lm_head.weight").copy_(tied.Weight("shared.weight") / Math.Sqrt(TinyModel.T5.Width));
        var (ids, mask) = TinyModel.Batch([TinyModel.Ids(9, 1)]);
        var (replies, _) = TinyModel.Batch([TinyModel.Ids(5, 2)]);
        TinyModel.Close(untied.Forward(ids, mask, replies), tied.Forward(ids, mask, replies));
    }

    [Fact]
    public void Megatron_to_Hugging_Face_and_back_loses_nothing()
    {
        var config = EncoderDecoderConfig.Load(Golden.At("eva/models/m1/config.json"));
        using var source = Checkpoint.OpenFile(Golden.At("eva/models/m1/megatron.safetensors"));
        using var model = EvaWeights.Load(config, source);
        EvaWeights.Save(model, folder.At("model.safetensors"));
        using var again = Load(config);
        EvaWeights.Save(again, folder.At("megatron.safetensors"), megatron: true);

        using var target = Checkpoint.OpenFile(folder.At("megatron.safetensors"));
        Assert.Equal(source.Entries.Select(entry => entry.Name).Order(), target.Entries.Select(entry => entry.Name).Order());
        foreach (var entry in source.Entries) Assert.Equal(Bytes(source, entry), Bytes(target, target.Find(entry.Name)!));
    }

    [Fact]
    public void Both_namings_of_the_reference_are_the_same_model()
    {
        var config = EncoderDecoderConfig.Load(Golden.At("eva/models/m1/config.json"));
        using var hugging = Checkpoint.OpenFolder(Golden.At("eva/models/m1"));
        using var megatron = Checkpoint.OpenFile(Golden.At("eva/models/m1/megatron.safetensors"));
        using EncoderDecoder one = EvaWeights.Load(config, hugging), two = EvaWeights.Load(config, megatron);
        AssertSame(one, two);
    }

    [Fact]
    public void An_alias_stands_in_for_an_absent_name()
    {
        using var model = TinyModel.Build();
        var weights = model.named_parameters().Select(pair => (pair.name switch
        {
            "shared.weight" => "encoder.embed_tokens.weight",
            "role_embeds.weight" => "decoder.role_embeds.weight",
            var name => name,
        }, (Tensor)pair.parameter));
        SafetensorsWriter.Write(folder.At("model.safetensors"), weights);
        using var loaded = Load(model.Config);
        AssertSame(model, loaded);
    }

    [Fact]
    public void A_checkpoint_without_roles_is_a_model_without_roles()
    {
        using var model = TinyModel.Build(TinyModel.Config with { Roles = false });
        EvaWeights.Save(model, folder.At("model.safetensors"));
        using var loaded = Load(TinyModel.Config);
        Assert.False(loaded.Config.Roles);
        AssertSame(model, loaded);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float16)]
    public void Half_precision_weights_become_the_float32_they_stand_for(ScalarType type)
    {
        using var model = TinyModel.Build();
        EvaWeights.Save(model, folder.At("model.safetensors"), dtype: type);
        using var loaded = Load(model.Config);
        foreach (var (name, weight) in model.named_parameters())
        {
            Assert.Equal(ScalarType.Float32, loaded.Weight(name).dtype);
            Assert.Equal(weight.to_type(type).to_type(ScalarType.Float32).Floats(), loaded.Weight(name).Floats());
        }
    }

    [Fact]
    public void Weights_that_do_not_fit_are_refused_before_a_model_is_built()
    {
        using var model = TinyModel.Build();
        var weights = model.named_parameters().Select(pair => (pair.name, (Tensor)pair.parameter)).ToArray();
        Assert.Equal("missing_tensor", Refused(weights[..^1]));
        Assert.Equal("shape_mismatch", Refused([.. weights[..^1], ("lm_head.weight", zeros(40, 21))]));
        Assert.Equal("non_finite", Refused([.. weights[..^1], ("lm_head.weight", full(40, 20, float.NaN))]));

        string Refused((string, Tensor)[] broken)
        {
            SafetensorsWriter.Write(folder.At("model.safetensors"), broken);
            return Assert.Throws<CheckpointException>(() => Load(TinyModel.Config)).Kind;
        }
    }

    private EncoderDecoder Load(EncoderDecoderConfig config)
    {
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        return EvaWeights.Load(config, checkpoint);
    }

    private static void AssertSame(EncoderDecoder expected, EncoderDecoder actual)
    {
        Assert.Equal(expected.named_parameters().Select(pair => pair.name), actual.named_parameters().Select(pair => pair.name));
        foreach (var (name, weight) in expected.named_parameters()) Assert.Equal(weight.Floats(), actual.Weight(name).Floats());
    }

    private static byte[] Bytes(Checkpoint checkpoint, TensorEntry entry)
    {
        var bytes = new byte[entry.End - entry.Begin];
        checkpoint.Read(entry, 0, bytes);
        return bytes;
    }
}
