using System.Numerics.Tensors;
using BenchmarkDotNet.Attributes;
using Chat.Models.Kernels;

namespace Chat.KernelBenchmarks;

/// <summary>A matrix [1,536 × 256] of packed weights times a batch of vectors, one thread, the matrix in the cache; beside it the obvious form in float32, a dot product a row.</summary>
[MemoryDiagnoser]
public unsafe class MatrixProduct
{
    private const int Rows = 1536, Columns = 256;
    private readonly float[] plain = [.. Enumerable.Range(0, Rows * Columns).Select(i => i % 31 - 15f)];
    private WeightMatrix matrix = null!;
    private VectorBatch x = null!;
    private NativeBuffer y = null!;
    private int stride;

    [Params("bfloat16", "int8", "int4")]
    public string Weights { get; set; } = "";

    [Params(1, 8, 32)]
    public int Batch { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        RowReader read = (first, count, target) => plain.AsSpan(first * Columns, count * Columns).CopyTo(target);
        matrix = Weights switch
        {
            "bfloat16" => new FloatMatrix<BFloat16Pair>(Rows, Columns, read),
            "int8" => new IntegerMatrix<Int8Codes>(Rows, Columns, read),
            _ => new IntegerMatrix<Int4Codes>(Rows, Columns, read),
        };
        x = new(Batch, Columns, sealable: true);
        for (var t = 0; t < Batch; t++)
        {
            for (var i = 0; i < Columns; i++) x.Row(t)[i] = MathF.Cos(t * Columns + i);
            x.Seal(t);
        }
        stride = matrix.Panels * WeightMatrix.PanelRows;
        y = NativeBuffer.OfFloats((long)Batch * stride);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        matrix.Dispose();
        x.Dispose();
        y.Dispose();
    }

    [Benchmark]
    public void Packed()
    {
        for (var panel = 0; panel < matrix.Panels; panel++) matrix.Multiply(panel, x, Batch, y.Floats, stride);
    }

    [Benchmark(Baseline = true)]
    public void Obvious()
    {
        for (var t = 0; t < Batch; t++)
        {
            var vector = new ReadOnlySpan<float>(x.Row(t), Columns);
            for (var row = 0; row < Rows; row++) y.Floats[t * stride + row] = TensorPrimitives.Dot(vector, plain.AsSpan(row * Columns, Columns));
        }
    }
}
