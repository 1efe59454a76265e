using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Chat.Models.Libtorch;

/// <summary>
/// Loads TorchSharp's native part where libstdc++ is older than GCC 13 (Debian 12). The file asks for the symbol version
/// <c>GLIBCXX_3.4.32</c> because of one marker symbol that nothing calls; declared weak, the loader goes on without it.
/// The change is made to a copy in memory: no file on disk is touched, and systems that have the version never come here.
/// </summary>
internal static class OlderSystem
{
    private const string Version = "GLIBCXX_3.4.32";

    public static nint Load(string path)
    {
        var image = File.ReadAllBytes(path);
        if (!WeakenVersionNeed(image, Version))
            return NativeLibrary.Load(path);            // something else is wrong with it: let the loader say what
        using var file = new SafeFileHandle(CreateMemoryFile("LibTorchSharp", 0), ownsHandle: true);
        if (file.IsInvalid) throw new DllNotFoundException($"memfd_create failed with errno {Marshal.GetLastPInvokeError()} while loading {path}.");
        RandomAccess.Write(file, image, 0);
        return NativeLibrary.Load($"/proc/self/fd/{file.DangerousGetHandle()}");
    }

    /// <summary>Sets VER_FLG_WEAK on every need of the named version in a 64-bit little-endian ELF image.</summary>
    /// <returns>Whether the version was found.</returns>
    public static bool WeakenVersionNeed(Span<byte> elf, string version)
    {
        const uint versionNeeds = 0x6ffffffe;           // SHT_GNU_verneed
        const ushort weak = 2;                          // VER_FLG_WEAK
        if (elf.Length < 64 || !elf[..6].SequenceEqual((ReadOnlySpan<byte>)[0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1])) return false;

        var found = false;
        var sections = (int)UInt64(elf, 0x28);
        int size = UInt16(elf, 0x3a), count = UInt16(elf, 0x3c);
        for (var s = sections; s < sections + count * size; s += size)
        {
            if (UInt32(elf, s + 4) != versionNeeds) continue;
            var strings = (int)UInt64(elf, sections + (int)UInt32(elf, s + 40) * size + 24);
            for (int need = (int)UInt64(elf, s + 24), left = (int)UInt32(elf, s + 44); left > 0; left--)
            {
                for (int entry = need + (int)UInt32(elf, need + 8), entries = UInt16(elf, need + 2); entries > 0; entries--)
                {
                    var name = elf[(strings + (int)UInt32(elf, entry + 8))..];
                    if (name[..name.IndexOf((byte)0)].SequenceEqual(Encoding.ASCII.GetBytes(version)))
                    {
                        BinaryPrimitives.WriteUInt16LittleEndian(elf[(entry + 4)..], (ushort)(UInt16(elf, entry + 4) | weak));
                        found = true;
                    }
                    entry += (int)UInt32(elf, entry + 12);
                }
                need += (int)UInt32(elf, need + 12);
            }
        }
        return found;
    }

    private static ulong UInt64(ReadOnlySpan<byte> elf, int at) => BinaryPrimitives.ReadUInt64LittleEndian(elf[at..]);
    private static uint UInt32(ReadOnlySpan<byte> elf, int at) => BinaryPrimitives.ReadUInt32LittleEndian(elf[at..]);
    private static ushort UInt16(ReadOnlySpan<byte> elf, int at) => BinaryPrimitives.ReadUInt16LittleEndian(elf[at..]);

    [DllImport("libc", EntryPoint = "memfd_create", SetLastError = true, CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    private static extern int CreateMemoryFile(string name, uint flags);
}
