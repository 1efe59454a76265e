using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Chat.Models.Kernels;

/// <summary>Functions of eight numbers at once, the same bits on every machine: fused multiply-adds in a fixed order and nothing estimated.</summary>
internal static class VectorMath
{
    private const float Log2E = 1.44269504f, Ln2High = 0.693359375f, Ln2Low = -2.12194440e-4f;
    private const float RoundingConstant = 12_582_912;      // 1.5 · 2²³: adding and subtracting it rounds to a whole number, ties to even

    /// <summary>e^x, relative error below 2e-7; from −87 down it stays e^−87, from 88 up e^88.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp(Vector256<float> x)
    {
        x = Vector256.Min(Vector256.Max(x, Vector256.Create(-87f)), Vector256.Create(88f));
        var whole = x * Log2E + Vector256.Create(RoundingConstant) - Vector256.Create(RoundingConstant);
        var rest = Vector256.FusedMultiplyAdd(whole, Vector256.Create(-Ln2High), x);
        rest = Vector256.FusedMultiplyAdd(whole, Vector256.Create(-Ln2Low), rest);
        // Taylor's series up to rest⁷/7!; |rest| is at most ln 2 / 2, what is left out is below 2e-8.
        var sum = Vector256.FusedMultiplyAdd(Vector256.Create(1f / 5040), rest, Vector256.Create(1f / 720));
        sum = Vector256.FusedMultiplyAdd(sum, rest, Vector256.Create(1f / 120));
        sum = Vector256.FusedMultiplyAdd(sum, rest, Vector256.Create(1f / 24));
        sum = Vector256.FusedMultiplyAdd(sum, rest, Vector256.Create(1f / 6));
        sum = Vector256.FusedMultiplyAdd(sum, rest, Vector256.Create(0.5f));
        sum = Vector256.FusedMultiplyAdd(sum, rest, Vector256<float>.One);
        sum = Vector256.FusedMultiplyAdd(sum, rest, Vector256<float>.One);
        var power = Vector256.ShiftLeft(Vector256.ConvertToInt32(whole) + Vector256.Create(127), 23).AsSingle();
        return sum * power;
    }

    /// <summary>The nearest whole numbers, ties to even, of numbers below 2²² in magnitude.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> RoundToInt(Vector256<float> x) => Vector256.ConvertToInt32(x + Vector256.Create(RoundingConstant) - Vector256.Create(RoundingConstant));

    /// <summary>x · Φ(x) by tanh (Hendrycks and Gimpel, arXiv 1606.08415): ½(1 + tanh u) = 1 / (1 + e^−2u).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> GeluTanh(Vector256<float> x)
    {
        var twice = x * Vector256.FusedMultiplyAdd(x * x, Vector256.Create(2 * 0.79788456f * 0.044715f), Vector256.Create(2 * 0.79788456f));    // 2·√(2/π)·(x + 0.044715 x³)
        return x / (Vector256<float>.One + Exp(-twice));
    }

    /// <summary>x · Φ(x), Φ from erf by Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> GeluErf(Vector256<float> x)
    {
        var z = Vector256.Abs(x) * 0.70710678f;
        var t = Vector256<float>.One / Vector256.FusedMultiplyAdd(z, Vector256.Create(0.3275911f), Vector256<float>.One);
        var sum = Vector256.FusedMultiplyAdd(Vector256.Create(1.061405429f), t, Vector256.Create(-1.453152027f));
        sum = Vector256.FusedMultiplyAdd(sum, t, Vector256.Create(1.421413741f));
        sum = Vector256.FusedMultiplyAdd(sum, t, Vector256.Create(-0.284496736f));
        sum = Vector256.FusedMultiplyAdd(sum, t, Vector256.Create(0.254829592f));
        var tail = 0.5f * sum * t * Exp(-(z * z));                                                  // Φ(−|x|)
        return x * Vector256.ConditionalSelect(Vector256.LessThan(x, Vector256<float>.Zero), tail, Vector256<float>.One - tail);
    }

    /// <summary>Sums sixteen lanes, always in the same order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector256<float> low, Vector256<float> high)
    {
        var eight = low + high;
        var four = eight.GetLower() + eight.GetUpper();
        return four[0] + four[2] + (four[1] + four[3]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Max(Vector256<float> low, Vector256<float> high)
    {
        var eight = Vector256.Max(low, high);
        var four = Vector128.Max(eight.GetLower(), eight.GetUpper());
        return MathF.Max(MathF.Max(four[0], four[2]), MathF.Max(four[1], four[3]));
    }
}
