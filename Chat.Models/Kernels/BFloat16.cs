using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Chat.Models.Kernels;

/// <summary>The upper half of a float32. .NET has no instruction for it; a shift is one.</summary>
internal static unsafe class BFloat16
{
    /// <summary>The nearest number that bfloat16 holds, ties to even. Not for NaN.</summary>
    public static float Round(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return BitConverter.UInt32BitsToSingle(bits + 0x7fff + (bits >> 16 & 1) & 0xffff_0000);
    }

    /// <summary>The upper half of a number that <see cref="Round"/> gave.</summary>
    public static ushort Bits(float rounded) => (ushort)(BitConverter.SingleToUInt32Bits(rounded) >> 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(ushort* source)
    {
        var wide = Avx2.IsSupported ? Avx2.ConvertToVector256Int32(source) : Vector256.Create(Vector128.WidenLower(Vector128.Load(source)), Vector128.WidenUpper(Vector128.Load(source))).AsInt32();
        return Vector256.ShiftLeft(wide, 16).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadWide(ushort* source) => Vector512.ShiftLeft(Avx512F.ConvertToVector512Int32(Vector256.Load(source)), 16).AsSingle();
}
