using System.Buffers.Binary;
using System.Collections.Frozen;
using System.IO.Compression;
using System.Numerics;

namespace Chat.Models.Checkpoints;

/// <summary>
/// A file of <c>torch.save</c>: the zip archive of PyTorch 1.6 and later (<c>data.pkl</c> and one stored entry a storage), or the row of pickles and storages of those before. Nothing in it is run (<see cref="TorchPickle"/>),
/// numbers are read when asked for. Not thread-safe.
/// </summary>
public sealed class TorchFile : IDisposable
{
    private const long LargestPickle = 256 << 20;
    private static readonly BigInteger OldMagic = (new BigInteger(0x1950) << 64) + 0xa86a20f9469cfc6c;
    private readonly string file;
    private readonly FileStream stream;
    private readonly ZipArchive? archive;
    private readonly FrozenDictionary<string, (long At, long Length)> old;
    private readonly string prefix;
    private (string Key, byte[] Bytes)? last;           // parts of one storage are read one after the other

    private TorchFile(string file, FileStream stream, ZipArchive? archive, string prefix, Dictionary<string, (long, long)> old, Dictionary<string, TorchTensor> tensors) =>
        (this.file, this.stream, this.archive, this.prefix, this.old, Tensors) = (file, stream, archive, prefix, old.ToFrozenDictionary(), tensors);

    /// <summary>The weights, by name.</summary>
    internal IReadOnlyDictionary<string, TorchTensor> Tensors { get; }

    /// <summary>Opens a state dictionary, or one that lies under <c>module</c> or <c>model</c> beside what a training run keeps.</summary>
    /// <exception cref="CheckpointException">See <see cref="CheckpointErrors"/>; <c>unsupported</c> names what in the file is not data.</exception>
    public static TorchFile Open(string path)
    {
        var file = Path.GetFileName(path);
        if (!File.Exists(path)) throw new CheckpointException(CheckpointErrors.MissingFile, $"{file} is missing in {Path.GetDirectoryName(path)}.");
        var stream = File.OpenRead(path);
        try
        {
            Span<byte> start = stackalloc byte[4];
            var zip = stream.ReadAtLeast(start, 4, throwOnEndOfStream: false) == 4 && start.SequenceEqual("PK\x03\x04"u8);
            stream.Position = 0;
            return zip ? OpenArchive(file, stream) : OpenOld(file, stream);
        }
        catch (Exception error) when (error is InvalidDataException or EndOfStreamException)
        {
            stream.Dispose();
            throw new CheckpointException(CheckpointErrors.Truncated, $"{file} begins like a zip archive and is none, or is cut short: {error.Message}", error);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        archive?.Dispose();
        stream.Dispose();
    }

    /// <summary>The numbers of a tensor, little-endian, row by row whatever its strides are.</summary>
    /// <exception cref="CheckpointException"><c>truncated</c>: the storage is missing or shorter than the pickle says.</exception>
    internal byte[] Read(TorchTensor tensor)
    {
        var size = TensorEntry.SizeOf(tensor.Dtype)!.Value;
        var storage = Storage(tensor.Storage, tensor.StorageLength * size);
        var target = new byte[tensor.Shape.Aggregate((long)size, (product, dim) => product * dim)];
        if (target.Length > 0) Gather(storage, tensor, 0, tensor.Offset, size, target);
        return target;
    }

    // Copies dimension after dimension; the last one in a piece where its elements lie beside each other.
    private static int Gather(byte[] storage, TorchTensor tensor, int dimension, long at, int size, Span<byte> target)
    {
        if (dimension == tensor.Shape.Count)
        {
            storage.AsSpan((int)(at * size), size).CopyTo(target);
            return size;
        }
        var (count, stride) = (tensor.Shape[dimension], tensor.Strides[dimension]);
        if (dimension == tensor.Shape.Count - 1 && stride == 1)
        {
            storage.AsSpan((int)(at * size), (int)(count * size)).CopyTo(target);
            return (int)(count * size);
        }
        var written = 0;
        for (var i = 0L; i < count; i++) written += Gather(storage, tensor, dimension + 1, at + i * stride, size, target[written..]);
        return written;
    }

    private byte[] Storage(string key, long length)
    {
        if (last is { } read && read.Key == key && read.Bytes.Length >= length) return read.Bytes;
        if (length > Array.MaxLength) throw new CheckpointException(CheckpointErrors.Unsupported, $"{file}: a storage of {length} bytes is more than the {Array.MaxLength} that are read in one piece.");
        var bytes = Array.Empty<byte>();
        if (archive is not null)
        {
            var entry = archive.GetEntry($"{prefix}data/{key}") ?? throw Short(key, length, 0);
            if (entry.Length < length) throw Short(key, length, entry.Length);
            bytes = new byte[length];
            try
            {
                using var data = entry.Open();
                data.ReadExactly(bytes);
            }
            catch (Exception error) when (error is InvalidDataException or EndOfStreamException)
            {
                throw new CheckpointException(CheckpointErrors.Truncated, $"{file}: storage '{key}' cannot be read: {error.Message}", error);
            }
        }
        else
        {
            var (at, held) = old.GetValueOrDefault(key);
            if (held < length) throw Short(key, length, held);
            bytes = new byte[length];
            stream.Position = at;
            stream.ReadExactly(bytes);
        }
        last = (key, bytes);
        return bytes;
    }

    private CheckpointException Short(string key, long length, long held) => new(CheckpointErrors.Truncated, $"{file}: storage '{key}' should have {length} bytes and has {held}.");

    private static TorchFile OpenArchive(string file, FileStream stream)
    {
        var archive = new ZipArchive(stream, ZipArchiveMode.Read, leaveOpen: true);
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var entry in archive.Entries)
        {
            if (!names.Add(entry.FullName)) throw new CheckpointException(CheckpointErrors.DuplicateKey, $"{file} has the entry '{entry.FullName}' twice.");
            // torch.save never compresses, so a length is what is there: no small file is a large one.
            if (entry.CompressedLength != entry.Length) throw new CheckpointException(CheckpointErrors.Unsupported, $"{file}: '{entry.FullName}' is compressed, torch.save stores.");
        }
        var pickles = archive.Entries.Where(entry => entry.Name == "data.pkl").ToArray();
        if (pickles.Length != 1) throw new CheckpointException(CheckpointErrors.BadHeader, $"{file} has {pickles.Length} entries data.pkl, a file of torch.save has one.");
        if (pickles[0].Length > LargestPickle) throw new CheckpointException(CheckpointErrors.HeaderTooLarge, $"{file}: data.pkl has {pickles[0].Length} bytes; at most {LargestPickle} are read.");
        var prefix = pickles[0].FullName[..^"data.pkl".Length];
        if (archive.GetEntry(prefix + "byteorder") is { } order)
        {
            using var text = new StreamReader(order.Open());
            if (text.ReadToEnd() is var said && said != "little") throw new CheckpointException(CheckpointErrors.Unsupported, $"{file} has the byte order '{said}', only little is read.");
        }
        using var pickle = new MemoryStream();
        using (var data = pickles[0].Open()) data.CopyTo(pickle);
        pickle.Position = 0;
        return new TorchFile(file, stream, archive, prefix, [], Weights(TorchPickle.Read(pickle, file), file));
    }

