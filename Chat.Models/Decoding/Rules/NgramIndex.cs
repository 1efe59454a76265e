namespace Chat.Models.Decoding.Rules;

/// <summary>
/// Which tokens would complete an n-gram of units that the text has seen, kept up to date token by token. Over a window g of n units,
/// for every p &lt; n: if g[p:] put together is a vocabulary entry, it is banned after g[:p]; so an entry equal to a whole seen window (p = 0) is
/// banned outright. After «，», «,» or «。» also 但 and 不过 (EVA2.0, generation_utils.py). <see cref="NgramReference"/> is the slow form.
/// Forks share what the dialogue brought and copy what the reply added.
/// </summary>
public sealed class NgramIndex
{
    private static readonly string[] PauseMarks = ["，", ",", "。"], ContraryWords = ["但", "不过"];

    private readonly int n;
    private readonly TokenTable tokens;
    private readonly bool characters;
    private readonly Dictionary<string, int[]> shared, own;
    private readonly List<string> tail;                                                    // the last n units

    public NgramIndex(int n, TokenTable tokens, bool characters, ReadOnlySpan<int> dialogue)
        : this(n, tokens, characters, [], [], [])
    {
        var sets = new Dictionary<string, HashSet<int>>(StringComparer.Ordinal);
        foreach (var id in dialogue)
            Append(id, (prefix, banned) => (sets.TryGetValue(prefix, out var set) ? set : sets[prefix] = []).Add(banned));
        foreach (var (prefix, set) in sets) shared[prefix] = [.. set];
    }

    private NgramIndex(int n, TokenTable tokens, bool characters, Dictionary<string, int[]> shared, Dictionary<string, int[]> own, List<string> tail)
    {
        this.n = n;
        this.tokens = tokens;
        this.characters = characters;
        this.shared = shared;
        this.own = own;
        this.tail = tail;
    }

    public NgramIndex Fork() => new(n, tokens, characters, shared, new(own), [.. tail]);

    public void Append(int token) => Append(token, (prefix, banned) =>
    {
        if (shared.TryGetValue(prefix, out var known) && known.Contains(banned)) return;
        if (!own.TryGetValue(prefix, out var list)) own[prefix] = [banned];
        else if (!list.Contains(banned)) own[prefix] = [.. list, banned];                  // arrays are shared with forks: never written
    });

    /// <summary>Tokens banned after the text so far, in rising order.</summary>
    public SortedSet<int> Banned()
    {
        var banned = new SortedSet<int>();
        for (var p = 0; p < n && p <= tail.Count; p++)
        {
            var prefix = Key(tail.Skip(tail.Count - p));
            if (shared.TryGetValue(prefix, out var ids)) banned.UnionWith(ids);
            if (own.TryGetValue(prefix, out ids)) banned.UnionWith(ids);
        }
        if (tail.Count > 0) AddContrary(tokens, tail[^1], banned);
        return banned;
    }

    internal static void AddContrary(TokenTable tokens, string lastUnit, SortedSet<int> banned)
    {
        if (!PauseMarks.Contains(lastUnit)) return;
        foreach (var word in ContraryWords)
            if (tokens.TryFind(word, out var id)) banned.Add(id);
    }

    private void Append(int token, Action<string, int> ban)
    {
        foreach (var unit in characters ? tokens.CharacterUnits(token) : tokens.Units(token))
        {
            tail.Add(unit);
            if (tail.Count > n) tail.RemoveAt(0);
            if (tail.Count < n) continue;
            for (var p = 0; p < n; p++)
                if (tokens.TryFind(string.Concat(tail.Skip(p)), out var id)) ban(Key(tail.Take(p)), id);
        }
    }

    // Units of letters differ in length: "ab" after "c" must not look like "b" after "ca".
    private static string Key(IEnumerable<string> units) => string.Join('\uFFFF', units);
}
