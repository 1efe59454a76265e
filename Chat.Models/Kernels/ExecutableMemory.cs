using System.Runtime.InteropServices;

namespace Chat.Models.Kernels;

/// <summary>Memory that holds machine code, on Linux: written first, then executable and no longer writable. Never given back.</summary>
internal static unsafe class ExecutableMemory
{
    private const int Read = 1, Write = 2, Execute = 4, Private = 2, Anonymous = 0x20;

    /// <summary>Whether the system lets a process make code; a hardened one may not.</summary>
    public static bool IsAllowed { get; } = TryMake([0xc3]) is not null;

    public static byte* Of(ReadOnlySpan<byte> code)
    {
        var memory = TryMake(code);
        return memory is not null ? memory : throw new InvalidOperationException("The system does not let this process make code.");
    }

    private static byte* TryMake(ReadOnlySpan<byte> code)
    {
        var memory = Map(null, (nuint)code.Length, Read | Write, Private | Anonymous, -1, 0);
        if ((nint)memory == -1) return null;
        code.CopyTo(new Span<byte>(memory, code.Length));
        if (Protect(memory, (nuint)code.Length, Read | Execute) == 0) return memory;
        _ = Unmap(memory, (nuint)code.Length);
        return null;
    }

    [DllImport("libc", EntryPoint = "mmap")]
    private static extern byte* Map(void* address, nuint length, int protection, int flags, int file, nint offset);

    [DllImport("libc", EntryPoint = "mprotect")]
    private static extern int Protect(void* address, nuint length, int protection);

    [DllImport("libc", EntryPoint = "munmap")]
    private static extern int Unmap(void* address, nuint length);
}
