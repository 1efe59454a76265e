using System.Numerics;
using System.Text;

namespace Chat.Models.Decoding.Constraints;

/// <summary>
/// A recursive transition network over bytes (Woods 1970): nodes with edges for ranges of bytes, empty edges, and calls of other rules. Texts are UTF-8. Calls nest at most
/// <see cref="DeepestNesting"/> deep, so whoever parses a text needs no more. Filled by one thread, then <see cref="Complete"/>d and read-only.
/// </summary>
internal sealed class Grammar
{
    public const int MostNodes = 50_000, DeepestNesting = 32;

    private readonly List<Node> nodes = [];
    private readonly List<(int Start, int End)> rules = [];
    private byte[] byteClasses = [];
    private int[] depths = [];

    /// <summary>A place in a rule.</summary>
    internal sealed class Node
    {
        public List<(byte From, byte To, int Target)> Bytes { get; } = [];
        public List<int> Empty { get; } = [];
        public List<(int Rule, int Return)> Calls { get; } = [];
        public bool IsEnd { get; set; }
    }

    public Node this[int node] => nodes[node];

    /// <summary>The first rule is where texts begin.</summary>
    public int StartOf(int rule) => rules[rule].Start;

    /// <summary>Bytes that no edge tells apart have the same class.</summary>
    public int ClassOf(byte value) => byteClasses[value];
    public int Classes { get; private set; }

    /// <summary>A byte of each class.</summary>
    public IReadOnlyList<byte> Representatives { get; private set; } = [];

    /// <summary>Levels of nesting that are needed at least to come from a node to the end of its rule; huge where there is no way.</summary>
    public int DepthFrom(int node) => depths[node];

    public int NewRule()
    {
        rules.Add((NewNode(), NewNode()));
        nodes[rules[^1].End].IsEnd = true;
        return rules.Count - 1;
    }

    /// <summary>Adds texts to a rule.</summary>
    public void Define(int rule, Pattern pattern) => Join(Add(pattern, rules[rule].Start), rules[rule].End);

    /// <exception cref="ConstraintException">No text fits at all.</exception>
    public Grammar Complete()
    {
        Classify();
        depths = Depths();
        return depths[rules[0].Start] <= DeepestNesting ? this : throw new ConstraintException($"nothing can satisfy it, or only something nested deeper than {DeepestNesting} levels.");
    }

    /// <summary>Edges for a pattern behind a node.</summary>
    /// <returns>The node behind the pattern.</returns>
    private int Add(Pattern pattern, int from)
    {
        switch (pattern)
        {
            case Pattern.Character(var set):
                var behind = NewNode();
                foreach (var (first, last) in set.Ranges) AddCharacters(first, last, from, behind);
                return behind;

            case Pattern.Sequence(var parts):
                return parts.Aggregate(from, (at, part) => Add(part, at));

            case Pattern.Choice(var options):
                var end = NewNode();
                foreach (var option in options) Join(Add(option, Fork(from)), end);
                return end;

            case Pattern.Repeat(var part, var least, var most):
                var at = from;
                for (var i = 0; i < least; i++) at = Add(part, Fork(at));               // a node each, so that counts of nothing end too
                var done = NewNode();
                if (most is null)
                {
                    var loop = Fork(at);
                    Join(Add(part, loop), loop);
                    Join(loop, done);
                    return done;
                }
                for (var i = least; i < most; i++)
                {
                    Join(at, done);
                    at = Add(part, Fork(at));
                }
                Join(at, done);
                return done;

            case Pattern.Nested(var rule):
                var back = NewNode();
                nodes[from].Calls.Add((rule, back));
                return back;

            case Pattern.Members(var members, var separator):
                var (none, some) = (Fork(from), NewNode());                                // nothing written yet; something written
                foreach (var (member, isRequired) in members)
                {
                    var begin = Fork(none);
                    Join(Add(separator, Fork(some)), begin);
                    var written = Add(member, begin);
                    if (!isRequired)
                    {
                        Join(some, written = Fork(written));
                        none = Fork(none);
                    }
                    else none = NewNode();                                                 // nobody comes here
                    some = written;
                }
                Join(none, some = Fork(some));
                return some;

            case Pattern.Distinct(var parts, var separator, var least, var most):
                var sets = new Dictionary<uint, int> { [0] = Fork(from) };                 // the node where these parts have been written
                var (growing, enough) = (new Queue<uint>([0u]), NewNode());
                while (growing.TryDequeue(out var set))
                {
                    var count = BitOperations.PopCount(set);
                    if (count >= least && count <= most) Join(sets[set], enough);
                    if (count >= most) continue;
                    var next = set == 0 ? sets[set] : Add(separator, sets[set]);
                    for (var i = 0; i < parts.Count; i++)
                    {
                        var with = set | 1u << i;
                        if (with == set) continue;
                        if (sets.TryAdd(with, nodes.Count))
                        {
                            NewNode();
                            growing.Enqueue(with);
                        }
                        Join(Add(parts[i], Fork(next)), sets[with]);
                    }
                }
                return enough;

            default:
                throw new InvalidOperationException($"No edges for {pattern.GetType()}.");
        }
    }

