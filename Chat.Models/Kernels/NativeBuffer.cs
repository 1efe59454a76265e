using System.Runtime.InteropServices;

namespace Chat.Models.Kernels;

/// <summary>
/// Zeroed memory outside the garbage collector's sight, aligned for whole vectors; large ones lie on huge pages where Linux has them (5 to 12 % of a
/// matrix product) and become resident only where they are touched. Freed when disposed of, at the latest when its owner is collected: whoever keeps
/// the pointer keeps the buffer.
/// </summary>
public sealed unsafe class NativeBuffer : IDisposable
{
    private const int Line = 64, HugePage = 2 << 20, AdviseHugePages = 14;
    private byte* block, pointer;

    public NativeBuffer(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        var huge = bytes >= HugePage;
        // A line more than asked for: kernels may read one vector past the end.
        Length = huge ? (bytes + Line + HugePage - 1) / HugePage * HugePage : bytes + Line;
        // calloc maps large blocks anew, and the kernel zeroes a new page when it is first touched; an aligned block would have to be cleared here. So
        // it is asked for an alignment more, which is never touched.
        var alignment = (nuint)(huge ? HugePage : Line);
        block = (byte*)NativeMemory.AllocZeroed((nuint)Length + alignment);
        pointer = (byte*)(((nuint)block + alignment - 1) / alignment * alignment);
        if (huge && OperatingSystem.IsLinux()) _ = Advise(pointer, (nuint)Length, AdviseHugePages);    // advice only: refused, it is merely slower
        GC.AddMemoryPressure(Length);
    }

    ~NativeBuffer() => Free();

    public long Length { get; }
    public byte* Pointer => pointer;
    public float* Floats => (float*)pointer;

    public static NativeBuffer OfFloats(long count) => new(count * sizeof(float));

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        if (block is null) return;
        NativeMemory.Free(block);
        block = pointer = null;
        GC.RemoveMemoryPressure(Length);
    }

    [DllImport("libc", EntryPoint = "madvise")]
    private static extern int Advise(void* address, nuint length, int advice);
}
