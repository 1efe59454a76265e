using System.Runtime.InteropServices;

namespace Chat.Models.Kernels;

/// <summary>
/// Finds pages by the tokens whose keys and values they hold, so that what was read once is not read again while its pages last (automatic prefix caching
/// over pages, Kwon et al., arXiv 2309.06180, §4.4, made exact: tokens are compared, a hash only leads to them). Keys and values of a token are a function of what it sees, so an
/// entry is known by its parent entry, all that stands before it, and its own tokens: a page of a text read left to right, or a whole context where tokens see
/// each other both ways. Evicts what has had no user for longest. Not thread-safe.
/// </summary>
public sealed class PrefixCache
{
    /// <summary>The parent of what stands first in a text.</summary>
    public const long Root = 0;

    private readonly KeyValuePages store;
    private readonly Dictionary<int, Entry> byHash = [];
    private readonly Entry?[] byPage;
    private long entries;

    public PrefixCache(KeyValuePages store)
    {
        (this.store, byPage) = (store, new Entry?[store.Pages]);
        store.Evict = page => Remove(byPage[page]!);
    }

    /// <summary>A piece of a past that can be shared.</summary>
    public sealed class Entry
    {
        internal Entry(int hash, long parent, int[] tokens, long id, int[] pages) => (Hash, Parent, Tokens, Id, Pages) = (hash, parent, tokens, id, pages);

        internal int Hash { get; }
        internal long Parent { get; }
        internal int[] Tokens { get; }
        internal Entry? SameHash { get; set; }

        /// <summary>Names it as a parent; never used again.</summary>
        public long Id { get; }
        public int[] Pages { get; }
    }

    public Entry? Find(long parent, ReadOnlySpan<int> tokens)
    {
        var entry = byHash.GetValueOrDefault(Hash(parent, tokens));
        while (entry is not null && (entry.Parent != parent || !tokens.SequenceEqual(entry.Tokens))) entry = entry.SameHash;
        return entry;
    }

    /// <summary>Makes pages in use findable. There is no such entry yet.</summary>
    public Entry Add(long parent, ReadOnlySpan<int> tokens, ReadOnlySpan<int> pages)
    {
        var hash = Hash(parent, tokens);
        var entry = new Entry(hash, parent, [.. tokens], ++entries, [.. pages]) { SameHash = byHash.GetValueOrDefault(hash) };
        byHash[hash] = entry;
        foreach (var page in pages)
        {
            byPage[page] = entry;
            store.Keep(page);
        }
        return entry;
    }

    private void Remove(Entry entry)
    {
        if (byHash[entry.Hash] is var first && first == entry)
        {
            if (entry.SameHash is { } next) byHash[entry.Hash] = next;
            else byHash.Remove(entry.Hash);
        }
        else
        {
            while (first.SameHash != entry) first = first.SameHash!;
            first.SameHash = entry.SameHash;
        }
        foreach (var page in entry.Pages)
        {
            byPage[page] = null;
            store.Forget(page);
        }
    }

    // Seeded anew in each process, so that nobody can make tokens whose hashes are equal.
    private static int Hash(long parent, ReadOnlySpan<int> tokens)
    {
        var hash = new HashCode();
        hash.Add(parent);
        hash.AddBytes(MemoryMarshal.AsBytes(tokens));
        return hash.ToHashCode();
    }
}
