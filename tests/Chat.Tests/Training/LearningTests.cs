using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

public class LearningTests
{
    private static readonly PluginCatalog Plugins = new(typeof(ITrainingMethod).Assembly);

    public static TheoryData<string> Methods => [.. Plugins.OfKind("method").Select(m => m.Name)];

    private static readonly Sample[] Four = [new([20, 21, 2, 3], [30, 31, 2]), new([22, 2, 3], [32, 33, 34, 35, 2]), new([23, 24, 25, 2, 3], [36, 2]), new([26, 2, 3], [37, 38, 2])];

    [Theory, MemberData(nameof(Methods))]
    public void Every_method_overfits_four_samples(string name)
    {
        using var model = Tiny(ScalarType.Float32);
        using var optimiser = new MasterAdamW(model.named_parameters(), 0);
        var method = Plugins.Create<ITrainingMethod>(name);
        var loss = 0f;

        for (var step = 0; step < 150; step++)
        {
            using var scope = NewDisposeScope();
            var value = method.Loss(model, new Batch(Four));
            value.backward();
            optimiser.Step(0.005, optimiser.GradientNorm(), 1);
            loss = value.item<float>();
        }

        Assert.InRange(loss, 0, 0.05f);
    }

    [Theory, MemberData(nameof(Methods))]
    public void Batches_of_one_update_add_up_to_the_batch_of_them_all_whose_pads_no_method_sees(string name)
    {
        using var model = Tiny(ScalarType.Float32);
        using var gradients = no_grad();
        var method = Plugins.Create<ITrainingMethod>(name);
        var wide = new Sample([.. Enumerable.Repeat(20, 20), 2, 3], [.. Enumerable.Repeat(30, 12), 2]);
        Batch narrow = new([Four[0]]), two = new([wide, Four[1]]), all = new([Four[0], wide, Four[1]]);
        using var first = method.Loss(model, narrow);
        using var second = method.Loss(model, two);
        using var whole = method.Loss(model, all);

        Assert.Equal(name == "token-mean" ? 3 : 1, method.Weight(narrow));
        Assert.Equal(method.Weight(all), method.Weight(narrow) + method.Weight(two));
        Assert.Equal((method.Weight(narrow) * first.item<float>() + method.Weight(two) * second.item<float>()) / method.Weight(all), whole.item<float>(), 1e-5);
    }

    [Fact]
    public void The_optimiser_is_AdamW_in_double_precision()
    {
        using var weight = nn.Parameter(tensor(new[] { 1f, -2f, 3f, 0.5f }, [2, 2]));
        using var gain = nn.Parameter(tensor(new[] { 1f, 2f }));
        using var optimiser = new MasterAdamW([("w", weight), ("g", gain)], weightDecay: 0.1);
        double[] w = [1, -2, 3, 0.5], g = [1, 2], m = new double[6], v = new double[6];

        for (var step = 1; step <= 5; step++)
        {
            using var scope = NewDisposeScope();
            ((weight * weight).sum() + (gain * gain * gain).sum()).backward();
            double[] gradient = [.. w.Select(x => 2 * x), .. g.Select(x => 3 * x * x)];
            var norm = Math.Sqrt(gradient.Sum(x => x * x));
            Assert.Equal(norm, optimiser.GradientNorm(), 1e-3);
            optimiser.Step(0.01, optimiser.GradientNorm(), clip: 5);
            for (var i = 0; i < 6; i++)
            {
                var d = gradient[i] * Math.Min(1, 5 / norm);
                m[i] = 0.9 * m[i] + 0.1 * d;
                v[i] = 0.98 * v[i] + 0.02 * d * d;
                var update = 0.01 * (m[i] / (1 - Math.Pow(0.9, step))) / (Math.Sqrt(v[i] / (1 - Math.Pow(0.98, step))) + 1e-8);
                if (i < 4) w[i] = w[i] * (1 - 0.001) - update;
                else g[i - 4] -= update;
            }
        }

        Assert.Equal(w, weight.data<float>().ToArray().Select(x => (double)x), Near);
        Assert.Equal(g, gain.data<float>().ToArray().Select(x => (double)x), Near);
    }

    [Fact]
    public void A_bfloat16_weight_follows_its_master()
    {
        using var weight = nn.Parameter(ones([2, 2], ScalarType.BFloat16));
        using var optimiser = new MasterAdamW([("w", weight)], 0);

        for (var step = 0; step < 100; step++)
        {
            using var scope = NewDisposeScope();
            weight.sum().backward();
            optimiser.Step(1e-4, optimiser.GradientNorm(), 100);
        }

        // Each update is below bfloat16's spacing at 1; only the master can add them up.
        Assert.Equal(0.99, optimiser.State.First().Value[0, 0].item<float>(), 1e-4);
        Assert.Equal(0.99, weight[0, 0].to_type(ScalarType.Float32).item<float>(), 0.004);
    }

    [Fact]
    public void Scaling_reaches_weight_and_master_and_nothing_else()
    {
        using var model = Tiny(ScalarType.Float32);
        using var optimiser = new MasterAdamW(model.named_parameters(), 0);
        var before = model.named_parameters().Single(p => p.name == "shared.weight").parameter.data<float>().ToArray();

        optimiser.Scale("shared.weight", 16);

        Assert.Equal(before.Select(x => x * 16), model.named_parameters().Single(p => p.name == "shared.weight").parameter.data<float>().ToArray());
        Assert.Equal(before.Select(x => x * 16), optimiser.State.Single(s => s.Name == "weight/shared.weight").Value.data<float>().ToArray());
    }

    [Theory]
    [InlineData("constant", 1, 0.1), InlineData("constant", 10, 1.0), InlineData("constant", 110, 1.0)]
    [InlineData("linear", 60, 0.6), InlineData("linear", 110, 0.2)]
    [InlineData("cosine", 60, 0.6), InlineData("cosine", 110, 0.2)]
    [InlineData("noam", 5, 0.5), InlineData("noam", 40, 0.5)]
    public void The_rate_follows_the_schedule(string schedule, int step, double expected)
    {
        var stage = new StageRecipe("s", "sample-mean", 110, 100, 1.0, [], 8, 8, Warmup: 10, Schedule: schedule, FinalShare: 0.2);

        Assert.Equal(expected, Schedule.Rate(stage, step), 9);
    }

    private static readonly IEqualityComparer<double> Near = EqualityComparer<double>.Create((a, b) => Math.Abs(a - b) < 1e-5);

    private static EncoderDecoder Tiny(ScalarType type) => new(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16), 40, 0) with { Pad = TokenizerFile.Pad }, 1, dtype: type);
}
