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
        const int rows = 70, columns = 90, tokens = 13;
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

    [Theory]
    [InlineData(WeightFormat.Int8, 16, 32), InlineData(WeightFormat.Int8, 50, 70), InlineData(WeightFormat.Int4, 17, 33), InlineData(WeightFormat.Int4, 64, 128)]
    public void Codes_stand_for_the_nearest_numbers_their_scales_allow(WeightFormat format, int rows, int columns)
    {
        var weights = Random(rows * columns, 3);
        weights.AsSpan(0, Math.Min(32, columns)).Clear();                // a whole group of zeros
        using var matrix = Packed(format, rows, columns, weights);
        var kept = Kept(matrix);
        for (var row = 0; row < rows; row++)
            for (var first = 0; first < columns; first += 32)
            {
                var group = weights.AsSpan(row * columns + first, Math.Min(32, columns - first));
                var greatest = System.Numerics.Tensors.TensorPrimitives.MaxMagnitude(group) is var magnitude ? Math.Abs(magnitude) : 0;
                for (var k = 0; k < group.Length; k++)
                    Assert.InRange(Math.Abs(kept[row * columns + first + k] - group[k]), 0, format == WeightFormat.Int8 ? greatest / 127 * 0.51f : greatest / 6);
            }
    }

    [Theory]
    [InlineData(WeightFormat.Int8, 50, 70), InlineData(WeightFormat.Int8, 16, 32), InlineData(WeightFormat.Int4, 50, 70), InlineData(WeightFormat.Int4, 128, 256)]
    public void Integer_products_are_the_sums_of_what_the_codes_stand_for(WeightFormat format, int rows, int columns)
    {
        using var matrix = Packed(format, rows, columns, Random(rows * columns, 1));
        var kept = Kept(matrix);
        foreach (var tokens in new[] { 1, 2, 3, 4, 5, 7, 8, 9 })
        {
            var x = Random(tokens * columns, tokens);
            using var batch = Batch(matrix, x, tokens);
            var y = Product(matrix, batch);
            for (var t = 0; t < tokens; t++)
                for (var row = 0; row < rows; row++)
                {
                    var expected = 0.0;
                    for (var k = 0; k < columns; k++) expected += (double)kept[row * columns + k] * batch.Codes(t)[k] * batch.Scales(t)[k / 32];
                    Assert.Equal(expected, y[t * matrix.Panels * 16 + row], 2e-5);
                }
        }
    }

    [Theory]
    [InlineData(WeightFormat.Int8), InlineData(WeightFormat.Int4)]
    public void Every_instruction_path_of_this_machine_and_every_batch_size_gives_the_same_bits(WeightFormat format)
    {
        const int rows = 70, columns = 200, tokens = 13;
        float[] weights = Random(rows * columns, 1), x = Random(tokens * columns, 2);
        using var portable = Packed(format, rows, columns, weights, InstructionPath.Portable);
        var whole = Product(portable, x, tokens);
        Assert.Contains(InstructionPath.Portable, InstructionPaths.Supported);
        foreach (var path in InstructionPaths.Supported)
        {
            using var matrix = Packed(format, rows, columns, weights, path);
            Assert.Equal(whole, Product(matrix, x, tokens));
            for (var t = 0; t < tokens; t++) Assert.Equal(whole[(t * 80)..((t + 1) * 80)], Product(matrix, x[(t * columns)..((t + 1) * columns)], 1));
        }
    }

    [Fact]
    public void Sealing_rounds_to_the_nearest_code_of_each_groups_own_scale()
    {
        var x = Random(96, 4);
        x.AsSpan(32, 32).Clear();
        x[70] = 1e-38f;                                                  // beside numbers near 1, nothing
        using var batch = new VectorBatch(1, 96, sealable: true);
        x.CopyTo(new Span<float>(batch.Row(0), 96));
        batch.Seal(0);
        for (var group = 0; group < 3; group++)
        {
            var (scale, sum) = (x.Skip(group * 32).Take(32).Max(Math.Abs) / 127, 0);
            Assert.Equal(scale, batch.Scales(0)[group]);
            for (var i = group * 32; i < group * 32 + 32; i++)
            {
                Assert.Equal(scale == 0 ? 0 : x[i] / scale, batch.Codes(0)[i], 0.5001);
                sum += batch.Codes(0)[i];
            }
            Assert.Equal(sum, batch.Sums(0)[group]);
        }
    }

    private static WeightMatrix Packed(WeightFormat format, int rows, int columns, float[] weights, InstructionPath? path = null) => format == WeightFormat.Int8
        ? new IntegerMatrix<Int8Codes>(rows, columns, Reader(weights, columns), path) : new IntegerMatrix<Int4Codes>(rows, columns, Reader(weights, columns), path);

    /// <summary>The weights that a matrix really has: its products with the unit vectors.</summary>
    private static float[] Kept(WeightMatrix matrix)
    {
        var units = new float[matrix.Columns * matrix.Columns];
        for (var k = 0; k < matrix.Columns; k++) units[k * matrix.Columns + k] = 1;
        var products = Product(matrix, units, matrix.Columns);
        var kept = new float[matrix.Rows * matrix.Columns];
        for (var row = 0; row < matrix.Rows; row++)
            for (var k = 0; k < matrix.Columns; k++) kept[row * matrix.Columns + k] = products[k * matrix.Panels * 16 + row];
        return kept;
    }

    private static float Rounded(float value) => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) & 0xffff_0000);

    private static float[] Random(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() * 2 - 1)];
    }

    private static RowReader Reader(float[] weights, int columns) => (first, count, target) => weights.AsSpan(first * columns, count * columns).CopyTo(target);

    private static VectorBatch Batch(WeightMatrix matrix, float[] x, int tokens)
    {
        var batch = new VectorBatch(tokens, matrix.Columns, matrix.IsInteger);
        for (var t = 0; t < tokens; t++)
        {
            x.AsSpan(t * matrix.Columns, matrix.Columns).CopyTo(new(batch.Row(t), matrix.Columns));
            batch.Seal(t);
        }
        return batch;
    }

    private static float[] Product(WeightMatrix matrix, float[] x, int tokens)
    {
        using var batch = Batch(matrix, x, tokens);
        return Product(matrix, batch);
    }

    private static float[] Product(WeightMatrix matrix, VectorBatch batch)
    {
        var stride = matrix.Panels * WeightMatrix.PanelRows;
        using var y = NativeBuffer.OfFloats(batch.Tokens * stride);
        for (var panel = 0; panel < matrix.Panels; panel++) matrix.Multiply(panel, batch, batch.Tokens, y.Floats, stride);
        return new Span<float>(y.Floats, batch.Tokens * stride).ToArray();
    }
}
