using Chat.Models.Checkpoints;
using Chat.Models.Kernels;

namespace Chat.Models.Engine;

/// <summary>Packs a checkpoint's weights for the kernels. What it gives belongs to it, and goes with it.</summary>
internal sealed class CpuWeights : IDisposable
{
    private readonly Checkpoint checkpoint;
    private readonly Dictionary<string, StoredWeight> stored;
    private readonly WeightFormat format;
    private readonly List<IDisposable> given = [];

    public CpuWeights(Checkpoint checkpoint, IEnumerable<StoredWeight> stored, WeightFormat format) =>
        (this.checkpoint, this.stored, this.format) = (checkpoint, stored.ToDictionary(weight => weight.Name), format);

    /// <summary>Whether matrices read sealed activations.</summary>
    public bool IsInteger => format != WeightFormat.Exact;

    /// <summary>The named matrices below each other, each padded with zero rows to whole panels.</summary>
    public WeightMatrix Matrix(params ReadOnlySpan<string> names) => Matrix(format, names);

    /// <summary>Named layers below each other, as <see cref="Matrix(ReadOnlySpan{string})"/>, with their biases.</summary>
    public unsafe CpuLinear Linear(bool biased, params string[] names)
    {
        var matrix = Matrix([.. names.Select(name => $"{name}.weight")]);
        if (!biased) return new(matrix);
        var bias = Keep(NativeBuffer.OfFloats(matrix.Panels * WeightMatrix.PanelRows));
        var at = 0;
        foreach (var name in names)
        {
            var values = Floats($"{name}.bias");
            values.CopyTo(new Span<float>(bias.Floats + at, values.Length));
            at += WeightMatrix.Padded(values.Length, WeightMatrix.PanelRows);
        }
        return new(matrix, bias);
    }

    /// <summary>The matrix whose products are the scores of words.</summary>
    public WeightMatrix Head(string name) => Matrix(format == WeightFormat.Int4 ? WeightFormat.Int8 : format, name);

    private WeightMatrix Matrix(WeightFormat format, params ReadOnlySpan<string> names)
    {
        var parts = new (float[] Values, int Rows, int From)[names.Length];
        int total = 0, columns = 0;
        var halves = true;
        for (var i = 0; i < parts.Length; i++)
        {
            var weight = stored[names[i]];
            parts[i] = (weight.ReadFloats(checkpoint), (int)weight.Shape[0], total);
            total += WeightMatrix.Padded(parts[i].Rows, WeightMatrix.PanelRows);
            (columns, halves) = ((int)weight.Shape[1], halves && IsHalf(weight));
        }
        return Keep(Pack(format, total, columns, halves, Read));

        // Panels do not cross parts.
        void Read(int first, int count, Span<float> target)
        {
            var (values, rows, from) = parts.Last(part => part.From <= first);
            var real = Math.Clamp(rows - (first - from), 0, count) * columns;
            values.AsSpan((first - from) * columns, real).CopyTo(target);
            target[real..].Clear();
        }
    }

    /// <summary>A matrix whose rows are looked up.</summary>
    public EmbeddingTable Table(string name)
    {
        var (weight, values) = (stored[name], Floats(name));
        var columns = (int)weight.Shape[1];
        return Keep(new EmbeddingTable((int)weight.Shape[0], columns, (first, count, target) => values.AsSpan(first * columns, count * columns).CopyTo(target), IsHalf(weight)));
    }

    /// <summary>A vector, padded with zeros.</summary>
    public unsafe NativeBuffer Vector(string name, float factor = 1)
    {
        var values = Floats(name);
        var vector = Keep(NativeBuffer.OfFloats(WeightMatrix.Padded(values.Length, WeightMatrix.PanelRows)));
        for (var i = 0; i < values.Length; i++) vector.Floats[i] = values[i] * factor;
        return vector;
    }

    /// <summary>A weight as it is, row by row.</summary>
    public float[] Floats(string name) => stored[name].ReadFloats(checkpoint);

    /// <summary>Makes something else go with the weights.</summary>
    public T Keep<T>(T resource) where T : IDisposable
    {
        given.Add(resource);
        return resource;
    }

    public void Dispose() => given.ForEach(each => each.Dispose());

    private static bool IsHalf(StoredWeight weight) => weight.Entry.Dtype == "BF16";

    private static WeightMatrix Pack(WeightFormat format, int rows, int columns, bool halves, RowReader read) => format switch
    {
        WeightFormat.Int8 => new IntegerMatrix<Int8Codes>(rows, columns, read),
        WeightFormat.Int4 => new IntegerMatrix<Int4Codes>(rows, columns, read),
        _ when halves => new FloatMatrix<BFloat16Pair>(rows, columns, read),
        _ => new FloatMatrix<Float32Pair>(rows, columns, read),
    };
}
