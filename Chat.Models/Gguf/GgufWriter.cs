using System.Text;
using Chat.Models.Checkpoints;

namespace Chat.Models.Gguf;

/// <summary>
/// Writes GGUF version 3, the file of llama.cpp and what is built on it: keys with typed values, the list of tensors, then their data, each at a multiple of 32 bytes.
/// Shapes are written the format's way, the innermost dimension first.
/// </summary>
public sealed class GgufWriter
{
    private const uint Magic = 0x46554747;          // «GGUF»
    private const int Alignment = 32;
    private enum ValueType { UInt32 = 4, Int32 = 5, Float32 = 6, Boolean = 7, Text = 8, Array = 9 }

    private readonly List<Action<BinaryWriter>> keys = [];
    private readonly List<(string Name, long[] Shape, GgufType Type, Func<float[]> Read)> tensors = [];

    public void Add(string key, int value) => Value(key, ValueType.UInt32, writer => writer.Write(checked((uint)value)));

    public void Add(string key, double value) => Value(key, ValueType.Float32, writer => writer.Write((float)value));

    public void Add(string key, bool value) => Value(key, ValueType.Boolean, writer => writer.Write(value));

    public void Add(string key, string value) => Value(key, ValueType.Text, writer => Text(writer, value));

    public void Add(string key, IReadOnlyList<string> list) => List(key, ValueType.Text, list, Text);

    public void Add(string key, IReadOnlyList<int> list) => List(key, ValueType.Int32, list, (writer, value) => writer.Write(value));

    /// <param name="shape">Outermost dimension first, as in a checkpoint.</param>
    /// <param name="read">Gives the numbers when the file is written, so that one tensor at a time is in memory.</param>
    public void Add(string name, IReadOnlyList<long> shape, GgufType type, Func<float[]> read)
    {
        if (GgufTypes.InBlocks(type) && shape[^1] % GgufTypes.Block != 0) throw new ArgumentException($"Rows of '{name}' have {shape[^1]} numbers: {type} takes multiples of {GgufTypes.Block}.");
        tensors.Add((name, [.. shape], type, read));
    }

    /// <summary>Writes the file; it appears under its name only when it is whole.</summary>
    public void Write(string path)
    {
        WholeFile.Write(path, part =>
        {
            using var file = File.Create(part);
            using var writer = new BinaryWriter(file);
            writer.Write(Magic);
            writer.Write(3u);
            writer.Write((ulong)tensors.Count);
            writer.Write((ulong)keys.Count);
            keys.ForEach(key => key(writer));
            long offset = 0;
            foreach (var (name, shape, type, _) in tensors)
            {
                Text(writer, name);
                writer.Write((uint)shape.Length);
                foreach (var dim in shape.Reverse()) writer.Write((ulong)dim);
                writer.Write((uint)type);
                writer.Write((ulong)offset);
                offset = Aligned(offset + GgufTypes.Bytes(type, shape.Aggregate(1L, (product, dim) => product * dim)));
            }
            Pad(writer);
            foreach (var (name, shape, type, read) in tensors)
            {
                var numbers = read();
                if (numbers.LongLength != shape.Aggregate(1L, (product, dim) => product * dim)) throw new InvalidOperationException($"'{name}' gave {numbers.Length} numbers for the shape [{string.Join(", ", shape)}].");
                writer.Write(GgufTypes.Encode(type, numbers));
                Pad(writer);
            }
            writer.Flush();
            file.Flush(flushToDisk: true);
        });
    }

    private void Value(string key, ValueType type, Action<BinaryWriter> value) => keys.Add(writer =>
    {
        Text(writer, key);
        writer.Write((uint)type);
        value(writer);
    });

    private void List<T>(string key, ValueType type, IReadOnlyList<T> list, Action<BinaryWriter, T> write) => Value(key, ValueType.Array, writer =>
    {
        writer.Write((uint)type);
        writer.Write((ulong)list.Count);
        foreach (var each in list) write(writer, each);
    });

    private static void Text(BinaryWriter writer, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        writer.Write((ulong)bytes.Length);
        writer.Write(bytes);
    }

    private static long Aligned(long offset) => (offset + Alignment - 1) / Alignment * Alignment;

    private static void Pad(BinaryWriter writer)
    {
        writer.Flush();
        var at = writer.BaseStream.Position;
        writer.Write(new byte[Aligned(at) - at]);
    }
}
