using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Modules;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Architectures;

public sealed class EncoderDecoderTests : IDisposable
{
    private readonly DisposeScope scope = NewDisposeScope();
    private static readonly int[][] Contexts = [TinyModel.Ids(9, 1), TinyModel.Ids(4, 2)];
    private static readonly int[][] Replies = [TinyModel.Ids(6, 3), TinyModel.Ids(3, 4)];

    public void Dispose() => scope.Dispose();

    [Theory]
    [InlineData(12, 12, 768, 12, 3072, 300_933_888)]
    [InlineData(24, 24, 1024, 16, 4096, 967_537_664)]
    [InlineData(24, 24, 2048, 32, 5120, 2_841_044_992)]
    public void The_released_sizes_have_their_parameters_to_the_unit(int encoder, int decoder, int width, int heads, int inner, long parameters)
    {
        var config = TinyModel.Config with { VocabularySize = 30_000, EncoderLayers = encoder, DecoderLayers = decoder, Width = width, Heads = heads, HeadWidth = 64, FeedForward = inner };
        Assert.Equal(parameters, EncoderDecoder.ParameterCount(config));
        Assert.Equal(parameters, EvaWeights.Needed(config).Sum(weight => weight.Shape.Aggregate(1L, (product, dim) => product * dim)));
    }

    [Fact]
    public void A_module_without_memory_has_the_parameters_of_the_formula()
    {
        var config = TinyModel.Config with { VocabularySize = 30_000, EncoderLayers = 12, DecoderLayers = 12, Width = 768, Heads = 12, HeadWidth = 64, FeedForward = 3072 };
        using var model = new EncoderDecoder(config, seed: null, device: META);
        Assert.Equal(300_933_888, model.parameters().Sum(weight => weight.numel()));
    }

    [Fact]
    public void Parameter_names_are_the_approved_ones()
    {
        using var model = TinyModel.Build(TinyModel.Config with { EncoderLayers = 1, DecoderLayers = 1 });
        string[] approved =
        [
            "shared.weight [40, 20]", "role_embeds.weight [2, 20]",
            "encoder.block.0.layer.0.SelfAttention.q.weight [24, 20]", "encoder.block.0.layer.0.SelfAttention.k.weight [24, 20]",
            "encoder.block.0.layer.0.SelfAttention.v.weight [24, 20]", "encoder.block.0.layer.0.SelfAttention.o.weight [20, 24]",
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight [32, 3]", "encoder.block.0.layer.0.layer_norm.weight [20]",
            "encoder.block.0.layer.1.DenseReluDense.wi_0.weight [32, 20]", "encoder.block.0.layer.1.DenseReluDense.wi_1.weight [32, 20]",
            "encoder.block.0.layer.1.DenseReluDense.wo.weight [20, 32]", "encoder.block.0.layer.1.layer_norm.weight [20]", "encoder.final_layer_norm.weight [20]",
            "decoder.block.0.layer.0.SelfAttention.q.weight [24, 20]", "decoder.block.0.layer.0.SelfAttention.k.weight [24, 20]",
            "decoder.block.0.layer.0.SelfAttention.v.weight [24, 20]", "decoder.block.0.layer.0.SelfAttention.o.weight [20, 24]",
            "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight [32, 3]", "decoder.block.0.layer.0.layer_norm.weight [20]",
            "decoder.block.0.layer.1.EncDecAttention.q.weight [24, 20]", "decoder.block.0.layer.1.EncDecAttention.k.weight [24, 20]",
            "decoder.block.0.layer.1.EncDecAttention.v.weight [24, 20]", "decoder.block.0.layer.1.EncDecAttention.o.weight [20, 24]", "decoder.block.0.layer.1.layer_norm.weight [20]",
            "decoder.block.0.layer.2.DenseReluDense.wi_0.weight [32, 20]", "decoder.block.0.layer.2.DenseReluDense.wi_1.weight [32, 20]",
            "decoder.block.0.layer.2.DenseReluDense.wo.weight [20, 32]", "decoder.block.0.layer.2.layer_norm.weight [20]", "decoder.final_layer_norm.weight [20]",
            "lm_head.weight [40, 20]",
        ];
        var names = model.named_parameters().Select(pair => $"{pair.name} [{string.Join(", ", pair.parameter.shape)}]").ToArray();
        Assert.Equal(approved.Order(StringComparer.Ordinal), names.Order(StringComparer.Ordinal));
        Assert.Equal(names.Order(StringComparer.Ordinal), EvaWeights.Needed(model.Config).Select(weight => $"{weight.Name} [{string.Join(", ", weight.Shape)}]").Order(StringComparer.Ordinal));
        Assert.Equal(names.Length, model.state_dict().Count);
    }

