using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Chat.Models.Kernels;

/// <summary>Adds four products of unsigned weights and signed activations to each 32-bit lane, exactly.</summary>
public interface IQuadProduct
{
    static abstract Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> x);
}

/// <inheritdoc cref="IQuadProduct"/>
public interface IWideQuadProduct
{
    static abstract Vector512<int> Add(Vector512<int> sum, Vector512<byte> weights, Vector512<sbyte> x);
}

public readonly struct AvxVnniProduct : IQuadProduct
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> x) => AvxVnni.MultiplyWideningAndAdd(sum, weights, x);
}

/// <summary>Even and odd bytes apart, as 16-bit numbers: vpmaddubsw on whole bytes would saturate at 255 · 127 · 2.</summary>
public readonly struct Avx2Product : IQuadProduct
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> x)
    {
        Vector256<short> w = weights.AsInt16(), a = x.AsInt16();
        sum += Avx2.MultiplyAddAdjacent(w & Vector256.Create((short)0xff), Vector256.ShiftRightArithmetic(Vector256.ShiftLeft(a, 8), 8));
        return sum + Avx2.MultiplyAddAdjacent(Vector256.ShiftRightLogical(w, 8), Vector256.ShiftRightArithmetic(a, 8));
    }
}

/// <inheritdoc cref="Avx2Product"/>
public readonly struct Avx512Product : IWideQuadProduct
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Add(Vector512<int> sum, Vector512<byte> weights, Vector512<sbyte> x)
    {
        Vector512<short> w = weights.AsInt16(), a = x.AsInt16();
        sum += Avx512BW.MultiplyAddAdjacent(w & Vector512.Create((short)0xff), Vector512.ShiftRightArithmetic(Vector512.ShiftLeft(a, 8), 8));
        return sum + Avx512BW.MultiplyAddAdjacent(Vector512.ShiftRightLogical(w, 8), Vector512.ShiftRightArithmetic(a, 8));
    }
}

/// <summary>Codes below 16: two products fit in sixteen bits.</summary>
public readonly struct Avx2SmallProduct : IQuadProduct
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> x) =>
        sum + Avx2.MultiplyAddAdjacent(Avx2.MultiplyAddAdjacent(weights, x), Vector256<short>.One);
}

/// <inheritdoc cref="Avx2SmallProduct"/>
public readonly struct Avx512SmallProduct : IWideQuadProduct
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Add(Vector512<int> sum, Vector512<byte> weights, Vector512<sbyte> x) =>
        sum + Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(weights, x), Vector512<short>.One);
}

/// <summary>No instruction of a particular machine: a product of a byte and a signed byte above −128 fits in sixteen bits.</summary>
public readonly struct PortableProduct : IQuadProduct
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> x)
    {
        Vector256<short> w = weights.AsInt16(), a = x.AsInt16();
        var even = (w & Vector256.Create((short)0xff)) * Vector256.ShiftRightArithmetic(Vector256.ShiftLeft(a, 8), 8);
        var odd = Vector256.ShiftRightLogical(w, 8) * Vector256.ShiftRightArithmetic(a, 8);
        return sum + Pairs(even.AsInt32()) + Pairs(odd.AsInt32());
    }

    private static Vector256<int> Pairs(Vector256<int> products) => Vector256.ShiftRightArithmetic(Vector256.ShiftLeft(products, 16), 16) + Vector256.ShiftRightArithmetic(products, 16);
}
