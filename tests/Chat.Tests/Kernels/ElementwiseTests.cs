using Chat.Models.Kernels;
using Chat.Models.Modules;

namespace Chat.Tests.Kernels;

public sealed unsafe class ElementwiseTests
{
    [Fact]
    public void The_norm_is_the_formula_and_leaves_the_padding_zero()
    {
        const int width = 20;
        float[] x = new float[32], weight = new float[32], y = new float[32];
        for (var i = 0; i < width; i++) (x[i], weight[i]) = (i - 7.5f, 1 + i / 10f);

        fixed (float* px = x, pw = weight, py = y) Elementwise.RmsNorm(px, pw, width, 0.01f, py);

        var scale = 1 / Math.Sqrt(x.Sum(value => (double)value * value) / width + 0.01);
        for (var i = 0; i < 32; i++) Assert.Equal(x[i] * scale * weight[i], y[i], 1e-6);
    }

    [Fact]
    public void The_norm_with_a_mean_is_the_formula_and_leaves_the_padding_zero()
    {
        const int width = 20;
        float[] x = new float[32], weight = new float[32], bias = new float[32], y = new float[32];
        for (var i = 0; i < width; i++) (x[i], weight[i], bias[i]) = (MathF.Sin(i) + 3, 1 + i / 10f, i / 7f);

        fixed (float* px = x, pw = weight, pb = bias, py = y) Elementwise.LayerNorm(px, pw, pb, width, 0.01f, py);

        var mean = x.Sum(value => (double)value) / width;
        var scale = 1 / Math.Sqrt(x.Take(width).Sum(value => (value - mean) * (value - mean)) / width + 0.01);
        for (var i = 0; i < 32; i++) Assert.Equal(i < width ? (x[i] - mean) * scale * weight[i] + bias[i] : 0, y[i], 3e-6);
    }

    [Theory]
    [InlineData(6), InlineData(64)]
    public void Turning_heads_is_multiplying_complex_numbers(int width)
    {
        float[] x = [.. Enumerable.Range(0, width).Select(i => MathF.Sin(i) * 2)], turn = new float[width], y = [.. x];
        for (var i = 0; i < width / 2; i++) (turn[i], turn[i + width / 2]) = (MathF.Cos(i), MathF.Sin(i));

        fixed (float* py = y, pt = turn) Elementwise.Turn(py, width, pt);

        for (var i = 0; i < width / 2; i++)
        {
            var product = new System.Numerics.Complex(x[i], x[i + width / 2]) * new System.Numerics.Complex(turn[i], turn[i + width / 2]);
            Assert.Equal(product.Real, y[i], 1e-6);
            Assert.Equal(product.Imaginary, y[i + width / 2], 1e-6);
        }
    }

    [Theory]
    [InlineData(Activation.GeluTanh), InlineData(Activation.GeluErf), InlineData(Activation.Silu), InlineData(Activation.Relu)]
    public void Activations_are_the_formulas_from_far_left_to_far_right(Activation activation)
    {
        float[] gate = [.. Enumerable.Range(0, 32_000).Select(i => (i - 16_000) / 800f)], up = [.. gate.Select((_, i) => 1f + i % 3)], gated = new float[gate.Length], plain = new float[gate.Length];

        fixed (float* g = gate, u = up, y = gated, z = plain)
        {
            Elementwise.Activate(activation, g, u, gate.Length, y);
            Elementwise.Activate(activation, g, null, gate.Length, z);
        }

        for (var i = 0; i < gate.Length; i++)
        {
            double x = gate[i], expected = activation switch
            {
                Activation.GeluTanh => 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * Math.Pow(x, 3)))),
                Activation.GeluErf => x * Normal(x),
                Activation.Silu => x / (1 + Math.Exp(-x)),
                _ => Math.Max(x, 0),
            };
            Assert.Equal(expected, plain[i], 3e-6 + 3e-7 * Math.Abs(x));
            Assert.Equal(plain[i] * up[i], gated[i]);
        }
    }

    /// <summary>The standard normal's distribution function by its continued fraction far out and its series near 0.</summary>
    private static double Normal(double x)
    {
        var (z, density) = (Math.Abs(x), Math.Exp(-x * x / 2) / Math.Sqrt(2 * Math.PI));
        double tail;
        if (z > 3)
        {
            var fraction = z;
            for (var n = 60; n > 0; n--) fraction = z + n / fraction;
            tail = density / fraction;
        }
        else
        {
            double term = z, sum = z;
            for (var n = 1; n < 80; n++) sum += term *= z * z / (2 * n + 1);
            tail = 0.5 - density * sum;
        }
        return x < 0 ? tail : 1 - tail;
    }
}
