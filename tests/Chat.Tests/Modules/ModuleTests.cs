using Chat.Models.Modules;
using Chat.Tests.Architectures;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Modules;

/// <summary>Blocks and losses against loops in double precision.</summary>
public sealed class ModuleTests : IDisposable
{
    private readonly DisposeScope scope = NewDisposeScope();
    private readonly Generator random = new(11);

    public void Dispose()
    {
        scope.Dispose();
        random.Dispose();
    }

    [Fact]
    public void The_norm_divides_by_the_root_of_the_mean_square()
    {
        var norm = new RmsNorm(6, 1e-6);
        var x = Normal(2, 3, 6);
        var (input, output) = (x.Floats(), norm.call(x).Floats());
        for (var row = 0; row < 6; row++)
        {
            var root = Math.Sqrt(Enumerable.Range(0, 6).Sum(i => (double)input[row * 6 + i] * input[row * 6 + i]) / 6 + 1e-6);
            for (var i = 0; i < 6; i++) Assert.Equal(input[row * 6 + i] / root, output[row * 6 + i], 1e-6);
        }
    }

    [Fact]
    public void The_norm_does_not_see_a_factor()
    {
        var norm = new RmsNorm(6, 0);
        var x = Normal(1, 4, 6);
        TinyModel.Close(norm.call(x), norm.call(x * 37), absolute: 1e-6);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Attention_is_the_textbooks_loop(bool scaled)
    {
        const int width = 6, heads = 2, headWidth = 4, targets = 3, sources = 5;
        var attention = new Attention(width, heads, headWidth, scaled);
        Tensor x = Normal(1, targets, width), memory = Normal(1, sources, width), bias = Normal(1, heads, targets, sources);
        float[] Project(string name, Tensor from) => nn.functional.linear(from, attention.named_parameters().Single(p => p.name == $"{name}.weight").parameter).Floats();
        float[] q = Project("q", x), k = Project("k", memory), v = Project("v", memory), b = bias.Floats();

        var mixed = new float[targets * heads * headWidth];
        for (var head = 0; head < heads; head++)
            for (var t = 0; t < targets; t++)
            {
                var scores = Enumerable.Range(0, sources).Select(s => Enumerable.Range(0, headWidth)
                    .Sum(d => (double)q[(t * heads + head) * headWidth + d] * k[(s * heads + head) * headWidth + d]) / (scaled ? Math.Sqrt(headWidth) : 1) + b[(head * targets + t) * sources + s]).ToArray();
                var weights = scores.Select(score => Math.Exp(score - scores.Max())).ToArray();
                for (var d = 0; d < headWidth; d++)
                    mixed[(t * heads + head) * headWidth + d] = (float)(Enumerable.Range(0, sources).Sum(s => weights[s] * v[(s * heads + head) * headWidth + d]) / weights.Sum());
            }
        var expected = Project("o", tensor(mixed, [1, targets, heads * headWidth]));
        TinyModel.Close(expected, attention.call(x, memory, bias).Floats(), absolute: 1e-5);
    }

    [Theory]
    [InlineData(Activation.GeluTanh)]
    [InlineData(Activation.GeluErf)]
    public void The_feed_forward_gates_one_half_with_the_other(Activation gelu)
    {
        var layer = new GatedFeedForward(4, 8, gelu);
        var x = Normal(1, 3, 4) * 3;
        Tensor Weight(string name) => layer.named_parameters().Single(p => p.name == $"{name}.weight").parameter;
        float[] gate = nn.functional.linear(x, Weight("wi_0")).Floats(), linear = nn.functional.linear(x, Weight("wi_1")).Floats();
        var hidden = gate.Zip(linear, (g, l) => (float)(Activate(g) * l)).ToArray();
        TinyModel.Close(nn.functional.linear(tensor(hidden, [1, 3, 8]), Weight("wo")), layer.call(x), absolute: 2e-6);

        double Activate(double g) => gelu == Activation.GeluTanh
            ? 0.5 * g * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (g + 0.044715 * g * g * g)))
            : 0.5 * g * (1 + Erf(g / Math.Sqrt(2)));
    }

    [Fact]
    public void Losses_are_the_loops_over_labels()
    {
        var logits = Normal(2, 4, 5) * 2;
        long[,] labels = { { 1, 4, Losses.Ignored, Losses.Ignored }, { 0, 2, 3, 3 } };
        var (values, rows) = (logits.Floats(), new double[2]);
        double all = 0;
        for (var row = 0; row < 2; row++)
        {
            var own = Enumerable.Range(0, 4).Where(t => labels[row, t] != Losses.Ignored).Select(t =>
            {
                var scores = values.AsSpan((row * 4 + t) * 5, 5).ToArray();
                return Math.Log(scores.Sum(s => Math.Exp(s))) - scores[labels[row, t]];
            }).ToArray();
            (rows[row], all) = (own.Average(), all + own.Sum());
        }
        var target = tensor(labels);
        Assert.Equal(rows[0], Losses.SampleMeans(logits, target)[0].item<float>(), 1e-5);
        Assert.Equal(rows[1], Losses.SampleMeans(logits, target)[1].item<float>(), 1e-5);
        Assert.Equal(rows.Average(), Losses.SampleMean(logits, target).item<float>(), 1e-5);
        Assert.Equal(all / 6, Losses.TokenMean(logits, target).item<float>(), 1e-5);
        Assert.NotEqual(rows.Average(), all / 6, 1e-3);
    }

    [Fact]
    public void More_pads_change_no_loss()
    {
        var logits = Normal(2, 4, 5);
        var labels = tensor(new long[,] { { 1, 4, Losses.Ignored, Losses.Ignored }, { 0, 2, 3, 3 } });
        Tensor wideLogits = cat([logits, Normal(2, 3, 5)], 1), wideLabels = cat([labels, full(2, 3, Losses.Ignored, dtype: ScalarType.Int64)], 1);
        Assert.Equal(Losses.SampleMean(logits, labels).item<float>(), Losses.SampleMean(wideLogits, wideLabels).item<float>(), 1e-6);
        Assert.Equal(Losses.TokenMean(logits, labels).item<float>(), Losses.TokenMean(wideLogits, wideLabels).item<float>(), 1e-6);
    }

    [Fact]
    public void A_wrong_shape_is_named_with_the_right_one()
    {
        var error = Assert.Throws<ArgumentException>(() => zeros(2, 3).Is(2, null, 4));
        Assert.Contains("[2 · 4]", error.Message, StringComparison.Ordinal);
        Assert.Contains("[2 3]", error.Message, StringComparison.Ordinal);
    }

    private Tensor Normal(params long[] shape) => empty(shape).normal_(0, 1, random);

    /// <summary>The error function by its Taylor series, which serves up to |x| of about 4.</summary>
    private static double Erf(double x)
    {
        if (Math.Abs(x) > 4) return Math.Sign(x);
        double term = x, sum = x;
        for (var n = 1; n < 80; n++)
        {
            term *= -x * x / n;
            sum += term / (2 * n + 1);
        }
        return 2 / Math.Sqrt(Math.PI) * sum;
    }
}
