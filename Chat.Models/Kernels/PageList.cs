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

    /// <summary>Adds tokens whose keys and values are about to be written: takes pages for them, and a page of its own in place of a shared one.</summary>
    public void Append(int tokens)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Tokens + tokens, maxTokens);
        if (tokens == 0) return;
        if (Tokens % KeyValuePages.PageTokens != 0 && pages[Count - 1] is var last && store.IsShared(last))
        {
            pages[Count - 1] = store.Copy(last);
            store.Release(last);
        }
        Tokens += tokens;
        while (Count < PagesFor(Tokens)) pages[Count++] = store.Take();
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
        foreach (var page in Pages) store.Release(page);
        (Count, Tokens) = (0, 0);
    }
}
