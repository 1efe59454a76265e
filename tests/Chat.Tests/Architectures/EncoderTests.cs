using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Architectures;

/// <summary>What holds for a BERT-shaped encoder; its values stand in <see cref="GoldenFamilyTests"/>.</summary>
public sealed class EncoderTests : IDisposable
{
    private static readonly EncoderConfig Config = new() { VocabularySize = 40, Width = 16, FeedForward = 24, Layers = 2, Heads = 4, MaxPositions = 20, Pad = 5 };
    private static readonly int[][] Texts = [TinyModel.Ids(11, 1), TinyModel.Ids(5, 2)];
    private readonly DisposeScope scope = NewDisposeScope();
    private readonly IDisposable gradients = no_grad();
    private readonly TemporaryFolder folder = new();
    private readonly Encoder model = Build(Config);

    public void Dispose()
    {
        model.Dispose();
        gradients.Dispose();
        scope.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void Padding_changes_no_real_state_and_no_embedding()
    {
        var (ids, mask) = TinyModel.Batch(Texts);
        var (wide, wideMask) = TinyModel.Batch(Texts, extra: 12);                       // beyond the last position
        Tensor plain = model.Forward(ids, mask), padded = model.Forward(wide, wideMask);
        for (var row = 0; row < Texts.Length; row++) TinyModel.Close(plain[row].narrow(0, 0, Texts[row].Length), padded[row].narrow(0, 0, Texts[row].Length));
        TinyModel.Close(Encoder.Embed(plain, mask), Encoder.Embed(padded, wideMask), 1e-6);
        TinyModel.Close(model.Pool(plain), model.Pool(padded));
    }

    [Fact]
    public void An_embedding_is_the_mean_of_the_real_states_at_length_one()
    {
        var (ids, mask) = TinyModel.Batch(Texts);
        var states = model.Forward(ids, mask);
        var embedded = Encoder.Embed(states, mask);
        for (var row = 0; row < Texts.Length; row++)
        {
            var mean = states[row].narrow(0, 0, Texts[row].Length).mean([0]).Floats();
            var size = Math.Sqrt(mean.Sum(value => (double)value * value));
            TinyModel.Close(mean.Select(value => (float)(value / size)).ToArray(), embedded[row].Floats(), 1e-6);
        }
    }

    [Fact]
    public void Token_types_and_order_matter()
    {
        var (ids, mask) = TinyModel.Batch([Texts[0]]);
        var plain = model.Forward(ids, mask).Floats();
        Assert.Equal(plain, model.Forward(ids, mask, zeros_like(ids)).Floats());
        Assert.NotEqual(plain, model.Forward(ids, mask, ones_like(ids)).Floats());
        Assert.Contains(model.Forward(ids.flip(1), mask).flip(1).Floats().Zip(plain), pair => Math.Abs(pair.First - pair.Second) > 1e-2);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_was_saved_is_loaded_bit_by_bit_with_or_without_a_pooler(bool pooler)
    {
        using var one = Build(Config with { Pooler = pooler });
        EncoderWeights.Save(one, folder.At("model.safetensors"));
        File.WriteAllText(folder.At("config.json"), one.Config.ToJson());
        ModelFamilies.Check(folder.Path);
        using var again = Load(folder.Path);
        Assert.Equal(one.Config, again.Config);
        Assert.Equal(one.named_parameters().Select(pair => pair.name), again.named_parameters().Select(pair => pair.name));
        foreach (var (name, weight) in one.named_parameters()) Assert.Equal(weight.Floats(), again.get_parameter(name)!.Floats());
        if (!pooler) Assert.Throws<InvalidOperationException>(() => again.Pool(zeros(1, 1, 16)));
    }

    [Fact]
    public void Prefixed_and_very_old_names_are_the_same_weights()
    {
        static string Old(string name) => "bert." + name.Replace("LayerNorm.weight", "LayerNorm.gamma", StringComparison.Ordinal).Replace("LayerNorm.bias", "LayerNorm.beta", StringComparison.Ordinal);
        SafetensorsWriter.Write(folder.At("model.safetensors"), model.named_parameters().Select(pair => (Old(pair.name), (Tensor)pair.parameter)));
        File.WriteAllText(folder.At("config.json"), Config.ToJson());
        using var again = Load(folder.Path);
        foreach (var (name, weight) in model.named_parameters()) Assert.Equal(weight.Floats(), again.get_parameter(name)!.Floats());
    }

    [Fact]
    public void The_parameters_are_what_the_configuration_needs() =>
        Assert.Equal(EncoderWeights.Needed(Config).Select(weight => $"{weight.Name} [{string.Join(' ', weight.Shape)}]").Order(StringComparer.Ordinal),
            model.named_parameters().Select(pair => $"{pair.name} [{string.Join(' ', pair.parameter.shape)}]").Order(StringComparer.Ordinal));

    [Fact]
    public void Passes_leave_no_tensor_behind()
    {
        void Pass()
        {
            using var inner = NewDisposeScope();
            var (ids, mask) = TinyModel.Batch(Texts);
            model.Pool(model.Forward(ids, mask));
            model.States(ids, mask);
        }
        Pass();
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 20; i++) Pass();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private static Encoder Load(string folder)
    {
        using var checkpoint = Checkpoint.OpenFolder(folder);
        return EncoderWeights.Load(EncoderConfig.Read(ConfigFile.Load(Path.Combine(folder, "config.json"))), checkpoint);
    }

    private static Encoder Build(EncoderConfig config)
    {
        var built = new Encoder(config, seed: 5);
        built.eval();
        using var gradients = no_grad();
        foreach (var (_, weight) in built.named_parameters()) weight.mul_(weight.dim() == 2 ? 20 : 1);
        return built;
    }
}
