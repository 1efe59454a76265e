namespace Chat.Models.Kernels;

/// <summary>
/// Memory for keys and values in pages of sixteen tokens. A page holds all layers and heads of its tokens and has a count of users: rows that share a
/// past share its pages, and copy one only to write into it (<see cref="PageList"/>). All memory is taken at construction. Not thread-safe,
/// but while no page changes hands any thread may read and write the numbers.
/// <para>
/// Layout of a layer's head in a page: keys [D 16], so that a register holds one dimension of many tokens and scores need no step across lanes; values
/// [16 D], D padded to eight.
/// </para>
/// </summary>
public sealed unsafe class KeyValuePages : IDisposable
{
    public const int PageTokens = 16;
    private readonly NativeBuffer memory;
    private readonly int[] users, free;
    private readonly int layers, heads, keySize, headSize;
    private int freeCount;

    public KeyValuePages(int layers, int heads, int headWidth, int pages)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pages, 1);
        (this.layers, this.heads, HeadWidth, ValueStride) = (layers, heads, headWidth, WeightMatrix.Padded(headWidth, 8));
        keySize = headWidth * PageTokens;
        headSize = keySize + ValueStride * PageTokens;
        memory = NativeBuffer.OfFloats(pages * PageSize);
        users = new int[pages];
        free = [.. Enumerable.Range(0, pages).Reverse()];
        freeCount = pages;
    }

    public int HeadWidth { get; }

    /// <summary>Numbers from one token's value to the next.</summary>
    public int ValueStride { get; }

    public int Pages => users.Length;
    public int FreePages => freeCount;

    private long PageSize => (long)layers * heads * headSize;

    /// <summary>[D 16]</summary>
    public float* Keys(int layer, int page, int head) => memory.Floats + page * PageSize + ((long)layer * heads + head) * headSize;

    /// <summary>[16 <see cref="ValueStride"/>]</summary>
    public float* Values(int layer, int page, int head) => Keys(layer, page, head) + keySize;

    /// <summary>A page of one user; what it holds is without meaning, but finite.</summary>
    /// <exception cref="InvalidOperationException">None is free.</exception>
    public int Take()
    {
        if (freeCount == 0) throw new InvalidOperationException($"All {Pages} pages of keys and values are in use.");
        var page = free[--freeCount];
        users[page] = 1;
        return page;
    }

    public void Share(int page) => users[page]++;

    public void Release(int page)
    {
        if (--users[page] == 0) free[freeCount++] = page;
    }

    public bool IsShared(int page) => users[page] > 1;

    public int Users(int page) => users[page];

    /// <summary>Takes a page that holds what another one does.</summary>
    public int Copy(int page)
    {
        var copy = Take();
        Buffer.MemoryCopy(memory.Floats + page * PageSize, memory.Floats + copy * PageSize, PageSize * sizeof(float), PageSize * sizeof(float));
        return copy;
    }

    /// <summary>Writes one token's keys and values, head after head as a projection gives them.</summary>
    /// <param name="slot">The token's place in the page.</param>
    public void Write(int layer, int page, int slot, float* keys, float* values)
    {
        for (var head = 0; head < heads; head++, keys += HeadWidth, values += HeadWidth)
        {
            var target = Keys(layer, page, head) + slot;
            for (var d = 0; d < HeadWidth; d++) target[d * PageTokens] = keys[d];
            new ReadOnlySpan<float>(values, HeadWidth).CopyTo(new(Values(layer, page, head) + slot * ValueStride, HeadWidth));
        }
    }

    public void Dispose() => memory.Dispose();
}
