using System.Text;

namespace Chat.Models.Decoding.Constraints;

/// <summary>A set of texts, written down. <see cref="Grammar.Add"/> turns it into edges. Immutable.</summary>
internal abstract record Pattern
{
    /// <summary>One character of the set.</summary>
    public sealed record Character(CharacterSet Set) : Pattern;

    public sealed record Sequence(params IReadOnlyList<Pattern> Parts) : Pattern;

    /// <summary>One of them; of none, nothing is a text.</summary>
    public sealed record Choice(params IReadOnlyList<Pattern> Options) : Pattern;

    /// <param name="Most"><c>null</c>: no limit.</param>
    public sealed record Repeat(Pattern Part, int Least, int? Most) : Pattern;

    /// <summary>A rule of the grammar, one level of nesting deeper.</summary>
    public sealed record Nested(int Rule) : Pattern;

    /// <summary>Parts in this order with separators between; those that are not required may be left out.</summary>
    public sealed record Members(IReadOnlyList<(Pattern Part, bool IsRequired)> Parts, Pattern Separator) : Pattern;

    /// <summary>At least and at most so many of the parts, in any order but none twice, with separators between.</summary>
    public sealed record Distinct(IReadOnlyList<Pattern> Parts, Pattern Separator, int Least, int Most) : Pattern;

    public static Pattern Empty { get; } = new Sequence();

    public static Pattern Nothing { get; } = new Choice();

    public static Pattern Text(string text) => new Sequence([.. text.EnumerateRunes().Select(Pattern (r) => new Character(CharacterSet.Of(r.Value)))]);

    public static Pattern Optional(Pattern part) => new Repeat(part, 0, 1);
}

/// <summary>A constraint that cannot be used. The message is fit for a client and says where the fault is.</summary>
internal sealed class ConstraintException(string message) : Exception(message);
