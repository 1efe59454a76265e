namespace Chat.Models.Decoding.Constraints;

/// <summary>A set of Unicode scalar values (surrogates are none), as sorted ranges that do not touch. Immutable.</summary>
internal sealed class CharacterSet
{
    private const int FirstSurrogate = 0xD800, LastSurrogate = 0xDFFF, Last = 0x10FFFF;

    private readonly (int From, int To)[] ranges;

    public CharacterSet(params IEnumerable<(int From, int To)> parts)
    {
        var merged = new List<(int From, int To)>();
        foreach (var (from, to) in parts.SelectMany(WithoutSurrogates).Where(r => r.From <= r.To).OrderBy(r => r.From))
        {
            if (merged.Count > 0 && from <= merged[^1].To + 1) merged[^1] = (merged[^1].From, Math.Max(merged[^1].To, to));
            else merged.Add((from, to));
        }
        ranges = [.. merged];
    }

    public static CharacterSet All { get; } = new((0, Last));

    /// <summary>Bounds included.</summary>
    public IReadOnlyList<(int From, int To)> Ranges => ranges;

    public bool IsEmpty => ranges.Length == 0;

    public static CharacterSet Of(params IEnumerable<int> characters) => new(characters.Select(c => (c, c)));

    public bool Contains(int character) => Array.Exists(ranges, r => r.From <= character && character <= r.To);

    public CharacterSet Union(CharacterSet other) => new(ranges.Concat(other.ranges));

    public CharacterSet Complement()
    {
        var gaps = new List<(int, int)>();
        var next = 0;
        foreach (var (from, to) in ranges)
        {
            gaps.Add((next, from - 1));
            next = to + 1;
        }
        gaps.Add((next, Last));
        return new(gaps);
    }

    public CharacterSet Except(CharacterSet other) => Complement().Union(other).Complement();

    private static IEnumerable<(int From, int To)> WithoutSurrogates((int From, int To) range)
    {
        yield return (range.From, Math.Min(range.To, FirstSurrogate - 1));
        yield return (Math.Max(range.From, LastSurrogate + 1), range.To);
    }
}
