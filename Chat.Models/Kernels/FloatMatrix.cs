using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Chat.Models.Kernels;

/// <summary>How a float matrix stores two columns of a panel of 16 rows, and how registers get them back.</summary>
public unsafe interface IColumnPair
{
    static abstract int Bytes { get; }
    static abstract void Store(byte* pair, int row, float even, float odd);
    static abstract Vector512<float> Even512(byte* pair);
    static abstract Vector512<float> Odd512(byte* pair);
    /// <param name="half">0 for the panel's rows 0 to 7, 1 for 8 to 15.</param>
    static abstract Vector256<float> Even256(byte* pair, int half);
    static abstract Vector256<float> Odd256(byte* pair, int half);
}

/// <summary>One column, then the other.</summary>
public readonly unsafe struct Float32Pair : IColumnPair
{
    public static int Bytes => 128;

    public static void Store(byte* pair, int row, float even, float odd)
    {
        ((float*)pair)[row] = even;
        ((float*)pair)[row + 16] = odd;
    }

    public static Vector512<float> Even512(byte* pair) => Vector512.Load((float*)pair);
    public static Vector512<float> Odd512(byte* pair) => Vector512.Load((float*)pair + 16);
    public static Vector256<float> Even256(byte* pair, int half) => Vector256.Load((float*)pair + 8 * half);
    public static Vector256<float> Odd256(byte* pair, int half) => Vector256.Load((float*)pair + 16 + 8 * half);
}

/// <summary>A row's two numbers in one 32-bit word: a shift and a mask make floats of them, and nothing crosses lanes.</summary>
public readonly unsafe struct BFloat16Pair : IColumnPair
{
    public static int Bytes => 64;

    public static void Store(byte* pair, int row, float even, float odd) =>
        ((uint*)pair)[row] = BitConverter.SingleToUInt32Bits(even) >> 16 | BitConverter.SingleToUInt32Bits(odd) & 0xffff_0000;

    public static Vector512<float> Even512(byte* pair) => Vector512.ShiftLeft(Vector512.Load((uint*)pair), 16).AsSingle();
    public static Vector512<float> Odd512(byte* pair) => (Vector512.Load((uint*)pair) & Vector512.Create(0xffff_0000u)).AsSingle();
    public static Vector256<float> Even256(byte* pair, int half) => Vector256.ShiftLeft(Vector256.Load((uint*)pair + 8 * half), 16).AsSingle();
    public static Vector256<float> Odd256(byte* pair, int half) => (Vector256.Load((uint*)pair + 8 * half) & Vector256.Create(0xffff_0000u)).AsSingle();
}

/// <summary>
/// Float weights times float activations. Even and odd columns have a sum each, added at the end; every step is a fused multiply-add. So all
/// vector widths, all batch sizes and, for numbers that bfloat16 holds, both formats give the same bits.
/// </summary>
public sealed unsafe class FloatMatrix<TPair> : WeightMatrix where TPair : struct, IColumnPair
{
    private readonly NativeBuffer weights;
    private readonly bool wide;

    /// <param name="wide">512-bit registers; by default where they are fast.</param>
    public FloatMatrix(int rows, int columns, RowReader read, bool? wide = null) : base(rows, columns)
    {
        this.wide = wide ?? Vector512.IsHardwareAccelerated;
        weights = new((long)Panels * PanelBytes);
        var panel = new float[PanelRows * columns];
        for (var p = 0; p < Panels; p++)
        {
            var count = Math.Min(PanelRows, rows - p * PanelRows);
            read(p * PanelRows, count, panel.AsSpan(0, count * columns));
            var target = weights.Pointer + p * PanelBytes;
            for (var row = 0; row < count; row++)
                for (var column = 0; column < columns; column += 2)
                    TPair.Store(target + column / 2 * TPair.Bytes, row, panel[row * columns + column], column + 1 < columns ? panel[row * columns + column + 1] : 0);
        }
    }

    public override long Bytes => (long)Panels * PanelBytes;

    private long PanelBytes => (long)PaddedColumns / 2 * TPair.Bytes;