    [Fact]
    public void Padding_changes_no_valid_logit()
    {
        using var model = TinyModel.Build();
        var plain = Logits(model, Contexts, Replies);
        var padded = Logits(model, Contexts, Replies, extra: 5);
        for (var row = 0; row < Replies.Length; row++)
            TinyModel.Close(plain[row].narrow(0, 0, Replies[row].Length), padded[row].narrow(0, 0, Replies[row].Length));
        TinyModel.Close(Logits(model, [Contexts[1]], [Replies[1]])[0], plain[1].narrow(0, 0, Replies[1].Length));
    }

    [Fact]
    public void The_gradient_of_the_pad_embedding_is_exactly_zero()
    {
        using var model = TinyModel.Build();
        var (labels, _) = TinyModel.Batch([.. Replies.Select((_, row) => TinyModel.Ids(Replies[row].Length, 50 + row))], pad: (int)Losses.Ignored);
        Losses.SampleMean(Logits(model, Contexts, Replies), labels).backward();
        var gradient = model.Weight("shared.weight").grad!;
        Assert.All(gradient[5].Floats(), value => Assert.Equal(0f, value));
        Assert.Contains(gradient[Contexts[0][0]].Floats(), value => value != 0);
    }

    [Fact]
    public void A_later_token_changes_no_earlier_logit()
    {
        using var model = TinyModel.Build();
        var changed = Replies.Select(row => row.ToArray()).ToArray();
        changed[0][3] = changed[0][3] == 10 ? 11 : 10;
        var before = Logits(model, Contexts, Replies);
        var after = Logits(model, Contexts, changed);
        TinyModel.Close(before[0].narrow(0, 0, 3), after[0].narrow(0, 0, 3), absolute: 1e-6);
        Assert.NotEqual(before[0, 3].Floats(), after[0, 3].Floats());
    }

    [Fact]
    public void A_table_of_zero_roles_is_the_same_as_no_roles()
    {
        using var model = TinyModel.Build();
        var roles = ones(2, 9, dtype: ScalarType.Int64);
        var (ids, mask) = TinyModel.Batch(Contexts);
        var none = model.Encode(ids, mask);
        Assert.NotEqual(none.Floats(), model.Encode(ids, mask, roles).Floats());
        using (no_grad()) model.Weight("role_embeds.weight").zero_();
        Assert.Equal(none.Floats(), model.Encode(ids, mask, roles).Floats());
    }

    [Fact]
    public void Roles_without_a_table_are_an_error()
    {
        using var model = TinyModel.Build(TinyModel.Config with { Roles = false });
        var (ids, mask) = TinyModel.Batch(Contexts);
        Assert.Throws<InvalidOperationException>(() => model.Encode(ids, mask, ones_like(ids)));
    }

    [Fact]
    public void The_attention_scale_is_a_factor_of_the_queries()
    {
        using var scaled = TinyModel.Build(TinyModel.Config with { AttentionScale = true });
        using var unscaled = TinyModel.Build(TinyModel.Config with { AttentionScale = false });
        Assert.NotEqual(Logits(scaled, Contexts, Replies).Floats(), Logits(unscaled, Contexts, Replies).Floats());
        using (no_grad())
            foreach (var (name, weight) in scaled.named_parameters())
                if (name.EndsWith(".q.weight", StringComparison.Ordinal)) weight.mul_(Math.Sqrt(TinyModel.Config.HeadWidth));
        TinyModel.Close(Logits(unscaled, Contexts, Replies), Logits(scaled, Contexts, Replies));
    }

