using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Chat.Models.Checkpoints;

/// <summary>
/// An open safetensors file. The header is checked whole when opened; data is read on demand, piece by piece, and checked for NaN and
/// infinity as it passes. Nothing is allocated on the header's word. Reading is thread-safe.
/// </summary>
public sealed class SafetensorsFile : IDisposable
{
    private const long LargestHeader = 100_000_000;         // the format's limit
    private const long LargestReadHeader = 16 << 20;        // ours: a hundred thousand tensors; more would only cost memory
    private const int Piece = 1 << 16;
    private readonly SafeFileHandle handle;
    private readonly long dataStart;

    private SafetensorsFile(SafeFileHandle handle, long dataStart, string name, IReadOnlyDictionary<string, TensorEntry> entries) =>
        (this.handle, this.dataStart, Name, Entries) = (handle, dataStart, name, entries);

    /// <summary>The file's name, for errors.</summary>
    public string Name { get; }

    public IReadOnlyDictionary<string, TensorEntry> Entries { get; }

    /// <exception cref="CheckpointException">See <see cref="CheckpointErrors"/>.</exception>
    public static SafetensorsFile Open(string path)
    {
        var name = Path.GetFileName(path);
        if (!File.Exists(path)) throw new CheckpointException(CheckpointErrors.MissingFile, $"{name} is missing in {Path.GetDirectoryName(path)}.");
        var handle = File.OpenHandle(path);
        try
        {
            var length = RandomAccess.GetLength(handle);
            Span<byte> prefix = stackalloc byte[8];
            if (length < prefix.Length) throw new CheckpointException(CheckpointErrors.Truncated, $"{name} has {length} bytes, not even the header's length.");
            RandomAccess.Read(handle, prefix, 0);
            var claimed = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
            if (claimed > LargestHeader) throw new CheckpointException(CheckpointErrors.HeaderTooLarge, $"{name} claims a header of {claimed} bytes; at most {LargestHeader} are allowed.");
            var dataStart = prefix.Length + (long)claimed;
            if (dataStart > length) throw new CheckpointException(CheckpointErrors.Truncated, $"{name} has {length} bytes and claims a header of {claimed}.");
            if (dataStart > LargestReadHeader) throw new CheckpointException(CheckpointErrors.HeaderTooLarge, $"{name} has a header of {claimed} bytes; at most {LargestReadHeader} are read.");

            var header = new byte[claimed];
            ReadExactly(handle, header, prefix.Length, name);
            return new SafetensorsFile(handle, dataStart, name, SafetensorsHeader.Read(header, length - dataStart, name));
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Reads part of a tensor's bytes and checks that its numbers are finite.</summary>
    /// <param name="from">First byte within the tensor; a whole number of elements.</param>
    /// <exception cref="CheckpointException"><c>non_finite</c>, or <c>truncated</c> when the file shrank since it was opened.</exception>
    public void Read(TensorEntry entry, long from, Span<byte> target)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(from + target.Length, entry.End - entry.Begin);
        ReadExactly(handle, target, dataStart + entry.Begin + from, Name);
        CheckFinite(entry, target);
    }

    /// <summary>Looks at every number of a tensor without keeping it.</summary>
    /// <exception cref="CheckpointException"><c>non_finite</c>.</exception>
    public void CheckFinite(TensorEntry entry)
    {
        var buffer = new byte[Math.Min(Piece, entry.End - entry.Begin)];
        for (var at = entry.Begin; at < entry.End; at += buffer.Length)
        {
            var piece = buffer.AsSpan(0, (int)Math.Min(buffer.Length, entry.End - at));
            ReadExactly(handle, piece, dataStart + at, Name);
            CheckFinite(entry, piece);
        }
    }

    public void Dispose() => handle.Dispose();

    private void CheckFinite(TensorEntry entry, ReadOnlySpan<byte> bytes)
    {
        // All bits of the exponent set means NaN or infinity, in every one of the three types.
        var finite = entry.Dtype switch
        {
            "F32" => AllFinite(MemoryMarshal.Cast<byte, uint>(bytes), 0x7f80_0000u),
            "BF16" => AllFinite(MemoryMarshal.Cast<byte, ushort>(bytes), (ushort)0x7f80),
            "F16" => AllFinite(MemoryMarshal.Cast<byte, ushort>(bytes), (ushort)0x7c00),
            _ => true,
        };
        if (!finite) throw new CheckpointException(CheckpointErrors.NonFinite, $"{Name}: {entry.Describe()} holds NaN or infinity.");
    }

    private static bool AllFinite<T>(ReadOnlySpan<T> bits, T exponent) where T : struct, System.Numerics.IBinaryInteger<T>
    {
        foreach (var each in bits)
            if ((each & exponent) == exponent) return false;
        return true;
    }

    private static void ReadExactly(SafeFileHandle handle, Span<byte> target, long at, string name)
    {
        while (target.Length > 0)
        {
            var read = RandomAccess.Read(handle, target, at);
            if (read == 0) throw new CheckpointException(CheckpointErrors.Truncated, $"{name} ends at byte {at}, {target.Length} bytes early.");
            target = target[read..];
            at += read;
        }
    }
}
