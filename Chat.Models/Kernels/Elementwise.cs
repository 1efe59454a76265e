using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Chat.Models.Modules;

namespace Chat.Models.Kernels;

/// <summary>The steps between matrix products, fused so that a vector is read once. Lengths are padded to sixteen, with zeros behind the last number.</summary>
public static unsafe class Elementwise
{
    /// <summary>y = x · rsqrt(mean(x²) + ε) · weight (Zhang and Sennrich, arXiv 1910.07467).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RmsNorm(float* x, float* weight, int width, float epsilon, float* y)
    {
        Vector256<float> low = Vector256<float>.Zero, high = low;
        for (var i = 0; i < width; i += 16)
        {
            Vector256<float> a = Vector256.Load(x + i), b = Vector256.Load(x + i + 8);
            low = Vector256.FusedMultiplyAdd(a, a, low);
            high = Vector256.FusedMultiplyAdd(b, b, high);
        }
        var scale = Vector256.Create(1 / MathF.Sqrt(VectorMath.Sum(low, high) / width + epsilon));
        for (var i = 0; i < width; i += 8) (Vector256.Load(x + i) * scale * Vector256.Load(weight + i)).Store(y + i);
    }

    /// <summary>y = (x − mean) · rsqrt(variance + ε) · weight + bias (Ba et al., arXiv 1607.06450).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void LayerNorm(float* x, float* weight, float* bias, int width, float epsilon, float* y)
    {
        Vector256<float> low = Vector256<float>.Zero, high = low;
        for (var i = 0; i < width; i += 16)
        {
            low += Vector256.Load(x + i);
            high += Vector256.Load(x + i + 8);
        }
        var mean = VectorMath.Sum(low, high) / width;
        var shift = Vector256.Create(mean);
        low = high = Vector256<float>.Zero;
        for (var i = 0; i < width; i += 16)
        {
            Vector256<float> a = Vector256.Load(x + i) - shift, b = Vector256.Load(x + i + 8) - shift;
            low = Vector256.FusedMultiplyAdd(a, a, low);
            high = Vector256.FusedMultiplyAdd(b, b, high);
        }
        var padding = WeightMatrix.Padded(width, 16) - width;           // zeros, each of which was counted with mean²
        var variance = MathF.Max(VectorMath.Sum(low, high) - padding * mean * mean, 0) / width;
        var scale = Vector256.Create(1 / MathF.Sqrt(variance + epsilon));
        for (var i = 0; i < width; i += 8) ((Vector256.Load(x + i) - shift) * scale * Vector256.Load(weight + i) + Vector256.Load(bias + i)).Store(y + i);
    }

    /// <summary>RMSNorm of one head, in place; heads are not padded.</summary>
    public static void HeadNorm(float* x, float* weight, int width, float epsilon)
    {
        var sum = 0f;
        for (var i = 0; i < width; i++) sum = MathF.FusedMultiplyAdd(x[i], x[i], sum);
        var scale = 1 / MathF.Sqrt(sum / width + epsilon);
        for (var i = 0; i < width; i++) x[i] = x[i] * scale * weight[i];
    }

    /// <summary>Turns each pair (x[i], x[i + D/2]) of a head by its angle, in place.</summary>
    /// <param name="turn">[D]: the cosines of the pairs, then their sines.</param>
    public static void Turn(float* x, int width, float* turn)
    {
        var (half, i) = (width / 2, 0);
        for (; i + 8 <= half; i += 8)
        {
            Vector256<float> left = Vector256.Load(x + i), right = Vector256.Load(x + half + i), cosine = Vector256.Load(turn + i), sine = Vector256.Load(turn + half + i);
            (left * cosine - right * sine).Store(x + i);
            (right * cosine + left * sine).Store(x + half + i);
        }
        for (; i < half; i++)
        {
            var (left, right) = (x[i], x[half + i]);
            x[i] = left * turn[i] - right * turn[half + i];
            x[half + i] = right * turn[i] + left * turn[half + i];
        }
    }

    /// <summary>x += y</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Add(float* x, float* y, int width)
    {
        for (var i = 0; i < width; i += 8) (Vector256.Load(x + i) + Vector256.Load(y + i)).Store(x + i);
    }

    /// <summary>y = activation(gate) ⊙ up, or y = activation(gate) when there is no <paramref name="up"/>.</summary>
    public static void Activate(Activation activation, float* gate, float* up, int width, float* y)
    {
        switch (activation)
        {
            case Activation.GeluTanh: Activate<GeluTanh>(gate, up, width, y); break;
            case Activation.GeluErf: Activate<GeluErf>(gate, up, width, y); break;
            case Activation.Silu: Activate<Silu>(gate, up, width, y); break;
            case Activation.Relu: Activate<Relu>(gate, up, width, y); break;
            default: throw new ArgumentOutOfRangeException(nameof(activation), activation, "No kernel is known for it.");
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Activate<T>(float* gate, float* up, int width, float* y) where T : struct, IFunction
    {
        if (up is null) for (var i = 0; i < width; i += 8) T.Of(Vector256.Load(gate + i)).Store(y + i);
        else for (var i = 0; i < width; i += 8) (T.Of(Vector256.Load(gate + i)) * Vector256.Load(up + i)).Store(y + i);
    }

    private interface IFunction
    {
        static abstract Vector256<float> Of(Vector256<float> x);
    }

    private readonly struct GeluTanh : IFunction { public static Vector256<float> Of(Vector256<float> x) => VectorMath.GeluTanh(x); }
    private readonly struct GeluErf : IFunction { public static Vector256<float> Of(Vector256<float> x) => VectorMath.GeluErf(x); }
    private readonly struct Silu : IFunction { public static Vector256<float> Of(Vector256<float> x) => x / (Vector256<float>.One + VectorMath.Exp(-x)); }
    private readonly struct Relu : IFunction { public static Vector256<float> Of(Vector256<float> x) => Vector256.Max(x, Vector256<float>.Zero); }
}