    private static TorchFile OpenOld(string file, FileStream stream)
    {
        if (TorchPickle.Read(stream, file) is not BigInteger magic || magic != OldMagic) throw new CheckpointException(CheckpointErrors.BadHeader, $"{file} is no file of torch.save: neither a zip archive nor PyTorch's older form.");
        if (TorchPickle.Read(stream, file) is not 1001L) throw new CheckpointException(CheckpointErrors.Unsupported, $"{file} is of another version of PyTorch's older form than 1001.");
        if (TorchPickle.Read(stream, file) is not Dictionary<string, object?> system || system.GetValueOrDefault("little_endian") is not true) throw new CheckpointException(CheckpointErrors.Unsupported, $"{file} was not written little-endian.");
        var tensors = Weights(TorchPickle.Read(stream, file), file);
        if (TorchPickle.Read(stream, file) is not List<object?> keys) throw new CheckpointException(CheckpointErrors.BadHeader, $"{file} has no list of its storages.");

        // A storage says how many elements it has, only the tensors say of what type they are.
        var sizes = tensors.Values.GroupBy(tensor => tensor.Storage).ToDictionary(group => group.Key, group => TensorEntry.SizeOf(group.First().Dtype)!.Value);
        var places = new Dictionary<string, (long, long)>();
        Span<byte> count = stackalloc byte[8];
        foreach (var key in keys.OfType<string>())
        {
            if (stream.ReadAtLeast(count, 8, throwOnEndOfStream: false) < 8) throw new CheckpointException(CheckpointErrors.Truncated, $"{file} ends before its storage '{key}'.");
            if (!sizes.TryGetValue(key, out var size)) throw new CheckpointException(CheckpointErrors.Unsupported, $"{file}: storage '{key}' belongs to no weight, so its length is not known.");
            var elements = BinaryPrimitives.ReadInt64LittleEndian(count);
            if (elements < 0 || elements > (stream.Length - stream.Position) / size) throw new CheckpointException(CheckpointErrors.Truncated, $"{file}: storage '{key}' claims {elements} elements, which are not there.");
            if (!places.TryAdd(key, (stream.Position, elements * size))) throw new CheckpointException(CheckpointErrors.DuplicateKey, $"{file} has the storage '{key}' twice.");
            stream.Position += elements * size;
        }
        return new TorchFile(file, stream, null, "", places, tensors);
    }

    private static Dictionary<string, TorchTensor> Weights(object? root, string file)
    {
        var dictionary = root as Dictionary<string, object?>;
        foreach (var key in new[] { "module", "model" })
            if (dictionary?.GetValueOrDefault(key) is Dictionary<string, object?> inner) dictionary = inner;
        var tensors = dictionary?.Where(pair => pair.Value is TorchTensor).ToDictionary(pair => pair.Key, pair => (TorchTensor)pair.Value!);
        return tensors is { Count: > 0 } ? tensors : throw new CheckpointException(CheckpointErrors.BadHeader, $"{file} holds no dictionary of weights.");
    }
}
