using System.Runtime.Intrinsics;
using Chat.Models.Kernels;

namespace Chat.Benchmarks;

/// <summary>Memory read and nothing done with it: what a product of a matrix and one vector cannot beat.</summary>
internal static class PlainReading
{
    private static long sink;

    /// <summary>Memory of its own: pages that nobody has written to are all the kernel's one page of zeros, which lies in the first cache.</summary>
    public static unsafe NativeBuffer Memory(int bytes)
    {
        var memory = new NativeBuffer(bytes);
        new Span<byte>(memory.Pointer, bytes).Fill(1);
        return memory;
    }

    public static unsafe void Walk(byte* from, long bytes)
    {
        Vector512<long> a = Vector512<long>.Zero, b = a, c = a, d = a;
        for (long* at = (long*)from, end = (long*)(from + bytes); at + 32 <= end; at += 32)
        {
            a += Vector512.Load(at);
            b += Vector512.Load(at + 8);
            c += Vector512.Load(at + 16);
            d += Vector512.Load(at + 24);
        }
        Volatile.Write(ref sink, Vector512.Sum(a + b + c + d));
    }
}
