using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Chat.Models.Kernels;

/// <summary>
/// Integer weights times integer activations. Each row has a scale (bfloat16) for every 32 columns, and activations have one too; a group's products
/// are summed exactly, then scaled and added with one fused multiply-add. Codes are unsigned: the sum starts at −(code of zero) · Σx, which costs nothing.
/// All paths, widths and batch sizes give the same bits.
/// </summary>
public sealed unsafe class IntegerMatrix<TCodes> : WeightMatrix where TCodes : struct, IWeightCodes
{
    private const int Group = ColumnStep;
    private readonly NativeBuffer codes, scales;
    private readonly InstructionPath path;
    private readonly int groups;
    private readonly VnniCode? vnni;

    /// <param name="path">By default the machine's best.</param>
    public IntegerMatrix(int rows, int columns, RowReader read, InstructionPath? path = null) : base(rows, columns)
    {
        this.path = path ?? TCodes.BestPath;
        groups = PaddedColumns / Group;
        vnni = this.path == InstructionPath.Avx512Vnni ? VnniCode.For(TCodes.ZeroBits, groups) : null;
        codes = new((long)Panels * groups * TCodes.GroupBytes);
        scales = new((long)Panels * groups * PanelRows * sizeof(ushort));
        var panel = new float[PanelRows * columns];
        var group = new float[Group];
        for (var p = 0; p < Panels; p++)
        {
            var count = Math.Min(PanelRows, rows - p * PanelRows);
            Array.Clear(panel);
            read(p * PanelRows, count, panel.AsSpan(0, count * columns));
            for (var row = 0; row < PanelRows; row++)
                for (var g = 0; g < groups; g++)
                {
                    Array.Clear(group);
                    panel.AsSpan(row * columns + g * Group, Math.Min(Group, columns - g * Group)).CopyTo(group);
                    Encode(group, Codes(p) + g * TCodes.GroupBytes, Scales(p) + g * PanelRows, row);
                }
        }
    }

    public override long Bytes => (long)Panels * groups * (TCodes.GroupBytes + PanelRows * sizeof(ushort));

    public override bool IsInteger => true;

    public override void Multiply(int panel, VectorBatch x, int tokens, float* y, long stride)
    {
        y += panel * PanelRows;
        switch (path)
        {
            case InstructionPath.Avx512Vnni: vnni!.Multiply(Codes(panel), Scales(panel), x, tokens, y, stride); break;
            case InstructionPath.AvxVnni: Narrow<AvxVnniProduct>(panel, x, tokens, y, stride); break;
            case InstructionPath.Avx512 when TCodes.ZeroBits == 3: Wide<Avx512SmallProduct>(panel, x, tokens, y, stride); break;
            case InstructionPath.Avx512: Wide<Avx512Product>(panel, x, tokens, y, stride); break;
            case InstructionPath.Avx2 when TCodes.ZeroBits == 3: Narrow<Avx2SmallProduct>(panel, x, tokens, y, stride); break;
            case InstructionPath.Avx2: Narrow<Avx2Product>(panel, x, tokens, y, stride); break;
            default: Narrow<PortableProduct>(panel, x, tokens, y, stride); break;
        }
    }

    protected override void Dispose(bool disposing)
    {
        codes.Dispose();
        scales.Dispose();
    }

    private byte* Codes(int panel) => codes.Pointer + (long)panel * groups * TCodes.GroupBytes;

    private ushort* Scales(int panel) => (ushort*)scales.Pointer + (long)panel * groups * PanelRows;

    private static void Encode(ReadOnlySpan<float> group, byte* target, ushort* scaleOfRow, int row)
    {
        int zero = 1 << TCodes.ZeroBits, least = TCodes.ZeroBits == 3 ? -8 : -127;
        var scale = BFloat16.Round(TCodes.Scale(group));
        scaleOfRow[row] = BFloat16.Bits(scale);
        for (var column = 0; column < Group; column++)
            TCodes.Store(target, row, column, zero + (scale == 0 ? 0 : (int)Math.Clamp(MathF.Round(group[column] / scale), least, zero - 1)));
    }

