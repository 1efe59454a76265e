using System.Globalization;
using System.Text;

namespace Chat.Models.Decoding.Constraints;

/// <summary>
/// Reads a regular expression that is one: characters, «.», classes with ranges and negation, \d \w \s (ASCII, as in ECMAScript; \S keeps away from all Unicode blanks), groups,
/// alternatives, greedy and lazy quantifiers, ^ and $ at the ends of the outermost alternatives. What looks around or back is refused by name. Works on code points.
/// </summary>
internal sealed class RegexReader
{
    public const int LongestText = 4096, LargestCount = 1000;
    private const int DeepestGroup = 64;

    private static readonly CharacterSet Digits = new(('0', '9')), Word = new(('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_'));
    private static readonly CharacterSet Blanks = CharacterSet.Of(' ', '\t', '\n', '\v', '\f', '\r');
    private static readonly CharacterSet AllBlanks = Blanks.Union(new((0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)));
    private static readonly CharacterSet LineEnds = CharacterSet.Of('\n', '\r', 0x2028, 0x2029);

    private static readonly Pattern Anything = new Pattern.Repeat(new Pattern.Character(CharacterSet.All), 0, null);

    private readonly int[] text;
    private readonly bool isWhole;
    private int at, depth;

    private RegexReader(string text, bool isWhole)
    {
        if (text.Length > LongestText) throw new ConstraintException($"an expression has at most {LongestText} characters, this one has {text.Length}.");
        this.text = [.. text.EnumerateRunes().Select(r => r.Value)];
        this.isWhole = isWhole;
    }

    /// <param name="isWhole">The expression stands for whole texts; otherwise for texts that hold a match, as in JSON schema.</param>
    /// <exception cref="ConstraintException">What is wrong, and where.</exception>
    public static Pattern Read(string text, bool isWhole)
    {
        var reader = new RegexReader(text, isWhole);
        var pattern = reader.Alternatives(reader.OuterBranch);
        return reader.at == reader.text.Length ? pattern : throw reader.Wrong("')' closes no group");
    }

    private bool IsEnd => at == text.Length;

    private Pattern Alternatives(Func<Pattern> branch)
    {
        var options = new List<Pattern> { branch() };
        while (Take('|')) options.Add(branch());
        return options.Count == 1 ? options[0] : new Pattern.Choice(options);
    }

    private Pattern.Sequence Branch()
    {
        var parts = new List<Pattern>();
        while (!IsEnd && text[at] is not ('|' or ')')) parts.Add(Quantified(Atom()));
        return new(parts);
    }

    /// <summary>One of the outermost alternatives: it may be tied to the ends of the text, and only it is searched for.</summary>
    private Pattern.Sequence OuterBranch()
    {
        var parts = new List<Pattern>();
        var (begins, ends) = (false, false);
        if (Take('^')) begins = true;
        while (!IsEnd && text[at] is not ('|' or ')'))
        {
            if (text[at] == '$' && (at + 1 == text.Length || text[at + 1] == '|'))
            {
                at++;
                ends = true;
                break;
            }
            parts.Add(Quantified(Atom()));
        }
        if (!isWhole && !begins) parts.Insert(0, Anything);
        if (!isWhole && !ends) parts.Add(Anything);
        return new(parts);
    }

    private Pattern Atom()
    {
        var c = text[at++];
        switch (c)
        {
            case '(': return Group();
            case '[': return new Pattern.Character(Class());
            case '.': return new Pattern.Character(LineEnds.Complement());
            case '\\': return new Pattern.Character(Escape(inClass: false));
            case '^' or '$': throw Wrong($"'{(char)c}' stands only at an end of the whole expression or of one of its outermost alternatives", back: 1);
            case '*' or '+' or '?': throw Wrong($"'{(char)c}' has nothing to repeat", back: 1);
            case '{': throw Wrong("'{' begins no count; write \\{ for the character", back: 1);
            default: return new Pattern.Character(CharacterSet.Of(c));
        }
    }

    private Pattern Group()
    {
        if (Take('?'))
        {
            if (Take('<') && !IsEnd && text[at] is not ('=' or '!'))
            {
                while (!IsEnd && text[at] != '>') at++;
                if (!Take('>')) throw Wrong("a group's name has no end");
            }
            else if (!Take(':')) throw Wrong("groups that look ahead or behind, and inline options, are not supported");
        }
        if (++depth > DeepestGroup) throw Wrong($"groups nest deeper than {DeepestGroup}");
        var inside = Alternatives(Branch);
        depth--;
        return Take(')') ? inside : throw Wrong("a group has no end");
    }

