namespace Chat.Models.Kernels;

/// <summary>Gives rows of a matrix as plain numbers, from wherever they are stored.</summary>
/// <param name="target">[count × columns], row after row.</param>
public delegate void RowReader(int first, int count, Span<float> target);

/// <summary>
/// A matrix [rows columns] packed for y = W·x. Panels of 16 rows, columns side by side: a vector register holds a column of a panel, so sums need no
/// step across lanes. Each of a token's results is summed in the same order whatever else is in the batch: batching changes no bit of it.
/// Immutable after construction; any thread may multiply.
/// </summary>
public abstract class WeightMatrix : IDisposable
{
    public const int PanelRows = 16;
    public const int ColumnStep = 32;

    protected WeightMatrix(int rows, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        (Rows, Columns, PaddedColumns, Panels) = (rows, columns, Padded(columns, ColumnStep), Padded(rows, PanelRows) / PanelRows);
    }

    public int Rows { get; }
    public int Columns { get; }
    public int PaddedColumns { get; }
    public int Panels { get; }

    /// <summary>Bytes a product reads.</summary>
    public abstract long Bytes { get; }

    /// <summary>Whether it reads sealed activations (<see cref="VectorBatch.Seal"/>) rather than their values.</summary>
    public virtual bool IsInteger => false;

    /// <summary>The next multiple of <paramref name="step"/>.</summary>
    public static int Padded(int size, int step) => (size + step - 1) / step * step;

    /// <summary>One panel's 16 results for each of the first <paramref name="tokens"/> activations, written to <c>y[token · stride + panel · 16 …]</c>; rows beyond the last are zero.</summary>
    public abstract unsafe void Multiply(int panel, VectorBatch x, int tokens, float* y, long stride);

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected abstract void Dispose(bool disposing);
}
