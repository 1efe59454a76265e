namespace Chat.Models.Kernels;

/// <summary>Rows that are looked up, not multiplied: float32, or the upper halves of the numbers where they hold all of them (bfloat16). Immutable.</summary>
public sealed unsafe class EmbeddingTable : IDisposable
{
    private readonly NativeBuffer memory;
    private readonly bool halves;
    private readonly int width;

    public EmbeddingTable(int rows, int width, RowReader read, bool halves)
    {
        (Rows, this.width, this.halves) = (rows, width, halves);
        memory = new((long)rows * width * (halves ? 2 : 4));
        var row = new float[width];
        for (var r = 0; r < rows; r++)
        {
            read(r, 1, row);
            if (halves) for (var i = 0; i < width; i++) ((ushort*)memory.Pointer)[(long)r * width + i] = (ushort)(BitConverter.SingleToUInt32Bits(row[i]) >> 16);
            else row.CopyTo(new Span<float>(memory.Floats + (long)r * width, width));
        }
    }

    public int Rows { get; }

    public void Read(int row, float* target)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)row, (uint)Rows);
        if (!halves)
        {
            new ReadOnlySpan<float>(memory.Floats + (long)row * width, width).CopyTo(new(target, width));
            return;
        }
        var source = (ushort*)memory.Pointer + (long)row * width;
        for (var i = 0; i < width; i++) target[i] = BitConverter.UInt32BitsToSingle((uint)source[i] << 16);
    }

    /// <summary>Adds a row to what stands in the target.</summary>
    public void AddTo(int row, float* target)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)row, (uint)Rows);
        for (var i = 0; i < width; i++)
            target[i] += halves ? BitConverter.UInt32BitsToSingle((uint)((ushort*)memory.Pointer)[(long)row * width + i] << 16) : memory.Floats[(long)row * width + i];
    }

    public void Dispose() => memory.Dispose();
}