    public override void Multiply(int panel, VectorBatch x, int tokens, float* y, long stride)
    {
        var w = weights.Pointer + panel * PanelBytes;
        y += panel * PanelRows;
        var step = x.Stride;
        var token = 0;
        if (wide)
        {
            for (; token + 8 <= tokens; token += 8) Eight512(w, x.Row(token), step, PaddedColumns, y + token * stride, stride);
            for (; token + 4 <= tokens; token += 4) Four512(w, x.Row(token), step, PaddedColumns, y + token * stride, stride);
            for (; token < tokens; token++) One512(w, x.Row(token), PaddedColumns, y + token * stride);
            return;
        }
        for (; token + 4 <= tokens; token += 4)
        {
            Four256(w, 0, x.Row(token), step, PaddedColumns, y + token * stride, stride);
            Four256(w, 1, x.Row(token), step, PaddedColumns, y + token * stride + 8, stride);
        }
        for (; token < tokens; token++) One256(w, x.Row(token), PaddedColumns, y + token * stride);
    }

    protected override void Dispose(bool disposing) => weights.Dispose();

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void One512(byte* w, float* x, int columns, float* y)
    {
        var (even, odd) = (Vector512<float>.Zero, Vector512<float>.Zero);
        for (var end = x + columns; x < end; x += 2, w += TPair.Bytes)
        {
            even = Vector512.FusedMultiplyAdd(TPair.Even512(w), Vector512.Create(x[0]), even);
            odd = Vector512.FusedMultiplyAdd(TPair.Odd512(w), Vector512.Create(x[1]), odd);
        }
        (even + odd).Store(y);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four512(byte* w, float* x, int step, int columns, float* y, long stride)
    {
        Vector512<float> even0 = Vector512<float>.Zero, even1 = even0, even2 = even0, even3 = even0, odd0 = even0, odd1 = even0, odd2 = even0, odd3 = even0;
        float* x1 = x + step, x2 = x1 + step, x3 = x2 + step;
        for (var k = 0; k < columns; k += 2, w += TPair.Bytes)
        {
            Vector512<float> even = TPair.Even512(w), odd = TPair.Odd512(w);
            even0 = Vector512.FusedMultiplyAdd(even, Vector512.Create(x[k]), even0);
            odd0 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(x[k + 1]), odd0);
            even1 = Vector512.FusedMultiplyAdd(even, Vector512.Create(x1[k]), even1);
            odd1 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(x1[k + 1]), odd1);
            even2 = Vector512.FusedMultiplyAdd(even, Vector512.Create(x2[k]), even2);
            odd2 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(x2[k + 1]), odd2);
            even3 = Vector512.FusedMultiplyAdd(even, Vector512.Create(x3[k]), even3);
            odd3 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(x3[k + 1]), odd3);
        }
        (even0 + odd0).Store(y);
        (even1 + odd1).Store(y + stride);
        (even2 + odd2).Store(y + 2 * stride);
        (even3 + odd3).Store(y + 3 * stride);
    }

    // Two fused products a cycle want a load each: eight tokens read the weights half as often as four do. Three pointers and two distances reach all of them.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Eight512(byte* w, float* x, nint step, int columns, float* y, long stride)
    {
        Vector512<float> even0 = Vector512<float>.Zero, even1 = even0, even2 = even0, even3 = even0, even4 = even0, even5 = even0, even6 = even0, even7 = even0, odd0 = even0, odd1 = even0, odd2 = even0, odd3 = even0, odd4 = even0, odd5 = even0, odd6 = even0, odd7 = even0;
        float* a = x, b = a + 3 * step, c = b + 3 * step;
        var twice = 2 * step;
        for (var end = x + columns; a < end; a += 2, b += 2, c += 2, w += TPair.Bytes)
        {
            Vector512<float> even = TPair.Even512(w), odd = TPair.Odd512(w);
            even0 = Vector512.FusedMultiplyAdd(even, Vector512.Create(a[0]), even0);
            odd0 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(a[1]), odd0);
            even1 = Vector512.FusedMultiplyAdd(even, Vector512.Create(a[step]), even1);
            odd1 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(a[step + 1]), odd1);
            even2 = Vector512.FusedMultiplyAdd(even, Vector512.Create(a[twice]), even2);
            odd2 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(a[twice + 1]), odd2);
            even3 = Vector512.FusedMultiplyAdd(even, Vector512.Create(b[0]), even3);
            odd3 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(b[1]), odd3);
            even4 = Vector512.FusedMultiplyAdd(even, Vector512.Create(b[step]), even4);
            odd4 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(b[step + 1]), odd4);
            even5 = Vector512.FusedMultiplyAdd(even, Vector512.Create(b[twice]), even5);
            odd5 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(b[twice + 1]), odd5);
            even6 = Vector512.FusedMultiplyAdd(even, Vector512.Create(c[0]), even6);
            odd6 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(c[1]), odd6);
            even7 = Vector512.FusedMultiplyAdd(even, Vector512.Create(c[step]), even7);
            odd7 = Vector512.FusedMultiplyAdd(odd, Vector512.Create(c[step + 1]), odd7);
        }
        (even0 + odd0).Store(y);
        (even1 + odd1).Store(y + stride);
        (even2 + odd2).Store(y + 2 * stride);
        (even3 + odd3).Store(y + 3 * stride);
        (even4 + odd4).Store(y + 4 * stride);
        (even5 + odd5).Store(y + 5 * stride);
        (even6 + odd6).Store(y + 6 * stride);
        (even7 + odd7).Store(y + 7 * stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void One256(byte* w, float* x, int columns, float* y)
    {
        Vector256<float> even0 = Vector256<float>.Zero, even1 = even0, odd0 = even0, odd1 = even0;
        for (var end = x + columns; x < end; x += 2, w += TPair.Bytes)
        {
            Vector256<float> first = Vector256.Create(x[0]), second = Vector256.Create(x[1]);
            even0 = Vector256.FusedMultiplyAdd(TPair.Even256(w, 0), first, even0);
            even1 = Vector256.FusedMultiplyAdd(TPair.Even256(w, 1), first, even1);
            odd0 = Vector256.FusedMultiplyAdd(TPair.Odd256(w, 0), second, odd0);
            odd1 = Vector256.FusedMultiplyAdd(TPair.Odd256(w, 1), second, odd1);
        }
        (even0 + odd0).Store(y);
        (even1 + odd1).Store(y + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four256(byte* w, int half, float* x, int step, int columns, float* y, long stride)
    {
        Vector256<float> even0 = Vector256<float>.Zero, even1 = even0, even2 = even0, even3 = even0, odd0 = even0, odd1 = even0, odd2 = even0, odd3 = even0;
        float* x1 = x + step, x2 = x1 + step, x3 = x2 + step;
        for (var k = 0; k < columns; k += 2, w += TPair.Bytes)
        {
            Vector256<float> even = TPair.Even256(w, half), odd = TPair.Odd256(w, half);
            even0 = Vector256.FusedMultiplyAdd(even, Vector256.Create(x[k]), even0);
            odd0 = Vector256.FusedMultiplyAdd(odd, Vector256.Create(x[k + 1]), odd0);
            even1 = Vector256.FusedMultiplyAdd(even, Vector256.Create(x1[k]), even1);
            odd1 = Vector256.FusedMultiplyAdd(odd, Vector256.Create(x1[k + 1]), odd1);
            even2 = Vector256.FusedMultiplyAdd(even, Vector256.Create(x2[k]), even2);
            odd2 = Vector256.FusedMultiplyAdd(odd, Vector256.Create(x2[k + 1]), odd2);
            even3 = Vector256.FusedMultiplyAdd(even, Vector256.Create(x3[k]), even3);
            odd3 = Vector256.FusedMultiplyAdd(odd, Vector256.Create(x3[k + 1]), odd3);
        }
        (even0 + odd0).Store(y);
        (even1 + odd1).Store(y + stride);
        (even2 + odd2).Store(y + 2 * stride);
        (even3 + odd3).Store(y + 3 * stride);
    }
}
