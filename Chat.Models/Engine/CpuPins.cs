using Chat.Domain.Generation;
using Chat.Models.Kernels;

namespace Chat.Models.Engine;

/// <summary>Beginnings of prompts that a <see cref="CpuRunner"/> keeps, by name: each is one more user of its pages, on an account of its own. The runner's thread makes all calls.</summary>
internal sealed class CpuPins(KeyValuePages pages, PrefixCache cache)
{
    private readonly Dictionary<string, int[]> held = [];

    /// <summary>The pages of each.</summary>
    public IEnumerable<int[]> Pages => held.Values;

    /// <inheritdoc cref="IRunner.Pin"/>
    public Pin Add(string name, ReadOnlySpan<int> tokens)
    {
        const int page = KeyValuePages.PageTokens;
        if (held.ContainsKey(name)) throw new PinException($"'{name}' is pinned already.");
        var found = new int[tokens.Length / page];
        if (found.Length == 0) throw new PinException($"'{name}' cannot be pinned: it has {tokens.Length} tokens, and only whole pages of {page} are shared.");
        var (parent, needed) = (PrefixCache.Root, 0);
        for (var i = 0; i < found.Length; i++)
        {
            var entry = cache.Find(parent, tokens.Slice(i * page, page)) ?? throw new PinException($"'{name}' cannot be pinned: it has not been read.");
            (found[i], parent) = (entry.Pages[0], entry.Id);
            if (!pages.IsPinned(found[i])) needed++;
        }
        var left = pages.PinPages - pages.PinnedPages;
        if (needed > left) throw new PinException($"'{name}' cannot be pinned: it needs {needed * pages.PageBytes} bytes for {found.Length * page} tokens, and {left * pages.PageBytes} of {pages.PinPages * pages.PageBytes} are left (Models:PinBytes).");
        foreach (var one in found) pages.Pin(one);
        held[name] = found;
        ChatMeter.PinnedBytes.Add(needed * pages.PageBytes);
        return new(name, found.Length * page, found.Length * pages.PageBytes);
    }

    /// <inheritdoc cref="IRunner.Unpin"/>
    public void Remove(string name)
    {
        if (!held.Remove(name, out var pinned)) return;
        var before = pages.PinnedPages;
        foreach (var page in pinned.Reverse()) pages.Unpin(page);                          // the last first: a beginning is worth more than its end
        ChatMeter.PinnedBytes.Add((pages.PinnedPages - before) * pages.PageBytes);
    }

    public void Clear()
    {
        foreach (var name in held.Keys.ToArray()) Remove(name);
    }
}
