using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Chat.Tests.Checkpoints;

/// <summary>A tensor for <see cref="TorchFileWriter"/>; strides, offset and the claimed storage length can be made to lie.</summary>
internal sealed record WrittenTensor(string Name, string Storage, long[] Shape, byte[] Bytes, int Size, long Offset = 0, long[]? Strides = null, long? Claimed = null);

/// <summary>Writes the zip form of torch.save with the opcodes that torch uses (protocol 2), right or wrong as a test wants it.</summary>
internal sealed class TorchFileWriter
{
    private readonly MemoryStream pickle = new();
    private readonly List<(string Key, byte[] Bytes)> storages = [];

    public static void Write(string path, IEnumerable<WrittenTensor> tensors, string? under = null, Action<TorchFileWriter>? beside = null, CompressionLevel level = CompressionLevel.NoCompression, bool twice = false)
    {
        var writer = new TorchFileWriter();
        writer.Raw(0x80, 2);
        if (under is not null)
        {
            writer.Raw((byte)'}', (byte)'(');
            writer.Text(under);
        }
        writer.Global("collections", "OrderedDict");
        writer.Raw((byte)')', (byte)'R', (byte)'(');
        foreach (var tensor in tensors)
        {
            writer.Text(tensor.Name);
            writer.Tensor(tensor);
        }
        writer.Raw((byte)'u');
        beside?.Invoke(writer);
        if (under is not null) writer.Raw((byte)'u');
        writer.Raw((byte)'.');

        using var zip = new ZipArchive(File.Create(path), ZipArchiveMode.Create);
        Entry(zip, "archive/data.pkl", writer.pickle.ToArray(), level);
        foreach (var (key, bytes) in writer.storages) Entry(zip, $"archive/data/{key}", bytes, level);
        if (twice) Entry(zip, "archive/data/0", writer.storages[0].Bytes, level);
        Entry(zip, "archive/version", "3\n"u8, level);
    }

    public void Raw(params ReadOnlySpan<byte> bytes) => pickle.Write(bytes);

    public void Global(string module, string name) => Raw([(byte)'c', .. Encoding.ASCII.GetBytes($"{module}\n{name}\n")]);

    public void Text(string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        Raw((byte)'X', (byte)bytes.Length, (byte)(bytes.Length >> 8), 0, 0);
        Raw(bytes);
    }

    public void Number(long number)
    {
        Span<byte> bytes = stackalloc byte[10];
        (bytes[0], bytes[1]) = (0x8a, 8);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[2..], number);
        Raw(bytes);
    }

    private void Tensor(WrittenTensor tensor)
    {
        var key = storages.Count.ToString(System.Globalization.CultureInfo.InvariantCulture);
        storages.Add((key, tensor.Bytes));
        Global("torch._utils", "_rebuild_tensor_v2");
        Raw((byte)'(', (byte)'(');
        Text("storage");
        Global("torch", tensor.Storage);
        Text(key);
        Text("cpu");
        Number(tensor.Claimed ?? tensor.Bytes.Length / tensor.Size);
        Raw((byte)'t', (byte)'Q');
        Number(tensor.Offset);
        Tuple(tensor.Shape);
        Tuple(tensor.Strides ?? [.. tensor.Shape.Select((_, i) => tensor.Shape.Skip(i + 1).Aggregate(1L, (product, size) => product * size))]);
        Raw(0x89);
        Global("collections", "OrderedDict");
        Raw((byte)')', (byte)'R', (byte)'t', (byte)'R');
    }

    private void Tuple(long[] numbers)
    {
        Raw((byte)'(');
        foreach (var number in numbers) Number(number);
        Raw((byte)'t');
    }

    private static void Entry(ZipArchive zip, string name, ReadOnlySpan<byte> bytes, CompressionLevel level)
    {
        using var entry = zip.CreateEntry(name, level).Open();
        entry.Write(bytes);
    }
}
