namespace Chat.Models.Kernels;

/// <summary>One past: the pages of its tokens in order, and how many tokens there are. Belongs to one <see cref="KeyValuePages"/>. Not thread-safe.</summary>
public sealed class PageList(KeyValuePages store, int maxTokens)
{
    private readonly int[] pages = new int[PagesFor(maxTokens)];

    public int Tokens { get; private set; }

    public int MaxTokens => maxTokens;

    /// <summary>The pages in use, those of reserved tokens counted.</summary>
    public ReadOnlySpan<int> Pages => pages.AsSpan(0, Count);

    private int Count { get; set; }

    public static int PagesFor(int tokens) => (tokens + KeyValuePages.PageTokens - 1) / KeyValuePages.PageTokens;

    /// <summary>The page and slot of a token.</summary>
    public (int Page, int Slot) this[int token] => (pages[token / KeyValuePages.PageTokens], token % KeyValuePages.PageTokens);

    /// <summary>Pages that <see cref="Append"/> would take for so many tokens, at most.</summary>
    public int Needed(int tokens) => tokens == 0 ? 0 : PagesFor(Tokens + tokens) - Count + (EndsInSharedPage ? 1 : 0);

    /// <summary>Adds tokens whose keys and values are about to be written: takes pages for them, and a page of its own in place of a shared one.</summary>
    public void Append(int tokens)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Tokens + tokens, maxTokens);
        if (tokens == 0) return;
        if (EndsInSharedPage)
        {
            var last = pages[Count - 1];
            pages[Count - 1] = store.Copy(last);
            store.Release(last);
        }
        Tokens += tokens;
        while (Count < PagesFor(Tokens)) pages[Count++] = store.Take();
    }

    /// <summary>Adds tokens that stand in pages already, and shares those. What this list holds ends with a whole page.</summary>
    public void Adopt(ReadOnlySpan<int> shared, int tokens)
    {
        foreach (var page in shared)
        {
            store.Share(page);
            pages[Count++] = page;
        }
        Tokens += tokens;
    }

    /// <summary>Uses another page that holds the same numbers.</summary>
    public void Replace(int index, int page)
    {
        store.Share(page);
        store.Release(pages[index]);
        pages[index] = page;
    }

    /// <summary>Forgets the tokens behind the first so many; pages that held nothing else are released.</summary>
    public void Truncate(int tokens)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)tokens, (uint)Tokens);
        Tokens = tokens;
        while (Count > PagesFor(tokens)) store.Release(pages[--Count]);
    }

    /// <summary>Becomes another list's past, sharing its pages. What this one held is released.</summary>
    public void Become(PageList other)
    {
        if (other == this) return;
        foreach (var page in other.Pages) store.Share(page);         // before anything is released: the pages may be our own
        Clear();
        other.Pages.CopyTo(pages);
        (Count, Tokens) = (other.Count, other.Tokens);
    }

    public void Clear()
    {
        // The last first: of pages that outlive their users the oldest goes first, and a beginning is worth more than its end.
        for (var i = Count - 1; i >= 0; i--) store.Release(pages[i]);
        (Count, Tokens) = (0, 0);
    }

    private bool EndsInSharedPage => Tokens % KeyValuePages.PageTokens != 0 && store.IsShared(pages[Count - 1]);
}
