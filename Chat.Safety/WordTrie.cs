namespace Chat.Safety;

/// <summary>Words as a tree of their upper-cased units; upper-casing is unit by unit, so spans in the text stay what they are. Immutable once filled.</summary>
internal sealed class WordTrie
{
    private sealed class Node
    {
        public Dictionary<char, Node>? Children;
        public bool IsWord;
    }

    private readonly Node root = new();

    public WordTrie(IEnumerable<string> words)
    {
        foreach (var word in words)
        {
            var node = root;
            foreach (var unit in word)
            {
                node.Children ??= [];
                var key = char.ToUpperInvariant(unit);
                if (!node.Children.TryGetValue(key, out var child)) node.Children[key] = child = new();
                node = child;
            }
            if (node != root) node.IsWord = true;
            LongestLength = Math.Max(LongestLength, word.Length);
        }
    }

    public int LongestLength { get; }

    /// <summary>Whether any word begins with this unit: asked first, since most units begin none.</summary>
    public bool BeginsWith(char unit) => root.Children?.ContainsKey(char.ToUpperInvariant(unit)) == true;

    /// <summary>Adds the ends of all words that start at <paramref name="start"/>; true if the text ended inside a longer one.</summary>
    public bool Match(ReadOnlySpan<char> text, int start, List<int> ends)
    {
        var node = root;
        for (var i = start; ; i++)
        {
            if (node.IsWord) ends.Add(i);
            if (node.Children is null) return false;
            if (i == text.Length) return true;
            if (!node.Children.TryGetValue(char.ToUpperInvariant(text[i]), out node!)) return false;
        }
    }
}
