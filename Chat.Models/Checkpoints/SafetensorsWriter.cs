using System.Buffers;
using System.Buffers.Binary;
using System.Text.Json;
using static TorchSharp.torch;

namespace Chat.Models.Checkpoints;

/// <summary>A tensor that is to be written: what the header says of it, and how its numbers come, little-endian and row by row.</summary>
public sealed record UnwrittenTensor(string Name, string Dtype, IReadOnlyList<long> Shape, Action<Stream> Write);

/// <summary>Writes safetensors files that others can read: F32, F16 and BF16, the header padded with blanks to a multiple of 8.</summary>
public static class SafetensorsWriter
{
    /// <summary>Writes the tensors in the given order. The file appears under its name only when it is whole.</summary>
    /// <exception cref="ArgumentException">A name twice, or a dtype that is no weight's.</exception>
    public static void Write(string path, IEnumerable<(string Name, Tensor Tensor)> tensors, IReadOnlyDictionary<string, string>? metadata = null) =>
        Write(path, [.. tensors.Select(pair => new UnwrittenTensor(pair.Name, Dtype(pair.Tensor.dtype), pair.Tensor.shape, file =>
        {
            using var scope = NewDisposeScope();
            file.Write(pair.Tensor.detach().cpu().contiguous().bytes);
        }))], metadata);

    /// <inheritdoc cref="Write(string, IEnumerable{ValueTuple{string, Tensor}}, IReadOnlyDictionary{string, string})"/>
    /// <remarks>Numbers are asked for one tensor after the other.</remarks>
    public static void Write(string path, IReadOnlyList<UnwrittenTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        var header = Header(tensors, metadata);
        WholeFile.Write(path, part =>
        {
            using var file = File.Create(part);
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
            file.Write(length);
            file.Write(header);
            foreach (var tensor in tensors) tensor.Write(file);
            file.Flush(flushToDisk: true);
        });
    }

    /// <summary>The format's name of a type.</summary>
    public static string Dtype(ScalarType type) => type switch
    {
        ScalarType.Float32 => "F32",
        ScalarType.Float16 => "F16",
        ScalarType.BFloat16 => "BF16",
        _ => throw new ArgumentException($"Weights are Float32, Float16 or BFloat16, not {type}."),
    };

    private static byte[] Header(IReadOnlyList<UnwrittenTensor> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is not null)
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal)) json.WriteString(key, value);
                json.WriteEndObject();
            }
            long at = 0;
            var names = new HashSet<string>();
            foreach (var tensor in tensors)
            {
                if (!names.Add(tensor.Name)) throw new ArgumentException($"Two tensors are named '{tensor.Name}'.");
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.Dtype);
                json.WriteStartArray("shape");
                foreach (var dim in tensor.Shape) json.WriteNumberValue(dim);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(at);
                json.WriteNumberValue(at += tensor.Shape.Aggregate((long)TensorEntry.SizeOf(tensor.Dtype)!.Value, (product, dim) => product * dim));
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        var padded = new byte[(buffer.WrittenCount + 7) / 8 * 8];
        padded.AsSpan().Fill((byte)' ');
        buffer.WrittenSpan.CopyTo(padded);
        return padded;
    }
}
