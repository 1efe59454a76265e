using System.Text;

namespace Chat.Tests.Gguf;

/// <summary>Reads a GGUF file back, from the format's own description: keys, and tensors as float32 with shapes outermost first.</summary>
internal sealed class GgufReader
{
    public Dictionary<string, object> Keys { get; } = [];
    public Dictionary<string, (long[] Shape, int Type, float[] Numbers)> Tensors { get; } = [];

    public GgufReader(string path)
    {
        using var file = new BinaryReader(File.OpenRead(path));
        Assert.Equal("GGUF", Encoding.ASCII.GetString(file.ReadBytes(4)));
        Assert.Equal(3u, file.ReadUInt32());
        var (tensors, keys) = (file.ReadUInt64(), file.ReadUInt64());
        for (var i = 0ul; i < keys; i++) Keys.Add(Text(file), Value(file, file.ReadUInt32()));
        var listed = new List<(string Name, long[] Shape, int Type, ulong Offset)>();
        for (var i = 0ul; i < tensors; i++)
        {
            var name = Text(file);
            long[] shape = [.. Enumerable.Range(0, (int)file.ReadUInt32()).Select(_ => (long)file.ReadUInt64())];
            listed.Add((name, [.. shape.Reverse()], (int)file.ReadUInt32(), file.ReadUInt64()));
        }
        var start = (file.BaseStream.Position + 31) / 32 * 32;
        foreach (var (name, shape, type, offset) in listed)
        {
            Assert.Equal(0ul, offset % 32);
            file.BaseStream.Position = start + (long)offset;
            Tensors.Add(name, (shape, type, Numbers(file, type, (int)shape.Aggregate(1L, (product, dim) => product * dim))));
        }
        Assert.InRange(file.BaseStream.Length - file.BaseStream.Position, 0, 31);
    }

    private static object Value(BinaryReader file, uint type) => type switch
    {
        4 => file.ReadUInt32(),
        5 => file.ReadInt32(),
        6 => file.ReadSingle(),
        7 => file.ReadBoolean(),
        8 => Text(file),
        9 => file.ReadUInt32() is var kind && (int)file.ReadUInt64() is var count ? Enumerable.Range(0, count).Select(_ => Value(file, kind)).ToArray() : throw new InvalidDataException(),
        _ => throw new InvalidDataException($"Value of type {type}."),
    };

    private static float[] Numbers(BinaryReader file, int type, int count)
    {
        if (type == 0) return [.. Enumerable.Range(0, count).Select(_ => file.ReadSingle())];
        if (type == 1) return [.. Enumerable.Range(0, count).Select(_ => (float)file.ReadHalf())];
        var numbers = new float[count];
        if (type == 2)
        {
            for (var at = 0; at < count; at += 32)
            {
                var scale = (float)file.ReadHalf();
                for (var i = 0; i < 16; i++)
                {
                    var both = file.ReadByte();
                    (numbers[at + i], numbers[at + i + 16]) = (((both & 15) - 8) * scale, ((both >> 4) - 8) * scale);
                }
            }
            return numbers;
        }
        Assert.Equal(8, type);
        for (var at = 0; at < count; at += 32)
        {
            var scale = (float)file.ReadHalf();
            for (var i = 0; i < 32; i++) numbers[at + i] = file.ReadSByte() * scale;
        }
        return numbers;
    }

    private static string Text(BinaryReader file) => Encoding.UTF8.GetString(file.ReadBytes((int)file.ReadUInt64()));
}