    private Pattern Quantified(Pattern part)
    {
        if (IsEnd) return part;
        Pattern quantified;
        if (Take('*')) quantified = new Pattern.Repeat(part, 0, null);
        else if (Take('+')) quantified = new Pattern.Repeat(part, 1, null);
        else if (Take('?')) quantified = new Pattern.Repeat(part, 0, 1);
        else if (Take('{'))
        {
            var least = Count();
            var most = !Take(',') ? least : IsEnd || text[at] == '}' ? (int?)null : Count();
            if (!Take('}')) throw Wrong("a count is written {n}, {n,} or {n,m}");
            if (most < least) throw Wrong($"a count from {least} to {most} is none");
            quantified = new Pattern.Repeat(part, least, most);
        }
        else return part;
        Take('?');                                                                          // lazy: the same texts
        return !IsEnd && text[at] is '*' or '+' or '?' or '{' ? throw Wrong("a quantifier stands behind a quantifier") : quantified;
    }

    private int Count()
    {
        var begin = at;
        var value = 0;
        while (!IsEnd && text[at] is >= '0' and <= '9' && value <= LargestCount) value = 10 * value + text[at++] - '0';
        if (at == begin) throw Wrong("a count is written {n}, {n,} or {n,m}");
        return value <= LargestCount ? value : throw Wrong($"a count is at most {LargestCount}");
    }

    private CharacterSet Class()
    {
        var isNegated = Take('^');
        var set = new CharacterSet();
        for (var first = true; first || !Take(']'); first = false)
        {
            if (IsEnd) throw Wrong("a class has no end");
            if (first && text[at] == ']') throw Wrong("a class is empty; write \\] for the character");
            var from = One();
            if (at + 1 < text.Length && text[at] == '-' && text[at + 1] != ']')
            {
                at++;
                var to = One();
                if (Single(from) is not { } low || Single(to) is not { } high || low > high) throw Wrong("a range of a class goes from a character to a later one");
                set = set.Union(new((low, high)));
            }
            else set = set.Union(from);
        }
        return isNegated ? set.Complement() : set;

        CharacterSet One() => IsEnd ? throw Wrong("a class has no end") : text[at++] is var c && c == '\\' ? Escape(inClass: true) : CharacterSet.Of(c);
    }

    private static int? Single(CharacterSet set) => set.Ranges is [var (from, to)] && from == to ? from : null;

    private CharacterSet Escape(bool inClass)
    {
        if (IsEnd) throw Wrong("'\\' stands at the end");
        var c = text[at++];
        return c switch
        {
            'd' => Digits,
            'D' => Digits.Complement(),
            'w' => Word,
            'W' => Word.Complement(),
            's' => Blanks,
            'S' => AllBlanks.Complement(),
            't' => CharacterSet.Of('\t'),
            'n' => CharacterSet.Of('\n'),
            'r' => CharacterSet.Of('\r'),
            'f' => CharacterSet.Of('\f'),
            'v' => CharacterSet.Of('\v'),
            'b' when inClass => CharacterSet.Of('\b'),
            'x' => CharacterSet.Of(Hex(2)),
            'u' => CharacterSet.Of(Unit()),
            >= '1' and <= '9' or 'k' => throw Wrong("references back are not supported", back: 2),
            'b' or 'B' => throw Wrong("word borders are not supported", back: 2),
            'p' or 'P' => throw Wrong("Unicode categories are not supported; write ranges such as [\\u4e00-\\u9fff]", back: 2),
            _ when c < 128 && !char.IsAsciiLetterOrDigit((char)c) => CharacterSet.Of(c),
            _ => throw Wrong($"'\\{char.ConvertFromUtf32(c)}' is not supported", back: 2),
        };
    }

    private int Unit()
    {
        if (Take('{'))
        {
            var begin = at;
            while (!IsEnd && text[at] != '}') at++;
            var digits = string.Concat(text[begin..at].Select(char.ConvertFromUtf32));
            return Take('}') && int.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value) && Rune.IsValid(value) ? value : throw Wrong("\\u{…} names no character");
        }
        var unit = Hex(4);
        if (char.IsHighSurrogate((char)unit) && at + 1 < text.Length && text[at] == '\\' && text[at + 1] == 'u')
        {
            at += 2;
            var low = Hex(4);
            return char.IsLowSurrogate((char)low) ? char.ConvertToUtf32((char)unit, (char)low) : throw Wrong("half a surrogate pair is no character");
        }
        return Rune.IsValid(unit) ? unit : throw Wrong("half a surrogate pair is no character");
    }

    private int Hex(int digits)
    {
        if (at + digits > text.Length || !text.AsSpan(at, digits).ToArray().All(c => c < 128 && char.IsAsciiHexDigit((char)c))) throw Wrong($"{digits} hexadecimal digits are needed");
        var value = int.Parse(string.Concat(text.AsSpan(at, digits).ToArray().Select(c => (char)c)), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        at += digits;
        return value;
    }

    private bool Take(int character)
    {
        if (IsEnd || text[at] != character) return false;
        at++;
        return true;
    }

    private ConstraintException Wrong(string what, int back = 0) => new($"{what} (at character {at - back + 1} of the expression).");
}
