using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace Chat.MiniLmCheck;

/// <summary>
/// The weights in an ONNX file of a BERT-shaped encoder, by their Hugging Face names. Only what such a file has is read: float32 initialisers as raw data. A linear
/// layer's matrix has no name of its own there and is stored [in, out]; it is the one whose product is added to the bias that has a name.
/// </summary>
internal static class OnnxWeights
{
    // Field numbers of onnx.proto.
    private const int ModelGraph = 7, GraphNode = 1, GraphInitialiser = 5, NodeInput = 1, NodeOutput = 2, NodeKind = 4, TensorDims = 1, TensorType = 2, TensorName = 8, TensorRaw = 9;
    private const int Float32 = 1;

    public sealed record Weight(long[] Shape, float[] Values);

    public static Dictionary<string, Weight> Read(ReadOnlyMemory<byte> model)
    {
        var graph = Fields(model).Single(field => field.Number == ModelGraph).Bytes;
        Dictionary<string, Weight> stored = [];
        List<(string Kind, string[] Inputs, string Output)> nodes = [];
        foreach (var (number, bytes, _) in Fields(graph))
        {
            if (number == GraphInitialiser && Tensor(bytes) is var (name, weight)) stored.Add(name, weight);
            if (number == GraphNode) nodes.Add(Node(bytes));
        }
        var products = nodes.Where(node => node.Kind == "MatMul" && stored.ContainsKey(node.Inputs[1])).ToDictionary(node => node.Output, node => node.Inputs[1]);
        Dictionary<string, Weight> named = stored.Where(weight => weight.Key.Contains('.', StringComparison.Ordinal)).ToDictionary();
        foreach (var (_, inputs, _) in nodes.Where(node => node.Kind == "Add"))
            for (var i = 0; i < 2; i++)
                if (products.TryGetValue(inputs[i], out var matrix) && inputs[1 - i].EndsWith(".bias", StringComparison.Ordinal))
                    named.Add(inputs[1 - i][..^".bias".Length] + ".weight", Transposed(stored[matrix]));
        return named;
    }

    private static Weight Transposed(Weight weight)
    {
        var (rows, columns) = ((int)weight.Shape[0], (int)weight.Shape[1]);
        var values = new float[weight.Values.Length];
        for (var row = 0; row < rows; row++)
            for (var column = 0; column < columns; column++) values[column * rows + row] = weight.Values[row * columns + column];
        return new([columns, rows], values);
    }

    private static (string Kind, string[] Inputs, string Output) Node(ReadOnlyMemory<byte> node)
    {
        var fields = Fields(node).ToArray();
        return (Text(NodeKind).Single(), Text(NodeInput), Text(NodeOutput)[0]);

        string[] Text(int number) => [.. fields.Where(field => field.Number == number).Select(field => Encoding.UTF8.GetString(field.Bytes.Span))];
    }

    /// <summary>A tensor of float32; none of another type.</summary>
    private static (string Name, Weight Weight)? Tensor(ReadOnlyMemory<byte> tensor)
    {
        var fields = Fields(tensor).ToArray();
        if (fields.Single(field => field.Number == TensorType).Value != Float32) return null;
        long[] shape = [.. fields.Where(field => field.Number == TensorDims).Select(field => (long)field.Value)];
        var values = MemoryMarshal.Cast<byte, float>(fields.Single(field => field.Number == TensorRaw).Bytes.Span).ToArray();
        return (Encoding.UTF8.GetString(fields.Single(field => field.Number == TensorName).Bytes.Span), new(shape, values));
    }

    /// <summary>The fields of a message: a number's value, or a part's bytes.</summary>
    private static IEnumerable<(int Number, ReadOnlyMemory<byte> Bytes, ulong Value)> Fields(ReadOnlyMemory<byte> message)
    {
        while (!message.IsEmpty)
        {
            var tag = Varint(ref message);
            var number = (int)(tag >> 3);
            switch (tag & 7)
            {
                case 0:
                    yield return (number, default, Varint(ref message));
                    break;
                case 2:
                    var length = (int)Varint(ref message);
                    yield return (number, message[..length], 0);
                    message = message[length..];
                    break;
                case 5:
                    yield return (number, message[..4], BinaryPrimitives.ReadUInt32LittleEndian(message.Span));
                    message = message[4..];
                    break;
                case var other:
                    throw new InvalidDataException($"Field {number} has the wire type {other}, which no field of these messages has.");
            }
        }
    }

    private static ulong Varint(ref ReadOnlyMemory<byte> message)
    {
        ulong value = 0;
        for (var shift = 0; ; shift += 7)
        {
            var next = message.Span[0];
            message = message[1..];
            value |= (ulong)(next & 127) << shift;
            if (next < 128) return value;
        }
    }
}
