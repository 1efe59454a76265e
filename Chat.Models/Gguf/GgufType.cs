using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Chat.Models.Gguf;

/// <summary>How a GGUF file stores numbers; the values are the format's.</summary>
public enum GgufType { F32 = 0, F16 = 1, Q4_0 = 2, Q8_0 = 8 }

/// <summary>Numbers into the format's bytes.</summary>
internal static class GgufTypes
{
    /// <summary>Numbers a block of Q8_0 or Q4_0 holds: one half-precision scale, then a byte or four bits each.</summary>
    public const int Block = 32;
    private const int ByteBlockBytes = 2 + Block, NibbleBlockBytes = 2 + Block / 2;

    /// <summary>Whether rows must be cut into whole blocks.</summary>
    public static bool InBlocks(GgufType type) => type is GgufType.Q8_0 or GgufType.Q4_0;

    public static long Bytes(GgufType type, long count) => type switch
    {
        GgufType.F32 => 4 * count,
        GgufType.F16 => 2 * count,
        GgufType.Q4_0 => count / Block * NibbleBlockBytes,
        _ => count / Block * ByteBlockBytes,
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
            case GgufType.Q4_0:
                for (var block = 0; block < numbers.Length / Block; block++) ToNibbles(numbers.Slice(block * Block, Block), bytes.AsSpan(block * NibbleBlockBytes, NibbleBlockBytes));
                break;
            default:
                for (var block = 0; block < numbers.Length / Block; block++) ToBytes(numbers.Slice(block * Block, Block), bytes.AsSpan(block * ByteBlockBytes, ByteBlockBytes));
                break;
        }
        return bytes;
    }

    /// <summary>Scale = largest / 127, rounded half away from zero, as the format's own tools do.</summary>
    private static void ToBytes(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        var largest = 0f;
        foreach (var number in numbers) largest = Math.Max(largest, Math.Abs(number));
        var scale = largest / 127;
        BinaryPrimitives.WriteHalfLittleEndian(block, Finite((Half)scale, scale));
        var factor = scale == 0 ? 0 : 1 / scale;
        for (var i = 0; i < numbers.Length; i++) block[2 + i] = (byte)(sbyte)MathF.Round(numbers[i] * factor, MidpointRounding.AwayFromZero);
    }

    /// <summary>The number of largest magnitude gets the code 0, which stands for −8 scales; number i is in the low half of byte i, number i + 16 in its high half. As the format's own tools do.</summary>
    private static void ToNibbles(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        var largest = 0f;
        foreach (var number in numbers) if (Math.Abs(number) > Math.Abs(largest)) largest = number;
        var scale = largest / -8;
        BinaryPrimitives.WriteHalfLittleEndian(block, Finite((Half)scale, scale));
        var factor = scale == 0 ? 0 : 1 / scale;
        for (var i = 0; i < Block / 2; i++) block[2 + i] = (byte)(Code(numbers[i] * factor) | Code(numbers[i + Block / 2] * factor) << 4);

        static int Code(float steps) => Math.Min(15, (int)(steps + 8.5f));
    }

    private static Half Finite(Half half, float number) => Half.IsFinite(half) ? half : throw new OverflowException($"The number {number} is beyond half precision; write F32.");
}
