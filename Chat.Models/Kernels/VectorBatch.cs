namespace Chat.Models.Kernels;

/// <summary>What a matrix is multiplied with: a batch of vectors, each padded with zeros to a whole number of <see cref="WeightMatrix.ColumnStep"/>.</summary>
public sealed unsafe class VectorBatch : IDisposable
{
    private readonly NativeBuffer values;

    public VectorBatch(int tokens, int columns)
    {
        (Tokens, Stride) = (tokens, WeightMatrix.Padded(columns, WeightMatrix.ColumnStep));
        values = NativeBuffer.OfFloats((long)tokens * Stride);
    }

    public int Tokens { get; }

    /// <summary>Values from one token to the next.</summary>
    public int Stride { get; }

    /// <summary>A token's values; the padding behind them stays zero.</summary>
    public float* Row(int token) => values.Floats + (long)token * Stride;

    public void Dispose() => values.Dispose();
}