    private void Narrow<TProduct>(int panel, VectorBatch x, int tokens, float* y, long stride) where TProduct : struct, IQuadProduct
    {
        var w = Codes(panel);
        var s = Scales(panel);
        var token = 0;
        for (; token + 4 <= tokens; token += 4)
            Four<TProduct>(w, s, groups, x.Codes(token), x.Stride, x.Scales(token), x.Sums(token), y + token * stride, stride);
        if (token + 2 <= tokens)
        {
            Two<TProduct>(w, s, groups, x.Codes(token), x.Stride, x.Scales(token), x.Sums(token), y + token * stride, stride);
            token += 2;
        }
        if (token < tokens) One<TProduct>(w, s, groups, x.Codes(token), x.Scales(token), x.Sums(token), y + token * stride);
    }

    private void Wide<TProduct>(int panel, VectorBatch x, int tokens, float* y, long stride) where TProduct : struct, IWideQuadProduct
    {
        var w = Codes(panel);
        var s = Scales(panel);
        var token = 0;
        for (; token + 4 <= tokens; token += 4)
            FourWide<TProduct>(w, s, groups, x.Codes(token), x.Stride, x.Scales(token), x.Sums(token), y + token * stride, stride);
        for (; token < tokens; token++) OneWide<TProduct>(w, s, groups, x.Codes(token), x.Scales(token), x.Sums(token), y + token * stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Quad(sbyte* x) => Vector256.Create(*(int*)x).AsSByte();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<sbyte> WideQuad(sbyte* x) => Vector512.Create(*(int*)x).AsSByte();

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void One<TProduct>(byte* w, ushort* s, int groups, sbyte* x, float* scales, int* sums, float* y) where TProduct : struct, IQuadProduct
    {
        Vector256<float> low = Vector256<float>.Zero, high = low;
        for (var g = 0; g < groups; g++, w += TCodes.GroupBytes, s += PanelRows, x += Group)
        {
            Vector256<int> a = Vector256.Create(-(sums[g] << TCodes.ZeroBits)), b = a, c = Vector256<int>.Zero, d = c;
            for (var j = 0; j < 4; j++)
            {
                Vector256<sbyte> near = Quad(x + 4 * j), far = Quad(x + 16 + 4 * j);
                var (n0, f0) = TCodes.Load(w, j, 0);
                var (n1, f1) = TCodes.Load(w, j, 1);
                a = TProduct.Add(a, n0, near);
                b = TProduct.Add(b, n1, near);
                c = TProduct.Add(c, f0, far);
                d = TProduct.Add(d, f1, far);
            }
            var scale = Vector256.Create(scales[g]);
            low = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(a + c), BFloat16.Load(s) * scale, low);
            high = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(b + d), BFloat16.Load(s + 8) * scale, high);
        }
        low.Store(y);
        high.Store(y + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Two<TProduct>(byte* w, ushort* s, int groups, sbyte* x, int step, float* scales, int* sums, float* y, long stride) where TProduct : struct, IQuadProduct
    {
        Vector256<float> low0 = Vector256<float>.Zero, high0 = low0, low1 = low0, high1 = low0;
        var x1 = x + step;
        for (var g = 0; g < groups; g++, w += TCodes.GroupBytes, s += PanelRows, x += Group, x1 += Group)
        {
            Vector256<int> a0 = Vector256.Create(-(sums[g] << TCodes.ZeroBits)), b0 = a0, a1 = Vector256.Create(-(sums[groups + g] << TCodes.ZeroBits)), b1 = a1;
            for (var j = 0; j < 4; j++)
            {
                var (n0, f0) = TCodes.Load(w, j, 0);
                var (n1, f1) = TCodes.Load(w, j, 1);
                Vector256<sbyte> near = Quad(x + 4 * j), far = Quad(x + 16 + 4 * j);
                a0 = TProduct.Add(TProduct.Add(a0, n0, near), f0, far);
                b0 = TProduct.Add(TProduct.Add(b0, n1, near), f1, far);
                (near, far) = (Quad(x1 + 4 * j), Quad(x1 + 16 + 4 * j));
                a1 = TProduct.Add(TProduct.Add(a1, n0, near), f0, far);
                b1 = TProduct.Add(TProduct.Add(b1, n1, near), f1, far);
            }
            Vector256<float> s0 = BFloat16.Load(s), s1 = BFloat16.Load(s + 8), scale = Vector256.Create(scales[g]);
            low0 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(a0), s0 * scale, low0);
            high0 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(b0), s1 * scale, high0);
            scale = Vector256.Create(scales[groups + g]);
            low1 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(a1), s0 * scale, low1);
            high1 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(b1), s1 * scale, high1);
        }
        low0.Store(y);
        high0.Store(y + 8);
        low1.Store(y + stride);
        high1.Store(y + stride + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four<TProduct>(byte* w, ushort* s, int groups, sbyte* x, int step, float* scales, int* sums, float* y, long stride) where TProduct : struct, IQuadProduct
    {
        Vector256<float> low0 = Vector256<float>.Zero, high0 = low0, low1 = low0, high1 = low0, low2 = low0, high2 = low0, low3 = low0, high3 = low0;
        sbyte* x1 = x + step, x2 = x1 + step, x3 = x2 + step;
        var next = w + (long)groups * TCodes.GroupBytes;
        for (var g = 0; g < groups; g++, w += TCodes.GroupBytes, s += PanelRows)
        {
            Vector256<int> a0 = Vector256.Create(-(sums[g] << TCodes.ZeroBits)), b0 = a0, a1 = Vector256.Create(-(sums[groups + g] << TCodes.ZeroBits)), b1 = a1;
            Vector256<int> a2 = Vector256.Create(-(sums[2 * groups + g] << TCodes.ZeroBits)), b2 = a2, a3 = Vector256.Create(-(sums[3 * groups + g] << TCodes.ZeroBits)), b3 = a3;
            // The next panel comes while this one is computed: with four tokens there is time for it.
            if (Sse.IsSupported) for (var line = 0; line < TCodes.GroupBytes; line += 64) Sse.Prefetch0(next + (long)g * TCodes.GroupBytes + line);
            for (var j = 0; j < 4; j++)
            {
                var (n0, f0) = TCodes.Load(w, j, 0);
                var (n1, f1) = TCodes.Load(w, j, 1);
                var k = g * Group + 4 * j;
                Vector256<sbyte> near = Quad(x + k), far = Quad(x + k + 16);
                a0 = TProduct.Add(TProduct.Add(a0, n0, near), f0, far);
                b0 = TProduct.Add(TProduct.Add(b0, n1, near), f1, far);
                (near, far) = (Quad(x1 + k), Quad(x1 + k + 16));
                a1 = TProduct.Add(TProduct.Add(a1, n0, near), f0, far);
                b1 = TProduct.Add(TProduct.Add(b1, n1, near), f1, far);
                (near, far) = (Quad(x2 + k), Quad(x2 + k + 16));
                a2 = TProduct.Add(TProduct.Add(a2, n0, near), f0, far);
                b2 = TProduct.Add(TProduct.Add(b2, n1, near), f1, far);
                (near, far) = (Quad(x3 + k), Quad(x3 + k + 16));
                a3 = TProduct.Add(TProduct.Add(a3, n0, near), f0, far);
                b3 = TProduct.Add(TProduct.Add(b3, n1, near), f1, far);
            }
            Vector256<float> s0 = BFloat16.Load(s), s1 = BFloat16.Load(s + 8), scale = Vector256.Create(scales[g]);
            low0 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(a0), s0 * scale, low0);
            high0 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(b0), s1 * scale, high0);
            scale = Vector256.Create(scales[groups + g]);
            low1 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(a1), s0 * scale, low1);
            high1 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(b1), s1 * scale, high1);
            scale = Vector256.Create(scales[2 * groups + g]);
            low2 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(a2), s0 * scale, low2);
            high2 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(b2), s1 * scale, high2);
            scale = Vector256.Create(scales[3 * groups + g]);
            low3 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(a3), s0 * scale, low3);
            high3 = Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(b3), s1 * scale, high3);
        }
        low0.Store(y);
        high0.Store(y + 8);
        low1.Store(y += stride);
        high1.Store(y + 8);
        low2.Store(y += stride);
        high2.Store(y + 8);
        low3.Store(y += stride);
        high3.Store(y + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneWide<TProduct>(byte* w, ushort* s, int groups, sbyte* x, float* scales, int* sums, float* y) where TProduct : struct, IWideQuadProduct
    {
        var all = Vector512<float>.Zero;
        for (var g = 0; g < groups; g++, w += TCodes.GroupBytes, s += PanelRows, x += Group)
        {
            Vector512<int> a = Vector512.Create(-(sums[g] << TCodes.ZeroBits)), b = Vector512<int>.Zero;
            for (var j = 0; j < 4; j++)
            {
                var (near, far) = TCodes.LoadWide(w, j);
                a = TProduct.Add(a, near, WideQuad(x + 4 * j));
                b = TProduct.Add(b, far, WideQuad(x + 16 + 4 * j));
            }
            all = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(a + b), BFloat16.LoadWide(s) * Vector512.Create(scales[g]), all);
        }
        all.Store(y);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourWide<TProduct>(byte* w, ushort* s, int groups, sbyte* x, int step, float* scales, int* sums, float* y, long stride) where TProduct : struct, IWideQuadProduct
    {
        Vector512<float> all0 = Vector512<float>.Zero, all1 = all0, all2 = all0, all3 = all0;
        sbyte* x1 = x + step, x2 = x1 + step, x3 = x2 + step;
        var next = w + (long)groups * TCodes.GroupBytes;
        for (var g = 0; g < groups; g++, w += TCodes.GroupBytes, s += PanelRows)
        {
            Vector512<int> a0 = Vector512.Create(-(sums[g] << TCodes.ZeroBits)), a1 = Vector512.Create(-(sums[groups + g] << TCodes.ZeroBits));
            Vector512<int> a2 = Vector512.Create(-(sums[2 * groups + g] << TCodes.ZeroBits)), a3 = Vector512.Create(-(sums[3 * groups + g] << TCodes.ZeroBits));
            for (var line = 0; line < TCodes.GroupBytes; line += 64) Sse.Prefetch0(next + (long)g * TCodes.GroupBytes + line);
            for (var j = 0; j < 4; j++)
            {
                var (near, far) = TCodes.LoadWide(w, j);
                var k = g * Group + 4 * j;
                a0 = TProduct.Add(TProduct.Add(a0, near, WideQuad(x + k)), far, WideQuad(x + k + 16));
                a1 = TProduct.Add(TProduct.Add(a1, near, WideQuad(x1 + k)), far, WideQuad(x1 + k + 16));
                a2 = TProduct.Add(TProduct.Add(a2, near, WideQuad(x2 + k)), far, WideQuad(x2 + k + 16));
                a3 = TProduct.Add(TProduct.Add(a3, near, WideQuad(x3 + k)), far, WideQuad(x3 + k + 16));
            }
            var scale = BFloat16.LoadWide(s);
            all0 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(a0), scale * Vector512.Create(scales[g]), all0);
            all1 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(a1), scale * Vector512.Create(scales[groups + g]), all1);
            all2 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(a2), scale * Vector512.Create(scales[2 * groups + g]), all2);
            all3 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(a3), scale * Vector512.Create(scales[3 * groups + g]), all3);
        }
        all0.Store(y);
        all1.Store(y + stride);
        all2.Store(y + 2 * stride);
        all3.Store(y + 3 * stride);
    }
}
