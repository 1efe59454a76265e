namespace Chat.Models.Kernels;

/// <summary>
/// Memory for keys and values in pages of sixteen tokens. A page holds all layers and heads of its tokens and has a count of users: rows that share a
/// past share its pages, and copy one only to write into it (<see cref="PageList"/>). A kept page outlives its users until memory is short, the one without
/// users for longest first (<see cref="PrefixCache"/>). A pinned page has a user that stays, and counts against a budget of its own. All memory is taken at construction. Not thread-safe,
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
    private readonly int[] users, pins, free;
    private readonly bool[] isKept;
    private readonly int[] older, newer;                // a ring of idle pages: kept, and without users; the last place is its head
    private readonly int layers, heads, keySize, headSize;
    private int freeCount, idleCount;

    /// <param name="pages">For all that comes and goes.</param>
    /// <param name="pinPages">Beside them, for what is pinned.</param>
    public KeyValuePages(int layers, int heads, int headWidth, int pages, int pinPages = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pages, 1);
        PinPages = pinPages;
        pages += pinPages;
        (this.layers, this.heads, HeadWidth, ValueStride) = (layers, heads, headWidth, WeightMatrix.Padded(headWidth, 8));
        keySize = headWidth * PageTokens;
        headSize = keySize + ValueStride * PageTokens;
        memory = NativeBuffer.OfFloats(pages * PageSize);
        (users, pins, isKept, older, newer) = (new int[pages], new int[pages], new bool[pages], new int[pages + 1], new int[pages + 1]);
        (older[pages], newer[pages]) = (pages, pages);
        free = [.. Enumerable.Range(0, pages).Reverse()];
        freeCount = pages;
    }

    public int HeadWidth { get; }

    /// <summary>Numbers from one token's value to the next.</summary>
    public int ValueStride { get; }

    public int Pages => users.Length;

    /// <summary>Pages that may be pinned, and those that are.</summary>
    public int PinPages { get; }
    public int PinnedPages { get; private set; }

    /// <summary>
    /// Pages without users that may be taken, kept ones counted; what is held back for pins is not. Below zero where an <see cref="Unpin"/> left its pages to users who
    /// have all others already.
    /// </summary>
    public int FreePages => freeCount + idleCount - (PinPages - PinnedPages);

    /// <summary>Told of an idle page whose memory is needed; must <see cref="Forget"/> it.</summary>
    internal Action<int> Evict { private get; set; } = page => throw new InvalidOperationException($"Nobody forgets page {page}.");

    /// <summary>Bytes of one page.</summary>
    public static long BytesOf(int layers, int heads, int headWidth) => (long)layers * heads * (headWidth + WeightMatrix.Padded(headWidth, 8)) * PageTokens * sizeof(float);

    public long PageBytes => PageSize * sizeof(float);

    private long PageSize => (long)layers * heads * headSize;

    /// <summary>[D 16]</summary>
    public float* Keys(int layer, int page, int head) => memory.Floats + page * PageSize + ((long)layer * heads + head) * headSize;

    /// <summary>[16 <see cref="ValueStride"/>]</summary>
    public float* Values(int layer, int page, int head) => Keys(layer, page, head) + keySize;

    /// <summary>A page of one user; what it holds is without meaning, but finite.</summary>
    /// <exception cref="InvalidOperationException">None is free.</exception>
    public int Take()
    {
        if (freeCount == 0)
        {
            if (idleCount == 0) throw new InvalidOperationException($"All {Pages} pages of keys and values are in use.");
            Evict(newer[Pages]);
        }
        var page = free[--freeCount];
        users[page] = 1;
        return page;
    }

    public void Share(int page)
    {
        if (users[page]++ == 0) Unlink(page);
    }

    public void Release(int page)
    {
        if (--users[page] > 0) return;
        if (!isKept[page])
        {
            free[freeCount++] = page;
            return;
        }
        (older[page], newer[page]) = (older[Pages], Pages);
        newer[older[page]] = older[Pages] = page;
        idleCount++;
    }

    /// <summary>Becomes a user of a page on the pins' account. The caller minds <see cref="PinPages"/>.</summary>
    public void Pin(int page)
    {
        Share(page);
        if (pins[page]++ == 0) PinnedPages++;
    }

    /// <summary>Ends one <see cref="Pin"/>.</summary>
    public void Unpin(int page)
    {
        if (--pins[page] == 0) PinnedPages--;
        Release(page);
    }

    public bool IsPinned(int page) => pins[page] > 0;

    /// <summary>Lets a page in use outlive its users.</summary>
    public void Keep(int page) => isKept[page] = true;

    /// <summary>Ends <see cref="Keep"/>: the page is free once it has no user.</summary>
    public void Forget(int page)
    {
        isKept[page] = false;
        if (users[page] > 0) return;
        Unlink(page);
        free[freeCount++] = page;
    }

    /// <summary>Whether others count on what the page holds.</summary>
    public bool IsShared(int page) => users[page] > 1 || isKept[page];

    public int Users(int page) => users[page];

    /// <summary>Takes a page that holds what another one in use does.</summary>
    public int Copy(int page)
    {
        var copy = Take();
        Buffer.MemoryCopy(memory.Floats + page * PageSize, memory.Floats + copy * PageSize, PageBytes, PageBytes);
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

    private void Unlink(int page)
    {
        (newer[older[page]], older[newer[page]]) = (newer[page], older[page]);
        idleCount--;
    }
}
