using Chat.Models.Kernels;

namespace Chat.Tests.Kernels;

/// <summary>Pages, their users and what is found again, against a book of what each page holds.</summary>
public sealed class PrefixCacheTests
{
    private const int Page = KeyValuePages.PageTokens;

    [Theory]
    [InlineData(1), InlineData(2), InlineData(3), InlineData(4)]
    public void Random_texts_find_only_what_they_begin_with_and_no_page_is_lost(int seed)
    {
        var random = new Random(seed);
        using var store = new KeyValuePages(layers: 1, heads: 1, headWidth: 1, pages: 24);
        var cache = new PrefixCache(store);
        var texts = new Dictionary<PageList, List<int>>();
        var holds = new string[store.Pages];                            // the text up to the end of a page that is whole
        var found = 0;
        for (var step = 0; step < 3_000; step++)
        {
            if (random.Next(3) > 0 && texts.Count < 5)
            {
                // Few different tokens, so that texts begin alike.
                int[] text = [.. Enumerable.Range(0, random.Next(1, 5) * Page / 2).Select(at => at % Page < Page - 1 ? 0 : random.Next(2))];
                var list = new PageList(store, 100);
                var parent = PrefixCache.Root;
                while (list.Tokens + Page <= text.Length && cache.Find(parent, text.AsSpan(list.Tokens, Page)) is { } entry)
                {
                    list.Adopt(entry.Pages, Page);
                    parent = entry.Id;
                    found++;
                    Assert.Equal(Text(text.AsSpan(0, list.Tokens)), holds[entry.Pages[0]]);
                }
                if (list.Needed(text.Length - list.Tokens) > store.FreePages) list.Clear();
                else
                {
                    var known = list.Tokens;
                    list.Append(text.Length - known);
                    for (; known + Page <= text.Length; known += Page)
                    {
                        var page = list.Pages[known / Page];
                        holds[page] = Text(text.AsSpan(0, known + Page));
                        parent = cache.Add(parent, text.AsSpan(known, Page), [page]).Id;
                    }
                    texts[list] = [.. text];
                }
            }
            else if (texts.Count > 0)
            {
                var gone = texts.Keys.ElementAt(random.Next(texts.Count));
                gone.Clear();
                texts.Remove(gone);
            }
            for (var page = 0; page < store.Pages; page++) Assert.Equal(texts.Keys.Sum(list => list.Pages.ToArray().Count(p => p == page)), store.Users(page));
            Assert.Equal(Enumerable.Range(0, store.Pages).Count(page => store.Users(page) == 0), store.FreePages);
            foreach (var (list, text) in texts)
                for (var end = Page; end <= text.Count; end += Page) Assert.Equal(Text([.. text[..end]]), holds[list.Pages[end / Page - 1]]);
        }
        foreach (var list in texts.Keys) list.Clear();
        Assert.Equal(store.Pages, store.FreePages);
        for (var page = 0; page < store.Pages; page++) store.Take();
        Assert.Throws<InvalidOperationException>(() => store.Take());
        Assert.Null(cache.Find(PrefixCache.Root, new int[Page]));
        Assert.InRange(found, 100, int.MaxValue);
    }

    [Fact]
    public void A_context_of_several_pages_comes_and_goes_as_one()
    {
        using var store = new KeyValuePages(1, 1, 1, pages: 4);
        var cache = new PrefixCache(store);
        var context = new PageList(store, 40);
        context.Append(40);
        int[] tokens = [.. Enumerable.Range(0, 40)];
        cache.Add(PrefixCache.Root, tokens, context.Pages);
        context.Clear();
        Assert.Equal(4, store.FreePages);
        Assert.Equal(3, cache.Find(PrefixCache.Root, tokens)!.Pages.Length);
        Assert.Null(cache.Find(PrefixCache.Root, tokens.AsSpan(0, 39)));
        store.Take();
        Assert.NotNull(cache.Find(PrefixCache.Root, tokens));
        store.Take();
        Assert.Null(cache.Find(PrefixCache.Root, tokens));
        Assert.Equal(2, store.FreePages);
    }

    [Fact]
    public void A_kept_page_is_copied_before_anybody_writes_into_it()
    {
        using var store = new KeyValuePages(1, 1, 1, pages: 3);
        var cache = new PrefixCache(store);
        var list = new PageList(store, 30);
        list.Append(10);
        var page = list.Pages[0];
        cache.Add(PrefixCache.Root, new int[10], [page]);
        Assert.Equal(1, list.Needed(1));
        list.Append(1);
        Assert.NotEqual(page, list.Pages[0]);
        Assert.Equal((0, 1), (store.Users(page), store.Users(list.Pages[0])));
    }

    private static string Text(ReadOnlySpan<int> tokens) => string.Join(',', tokens.ToArray());
}
