using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Chat.Models.Checkpoints;

/// <summary>A weight of a model and where a checkpoint holds it; checked, but not read.</summary>
/// <param name="Name">The model's own name of it.</param>
/// <param name="Shape">The model's own shape of it.</param>
/// <param name="Entry">The stored tensor, which may hold others too.</param>
public sealed record StoredWeight(string Name, IReadOnlyList<long> Shape, TensorEntry Entry, StoredPart Place)
{
    /// <summary>Finds a weight by the names under which it may be stored, the first that is there; none is an error that names the first.</summary>
    /// <exception cref="CheckpointException"><c>missing_tensor</c>, <c>shape_mismatch</c> or <c>bad_dtype</c>.</exception>
    public static StoredWeight Find(Checkpoint checkpoint, string name, IReadOnlyList<long> shape, params ReadOnlySpan<StoredPart> places)
    {
        var place = places[0];
        foreach (var each in places)
            if (checkpoint.Find(each.Name) is not null)
            {
                place = each;
                break;
            }
        return new StoredWeight(name, shape, checkpoint.Require(place.Name, place.StoredShape(shape)), place);
    }

    /// <summary>The weight's numbers as float32, row by row whatever way they are stored.</summary>
    /// <exception cref="CheckpointException"><c>non_finite</c>.</exception>
    public float[] ReadFloats(Checkpoint checkpoint)
    {
        var size = TensorEntry.SizeOf(Entry.Dtype)!.Value;
        var count = Shape.Aggregate(1L, (product, dim) => product * dim);
        var floats = new float[count];
        if (!Place.Transposed)
        {
            var bytes = new byte[count * size];
            checkpoint.Read(Entry, bytes.Length * (long)Place.Part, bytes);
            ToFloats(Entry.Dtype, bytes, floats);
            return floats;
        }
        var (rows, columns, wide) = ((int)Shape[0], (int)Shape[1], (int)Entry.Shape[1]);
        var line = new byte[rows * size];
        var values = new float[rows];
        for (var column = 0; column < columns; column++)
        {
            checkpoint.Read(Entry, ((long)column * wide + (long)Place.Part * rows) * size, line);
            ToFloats(Entry.Dtype, line, values);
            for (var row = 0; row < rows; row++) floats[row * columns + column] = values[row];
        }
        return floats;
    }

    private static void ToFloats(string dtype, ReadOnlySpan<byte> bytes, Span<float> floats)
    {
        switch (dtype)
        {
            case "F32":
                bytes.CopyTo(MemoryMarshal.AsBytes(floats));
                break;
            case "F16":
                for (var i = 0; i < floats.Length; i++) floats[i] = (float)BinaryPrimitives.ReadHalfLittleEndian(bytes[(2 * i)..]);
                break;
            default:
                for (var i = 0; i < floats.Length; i++) floats[i] = BitConverter.Int32BitsToSingle(BinaryPrimitives.ReadUInt16LittleEndian(bytes[(2 * i)..]) << 16);
                break;
        }
    }
}