    [Fact]
    public void Positions_matter_through_the_bias_alone()
    {
        using var model = TinyModel.Build();
        int[] there = TinyModel.Ids(6, 9), back = [.. there.Reverse()];
        var (forward, mask) = TinyModel.Batch([there]);
        var (backward, _) = TinyModel.Batch([back]);
        Assert.NotEqual(model.Encode(forward, mask).flip(1).Floats(), model.Encode(backward, mask).Floats());
        using (no_grad()) model.Weight("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight").zero_();
        TinyModel.Close(model.Encode(forward, mask).flip(1), model.Encode(backward, mask));
    }

    [Fact]
    public void Without_its_branches_a_stack_is_its_final_norm()
    {
        using var model = TinyModel.Build();
        using var gradients = no_grad();
        foreach (var (name, weight) in model.named_parameters())
            if (name.EndsWith(".o.weight", StringComparison.Ordinal) || name.EndsWith(".wo.weight", StringComparison.Ordinal)) weight.zero_();
        var (ids, mask) = TinyModel.Batch([TinyModel.Ids(5, 11)]);
        var words = model.Weight("shared.weight").index_select(0, ids.flatten()).unsqueeze(0);
        TinyModel.Close(words * (words.square().mean([-1], keepdim: true) + 1e-6).rsqrt(), model.Encode(ids, mask));
    }

    [Fact]
    public void A_fresh_models_loss_is_that_of_guessing()
    {
        using var model = new EncoderDecoder(TinyModel.Config with { InitialDeviation = 0.001 }, seed: 3);
        model.eval();
        var (labels, _) = TinyModel.Batch([TinyModel.Ids(6, 60), TinyModel.Ids(3, 61)], pad: (int)Losses.Ignored);
        Assert.Equal(Math.Log(TinyModel.Config.VocabularySize), Losses.TokenMean(Logits(model, Contexts, Replies), labels).item<float>(), 0.01);
    }

    [Fact]
    public void The_same_seed_gives_the_same_weights()
    {
        using EncoderDecoder one = new(TinyModel.Config, seed: 5), two = new(TinyModel.Config, seed: 5), other = new(TinyModel.Config, seed: 6);
        foreach (var (name, weight) in one.named_parameters()) Assert.Equal(weight.Floats(), two.Weight(name).Floats());
        Assert.NotEqual(one.Weight("lm_head.weight").Floats(), other.Weight("lm_head.weight").Floats());
    }

    [Fact]
    public void All_blocks_of_a_stack_train_the_one_table_of_positions()
    {
        using var model = TinyModel.Build();
        Logits(model, Contexts, Replies).square().sum().backward();
        Assert.All(model.named_parameters().Where(pair => pair.name.Contains("relative_attention_bias", StringComparison.Ordinal)), pair =>
        {
            Assert.Contains(".block.0.", pair.name, StringComparison.Ordinal);
            Assert.True(pair.parameter.grad!.abs().sum().item<float>() > 0);
        });
    }

    [Fact]
    public void Half_precision_stays_near_full_precision()
    {
        using var model = TinyModel.Build(TinyModel.Config with { InitialDeviation = 0.1 });
        var full = Logits(model, Contexts, Replies);
        model.to(ScalarType.BFloat16);
        var half = Logits(model, Contexts, Replies);
        Assert.Equal(ScalarType.BFloat16, half.dtype);
        var error = (full - half.to_type(ScalarType.Float32)).square().mean().sqrt().item<float>();
        Assert.InRange(error, 0, 0.05 * full.square().mean().sqrt().item<float>());
    }

    [Fact]
    public void Training_steps_leave_no_tensor_behind()
    {
        using var model = TinyModel.Build();
        var (labels, _) = TinyModel.Batch([TinyModel.Ids(6, 60), TinyModel.Ids(3, 61)], pad: (int)Losses.Ignored);
        void Step()
        {
            using var inner = NewDisposeScope();
            model.zero_grad(set_to_none: false);
            Losses.SampleMean(Logits(model, Contexts, Replies), labels).backward();
        }
        for (var i = 0; i < 3; i++) Step();
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 50; i++) Step();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private static Tensor Logits(EncoderDecoder model, int[][] contexts, int[][] replies, int extra = 0)
    {
        var (ids, mask) = TinyModel.Batch(contexts, extra);
        return model.Forward(ids, mask, TinyModel.Batch(replies, extra).Ids);
    }
}
