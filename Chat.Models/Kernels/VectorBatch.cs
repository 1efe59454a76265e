using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Chat.Models.Kernels;

/// <summary>
/// What a matrix is multiplied with: a batch of vectors, each padded with zeros to a whole number of <see cref="WeightMatrix.ColumnStep"/>. For integer
/// matrices <see cref="Seal"/> rounds each group of 32 to signed bytes with a scale of their own.
/// </summary>
public sealed unsafe class VectorBatch : IDisposable
{
    private const int Group = WeightMatrix.ColumnStep;
    private const float Greatest = 127;
    private readonly NativeBuffer values;
    private readonly NativeBuffer? codes, scales, sums;
    private readonly int groups;

    /// <param name="sealable">Whether integer matrices will read it.</param>
    public VectorBatch(int tokens, int columns, bool sealable = false)
    {
        (Tokens, Stride) = (tokens, WeightMatrix.Padded(columns, Group));
        groups = Stride / Group;
        values = NativeBuffer.OfFloats((long)tokens * Stride);
        if (!sealable) return;
        codes = new((long)tokens * Stride);
        scales = NativeBuffer.OfFloats((long)tokens * groups);
        sums = new((long)tokens * groups * sizeof(int));
    }

    public int Tokens { get; }

    /// <summary>Values from one token to the next.</summary>
    public int Stride { get; }

    /// <summary>A token's values; the padding behind them stays zero.</summary>
    public float* Row(int token) => values.Floats + (long)token * Stride;

    /// <summary>A token's values as signed bytes, [columns].</summary>
    public sbyte* Codes(int token) => (sbyte*)codes!.Pointer + (long)token * Stride;

    /// <summary>What a code of each group stands for, [columns / 32].</summary>
    public float* Scales(int token) => scales!.Floats + (long)token * groups;

    /// <summary>The sum of each group's codes, [columns / 32].</summary>
    public int* Sums(int token) => (int*)sums!.Pointer + (long)token * groups;

    /// <summary>Makes the codes of a token whose values are written. Costs nothing where no integer matrix reads them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Seal(int token)
    {
        if (codes is null) return;
        float* x = Row(token), scale = Scales(token);
        var sum = Sums(token);
        var code = Codes(token);
        for (var g = 0; g < groups; g++, x += Group, code += Group)
        {
            Vector256<float> a = Vector256.Load(x), b = Vector256.Load(x + 8), c = Vector256.Load(x + 16), d = Vector256.Load(x + 24);
            var greatest = VectorMath.Max(Vector256.Max(Vector256.Abs(a), Vector256.Abs(b)), Vector256.Max(Vector256.Abs(c), Vector256.Abs(d)));
            // Below this a group is as good as zero, and 127 / greatest would be infinite.
            var inverse = Vector256.Create(greatest > 1e-30f ? Greatest / greatest : 0);
            scale[g] = greatest > 1e-30f ? greatest / Greatest : 0;
            Vector256<int> p = VectorMath.RoundToInt(a * inverse), q = VectorMath.RoundToInt(b * inverse), r = VectorMath.RoundToInt(c * inverse), s = VectorMath.RoundToInt(d * inverse);
            Vector256.Narrow(Vector256.Narrow(p, q), Vector256.Narrow(r, s)).Store(code);
            sum[g] = Vector256.Sum(p + q + (r + s));
        }
    }

    public void Dispose()
    {
        values.Dispose();
        codes?.Dispose();
        scales?.Dispose();
        sums?.Dispose();
    }
}
