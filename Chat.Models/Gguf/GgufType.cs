using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Chat.Models.Gguf;

/// <summary>How a GGUF file stores numbers; the values are the format's.</summary>
public enum GgufType { F32 = 0, F16 = 1, Q8_0 = 8 }

/// <summary>Numbers into the format's bytes.</summary>
internal static class GgufTypes
{
    /// <summary>Numbers a block of Q8_0 holds: one half-precision scale and as many bytes.</summary>
    public const int Block = 32;
    private const int BlockBytes = 2 + Block;

    public static long Bytes(GgufType type, long count) => type switch
    {
        GgufType.F32 => 4 * count,
        GgufType.F16 => 2 * count,
        _ => count / Block * BlockBytes,
    };

    /// <exception cref="OverflowException">A number is beyond half precision.</exception>
    public static byte[] Encode(GgufType type, ReadOnlySpan<float> numbers)
    {
        var bytes = new byte[Bytes(type, numbers.Length)];
        switch (type)
        {
            case GgufType.F32:
                MemoryMarshal.AsBytes(numbers).CopyTo(bytes);
                break;
            case GgufType.F16:
                for (var i = 0; i < numbers.Length; i++) BinaryPrimitives.WriteHalfLittleEndian(bytes.AsSpan(2 * i), Finite((Half)numbers[i], numbers[i]));
                break;
            default:
                for (var block = 0; block < numbers.Length / Block; block++) Quantise(numbers.Slice(block * Block, Block), bytes.AsSpan(block * BlockBytes, BlockBytes));
                break;
        }
        return bytes;
    }

    /// <summary>Scale = largest / 127, rounded half away from zero, as the format's own tools do.</summary>
    private static void Quantise(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        var largest = 0f;
        foreach (var number in numbers) largest = Math.Max(largest, Math.Abs(number));
        var scale = largest / 127;
        BinaryPrimitives.WriteHalfLittleEndian(block, Finite((Half)scale, scale));
        var factor = scale == 0 ? 0 : 1 / scale;
        for (var i = 0; i < numbers.Length; i++) block[2 + i] = (byte)(sbyte)MathF.Round(numbers[i] * factor, MidpointRounding.AwayFromZero);
    }

    private static Half Finite(Half half, float number) => Half.IsFinite(half) ? half : throw new OverflowException($"The number {number} is beyond half precision; write F32.");
}
