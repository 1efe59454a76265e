using Chat.Models.Kernels;

namespace Chat.Tests.Kernels;

/// <summary>Packed products against sums in double precision, over odd shapes and all batch sizes that have kernels of their own.</summary>
public sealed unsafe class MatrixTests
{
    [Theory]
    [InlineData(16, 32), InlineData(17, 33), InlineData(1, 1), InlineData(50, 70), InlineData(128, 100)]
    public void Float_products_are_the_sums(int rows, int columns)
    {
        var weights = Random(rows * columns, 1);
        using var matrix = new FloatMatrix<Float32Pair>(rows, columns, Reader(weights, columns));
        foreach (var tokens in new[] { 1, 2, 3, 4, 5, 8, 9 })
        {
            var x = Random(tokens * columns, tokens);
            var y = Product(matrix, x, tokens);
            for (var t = 0; t < tokens; t++)
                for (var row = 0; row < rows; row++)
                {
                    var expected = 0.0;
                    for (var k = 0; k < columns; k++) expected += (double)weights[row * columns + k] * x[t * columns + k];
                    Assert.Equal(expected, y[t * matrix.Panels * 16 + row], 1e-5);
                }
        }
    }

    [Fact]
    public void Both_formats_all_widths_and_all_batch_sizes_give_the_same_bits()
    {
        const int rows = 70, columns = 90, tokens = 11;
        float[] weights = [.. Random(rows * columns, 1).Select(Rounded)], x = Random(tokens * columns, 2);
        var read = Reader(weights, columns);
        using var expected = new FloatMatrix<Float32Pair>(rows, columns, read, wide: false);
        WeightMatrix[] others = [new FloatMatrix<Float32Pair>(rows, columns, read, wide: true), new FloatMatrix<BFloat16Pair>(rows, columns, read, wide: false), new FloatMatrix<BFloat16Pair>(rows, columns, read, wide: true)];

        var whole = Product(expected, x, tokens);
        foreach (var matrix in others)
        {
            Assert.Equal(whole, Product(matrix, x, tokens));
            for (var t = 0; t < tokens; t++) Assert.Equal(whole[(t * 80)..((t + 1) * 80)], Product(matrix, x[(t * columns)..((t + 1) * columns)], 1));
            matrix.Dispose();
        }
    }

    private static float Rounded(float value) => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) & 0xffff_0000);

    private static float[] Random(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() * 2 - 1)];
    }

    private static RowReader Reader(float[] weights, int columns) => (first, count, target) => weights.AsSpan(first * columns, count * columns).CopyTo(target);

    private static float[] Product(WeightMatrix matrix, float[] x, int tokens)
    {
        using var activations = new VectorBatch(tokens, matrix.Columns);
        for (var t = 0; t < tokens; t++) x.AsSpan(t * matrix.Columns, matrix.Columns).CopyTo(new(activations.Row(t), matrix.Columns));
        var stride = matrix.Panels * WeightMatrix.PanelRows;
        using var y = NativeBuffer.OfFloats(tokens * stride);
        for (var panel = 0; panel < matrix.Panels; panel++) matrix.Multiply(panel, activations, tokens, y.Floats, stride);
        return new Span<float>(y.Floats, tokens * stride).ToArray();
    }
}
