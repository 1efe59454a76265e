using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Chat.Training.Methods;

/// <summary>
/// SplitMix64 (Steele, Lea, Flood 2014): a random stream that is one number, so it can be started anywhere and is the same on every
/// machine and runtime. Every random choice of training is drawn from a stream named by what it decides, which is why a resumed run
/// needs no saved generator.
/// </summary>
public struct RandomStream(ulong state)
{
    private ulong state = state;

    /// <summary>The stream of a named decision.</summary>
    public static RandomStream Of(ulong seed, string purpose, long index)
    {
        Span<byte> key = stackalloc byte[16 + Encoding.UTF8.GetMaxByteCount(purpose.Length)];
        BinaryPrimitives.WriteUInt64LittleEndian(key, seed);
        BinaryPrimitives.WriteInt64LittleEndian(key[8..], index);
        var length = 16 + Encoding.UTF8.GetBytes(purpose, key[16..]);
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(key[..length], hash);
        return new RandomStream(BinaryPrimitives.ReadUInt64LittleEndian(hash));
    }

    public ulong Next()
    {
        state += 0x9E3779B97F4A7C15;
        var z = state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>Uniform in [0, 1).</summary>
    public double Unit() => (Next() >> 11) * (1.0 / (1UL << 53));

    /// <summary>Uniform in [0, bound).</summary>
    public int Below(int bound) => (int)Math.BigMul(Next(), (ulong)bound, out _);

    /// <summary>Fisher and Yates.</summary>
    public void Shuffle<T>(Span<T> items)
    {
        for (var i = items.Length - 1; i > 0; i--)
        {
            var j = Below(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }
}