    private int NewNode()
    {
        if (nodes.Count == MostNodes) throw new ConstraintException($"it is too large: more than {MostNodes} states. Large counts and long lists cost most.");
        nodes.Add(new());
        return nodes.Count - 1;
    }

    private void Join(int from, int to) => nodes[from].Empty.Add(to);

    private int Fork(int from)
    {
        var node = NewNode();
        Join(from, node);
        return node;
    }

    /// <summary>Characters of a range as byte sequences: at each length, cut where a whole block of the last bytes begins or ends (as R. Cox's RE2 does).</summary>
    private void AddCharacters(int first, int last, int from, int to)
    {
        if (first > last) return;
        foreach (var limit in new[] { 0x7F, 0x7FF, 0xFFFF })
            if (first <= limit && limit < last)
            {
                AddCharacters(first, limit, from, to);
                AddCharacters(limit + 1, last, from, to);
                return;
            }
        for (var mask = 0x3F; last > 0x7F && mask < 0x1FFFFF; mask = (mask << 6) | 0x3F)
        {
            if ((first & ~mask) == (last & ~mask)) continue;
            if ((first & mask) != 0)
            {
                AddCharacters(first, first | mask, from, to);
                AddCharacters((first | mask) + 1, last, from, to);
                return;
            }
            if ((last & mask) == mask) continue;
            AddCharacters(first, (last & ~mask) - 1, from, to);
            AddCharacters(last & ~mask, last, from, to);
            return;
        }
        Span<byte> low = stackalloc byte[4], high = stackalloc byte[4];
        var length = new Rune(first).EncodeToUtf8(low);
        new Rune(last).EncodeToUtf8(high);
        for (var i = 0; i < length; i++)
        {
            var next = i == length - 1 ? to : NewNode();
            nodes[from].Bytes.Add((low[i], high[i], next));
            from = next;
        }
    }

    private void Classify()
    {
        var begins = new bool[257];
        foreach (var (from, to, _) in nodes.SelectMany(n => n.Bytes)) begins[from] = begins[to + 1] = true;
        byteClasses = new byte[256];
        var representatives = new List<byte> { 0 };
        for (var value = 1; value < 256; value++)
        {
            if (begins[value]) representatives.Add((byte)value);
            byteClasses[value] = (byte)(representatives.Count - 1);
        }
        Representatives = representatives;
        Classes = representatives.Count;
    }

    // From the ends backwards, until nothing falls any more.
    private int[] Depths()
    {
        const int none = int.MaxValue / 2;
        var before = new List<int>[nodes.Count];
        for (var n = 0; n < nodes.Count; n++) before[n] = [];
        for (var n = 0; n < nodes.Count; n++)
        {
            foreach (var (_, _, target) in nodes[n].Bytes) before[target].Add(n);
            foreach (var target in nodes[n].Empty) before[target].Add(n);
            foreach (var (rule, back) in nodes[n].Calls)
            {
                before[rules[rule].Start].Add(n);
                before[back].Add(n);
            }
        }
        var least = new int[nodes.Count];
        least.AsSpan().Fill(none);
        var changed = new Queue<int>(Enumerable.Range(0, nodes.Count).Where(n => nodes[n].IsEnd));
        foreach (var end in changed) least[end] = 0;
        while (changed.TryDequeue(out var n))
            foreach (var earlier in before[n])
            {
                var depth = least[earlier];
                foreach (var (_, _, target) in nodes[earlier].Bytes) depth = Math.Min(depth, least[target]);
                foreach (var target in nodes[earlier].Empty) depth = Math.Min(depth, least[target]);
                foreach (var (rule, back) in nodes[earlier].Calls) depth = Math.Min(depth, Math.Max(1 + least[rules[rule].Start], least[back]));
                if (depth >= least[earlier]) continue;
                least[earlier] = depth;
                changed.Enqueue(earlier);
            }
        return least;
    }
}
