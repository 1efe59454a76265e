namespace Chat.Models.Decoding.Rules;

/// <summary>The n-gram ban as a definition: all windows of the whole text, each time. <see cref="NgramIndex"/> must agree with it.</summary>
public static class NgramReference
{
    public static SortedSet<int> Banned(int n, TokenTable tokens, bool characters, IEnumerable<int> text)
    {
        var units = text.SelectMany(id => (characters ? tokens.CharacterUnits(id) : tokens.Units(id)).ToArray()).ToList();
        var banned = new SortedSet<int>();
        for (var start = 0; start + n <= units.Count; start++)
            for (var p = 0; p < n; p++)
                if (tokens.TryFind(string.Concat(units.Skip(start + p).Take(n - p)), out var id)
                    && units.Skip(start).Take(p).SequenceEqual(units.TakeLast(p)))
                    banned.Add(id);
        if (units.Count > 0) NgramIndex.AddContrary(tokens, units[^1], banned);
        return banned;
    }
}
