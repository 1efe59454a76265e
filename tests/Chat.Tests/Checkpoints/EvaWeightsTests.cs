using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
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
