using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Chat.Models.Kernels;

/// <summary>
/// How a group of 32 columns of a panel stands in memory: unsigned codes, four neighbouring columns of a row side by side («quad»), sixteen rows a quad.
/// A kernel asks for quads j and j + 4 together.
/// </summary>
public unsafe interface IWeightCodes
{
    static abstract int GroupBytes { get; }

    /// <summary>The code of weight 0, as a power of two.</summary>
    static abstract int ZeroBits { get; }

    static abstract InstructionPath BestPath { get; }

    /// <summary>A scale for numbers of a row's group, such that their codes come nearest to them.</summary>
    static abstract float Scale(ReadOnlySpan<float> group);

    static abstract void Store(byte* group, int row, int column, int code);

    /// <param name="half">0 for the panel's rows 0 to 7, 1 for 8 to 15.</param>
    static abstract (Vector256<byte> Near, Vector256<byte> Far) Load(byte* group, int j, int half);

    static abstract (Vector512<byte> Near, Vector512<byte> Far) LoadWide(byte* group, int j);
}

/// <summary>A byte a weight.</summary>
public readonly unsafe struct Int8Codes : IWeightCodes
{
    public static int GroupBytes => 512;
    public static int ZeroBits => 7;
    public static InstructionPath BestPath => InstructionPaths.Int8;

    public static float Scale(ReadOnlySpan<float> group) => System.Numerics.Tensors.TensorPrimitives.MaxMagnitude(group) is var greatest ? MathF.Abs(greatest) / 127 : 0;

    public static void Store(byte* group, int row, int column, int code) => group[column / 4 * 64 + row * 4 + column % 4] = (byte)code;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector256<byte> Near, Vector256<byte> Far) Load(byte* group, int j, int half) => (Vector256.Load(group + j * 64 + half * 32), Vector256.Load(group + 256 + j * 64 + half * 32));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector512<byte> Near, Vector512<byte> Far) LoadWide(byte* group, int j) => (Vector512.Load(group + j * 64), Vector512.Load(group + 256 + j * 64));
}

/// <summary>Four bits a weight: quad j in the low halves of bytes whose high halves hold quad j + 4.</summary>
public readonly unsafe struct Int4Codes : IWeightCodes
{
    public static int GroupBytes => 256;
    public static int ZeroBits => 3;
    public static InstructionPath BestPath => InstructionPaths.Int4;

    /// <summary>Tries scales around the one that gives the number of greatest magnitude the code −8, and takes the one of least squared error.</summary>
    public static float Scale(ReadOnlySpan<float> group)
    {
        var greatest = System.Numerics.Tensors.TensorPrimitives.MaxMagnitude(group);
        if (greatest == 0) return 0;
        var (best, least) = (0f, float.PositiveInfinity);
        for (var divisor = -9.2f; divisor <= -6.4f; divisor += 0.2f)
        {
            var scale = BFloat16.Round(greatest / divisor);
            if (Error(group, scale) is var error && error < least) (best, least) = (scale, error);
        }
        return best;
    }

    private static float Error(ReadOnlySpan<float> group, float scale)
    {
        Vector256<float> sum = Vector256<float>.Zero, inverse = Vector256.Create(1 / scale);
        for (var i = 0; i < group.Length; i += 8)
        {
            var values = Vector256.Create(group[i..]);
            var codes = Vector256.Min(Vector256.Max(Vector256.ConvertToSingle(VectorMath.RoundToInt(values * inverse)), Vector256.Create(-8f)), Vector256.Create(7f));
            var missed = values - codes * scale;
            sum += missed * missed;
        }
        return Vector256.Sum(sum);
    }

    public static void Store(byte* group, int row, int column, int code)
    {
        ref var at = ref group[column / 4 % 4 * 64 + row * 4 + column % 4];
        at = (byte)(column < 16 ? at & 0xf0 | code : at & 0x0f | code << 4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector256<byte> Near, Vector256<byte> Far) Load(byte* group, int j, int half)
    {
        var (both, low) = (Vector256.Load(group + j * 64 + half * 32), Vector256.Create((byte)0x0f));
        return (both & low, Vector256.ShiftRightLogical(both.AsUInt16(), 4).AsByte() & low);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector512<byte> Near, Vector512<byte> Far) LoadWide(byte* group, int j)
    {
        var (both, low) = (Vector512.Load(group + j * 64), Vector512.Create((byte)0x0f));
        return (both & low, Vector512.ShiftRightLogical(both.AsUInt16(), 4).AsByte() & low);
    }
}
