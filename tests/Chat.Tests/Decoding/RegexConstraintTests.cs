using System.Text;
using System.Text.RegularExpressions;
using Chat.Models.Decoding;
using Chat.Models.Decoding.Constraints;
using Chat.Tests.Engine;
using CsCheck;

namespace Chat.Tests.Decoding;

public sealed class RegexConstraintTests
{
    private static readonly TokenTable Tokens = TokenTable.From(new ByteTokenizer(), new ByteTokenizer().VocabularySize);

    private static readonly Gen<string> Expressions = Gen.Recursive<string>((depth, inner) =>
    {
        var atoms = Any("a", "b", "1", "你", "é", " ", ".", "\\d", "\\w", "\\s", "\\D", "\\W", "[ab]", "[^a]", "[a-c1]", "[^\\d你]", "\\.", "\\u4f60", "[\\u4e00-\\u9fff]", "\\n");
        return depth > 3 ? atoms : Gen.OneOf(atoms, atoms,
            inner.Array[1, 3].Select(string.Concat),
            Gen.Select(inner, inner, (a, b) => $"(?:{a}|{b})"),
            Gen.Select(inner, Any("*", "+", "?", "{2}", "{0,2}", "{1,}"), (a, q) => $"({a}){q}"),
            // Over what may be empty .NET's lazy loops run out of memory: ((a?)*?)? overflows its stack of states.
            Gen.Select(atoms, Any("*?", "+?"), (a, q) => $"({a}){q}"));
    });

    private static readonly Gen<string> Texts = Any('a', 'b', 'c', '1', '你', '好', 'é', ' ', '_', '.', '\n').Array[0, 7].Select(c => new string(c));

    [Fact]
    public void Whole_texts_match_as_dotnets_do()
    {
        Gen.Select(Expressions, Texts.Array[1, 20]).Sample((expression, texts) =>
        {
            var regex = new Regex($"^(?:{expression})$(?!\n)", RegexOptions.ECMAScript);
            var automaton = Automaton(expression, isWhole: true);

            foreach (var text in texts) Assert.Equal(regex.IsMatch(text), Accepts(automaton, text));
        }, iter: 600);
    }

    [Fact]
    public void Searched_texts_match_as_dotnets_do()
    {
        Gen.Select(Expressions, Expressions, Gen.Bool, Gen.Bool, Texts.Array[1, 20]).Sample((first, second, begins, ends, texts) =>
        {
            var expression = $"{(begins ? "^" : "")}{first}{(ends ? "$" : "")}|{second}";
            var regex = new Regex(expression.Replace("$|", "$(?!\n)|", StringComparison.Ordinal), RegexOptions.ECMAScript);
            var automaton = Automaton(expression, isWhole: false);

            foreach (var text in texts) Assert.Equal(regex.IsMatch(text), Accepts(automaton, text));
        }, iter: 400);
    }

    [Fact]
    public void A_mask_is_what_its_definition_says_and_never_empty()
    {
        Gen.Select(Expressions, Gen.Int[0, 1_000_000]).Sample((expression, seed) =>
        {
            var masks = new TokenMasks(Automaton(expression, isWhole: true), Tokens);
            var random = new Random(seed);
            var state = masks.Start;
            for (var step = 0; step < 6; step++)
            {
                var mask = masks.Of(state).ToArray();
                int[] allowed = [.. Enumerable.Range(0, Tokens.Count).Where(id => (mask[id >> 6] >> (id & 63) & 1) != 0)];

                Assert.Equal(Enumerable.Range(0, Tokens.Count).Where(id => masks.Allows(state, id)), allowed);
                Assert.NotEmpty(allowed);
                if (allowed[random.Next(allowed.Length)] is var id && id == Tokens.Separator) return;
                state = masks.Next(state, id)!;
            }
        }, iter: 300);
    }

    [Fact]
    public void A_set_of_characters_is_written_in_its_utf8_and_no_other_bytes()
    {
        var scalars = Gen.OneOf(Gen.Int[0, 0x7F], Gen.Int[0x80, 0x7FF], Gen.Int[0x800, 0xFFFF], Gen.Int[0x10000, 0x10FFFF], Any(0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF));
        Gen.Select(Gen.Select(scalars, scalars).Array[1, 4], scalars.Array[1, 30], Gen.Byte.Array[1, 4]).Sample((ranges, probes, bytes) =>
        {
            (int From, int To)[] parts = [.. ranges.Select(r => (Math.Min(r.Item1, r.Item2), Math.Max(r.Item1, r.Item2)))];
            var set = new CharacterSet(parts);
            if (set.IsEmpty) return;
            var automaton = Automaton(new Pattern.Character(set));

            foreach (var c in probes.Concat(parts.Select(p => p.From)).Concat(parts.Select(p => p.To + 1)).Where(Rune.IsValid))
                Assert.Equal(parts.Any(p => p.From <= c && c <= p.To), Accepts(automaton, new Rune(c).ToString()));
            if (Accepts(automaton, bytes)) Assert.Equal(bytes, Encoding.UTF8.GetBytes(Encoding.UTF8.GetString(bytes)));
        }, iter: 500);
    }

    [Theory]
    [InlineData("(a", "a group has no end")]
    [InlineData("a)", "closes no group")]
    [InlineData("[a", "a class has no end")]
    [InlineData("[]", "a class is empty")]
    [InlineData("[b-a]", "from a character to a later one")]
    [InlineData("[\\d-z]", "from a character to a later one")]
    [InlineData("a**", "behind a quantifier")]
    [InlineData("*a", "nothing to repeat")]
    [InlineData("a{3,1}", "from 3 to 1")]
    [InlineData("a{1001}", "at most 1000")]
    [InlineData("a{b}", "written {n}")]
    [InlineData("{", "begins no count")]
    [InlineData("(?=a)", "look ahead or behind")]
    [InlineData("(?<!a)b", "look ahead or behind")]
    [InlineData("(?i)a", "inline options")]
    [InlineData("(a)\\1", "references back are not supported (at character 4")]
    [InlineData("\\bword", "word borders")]
    [InlineData("\\p{L}", "Unicode categories")]
    [InlineData("a^b", "only at an end")]
    [InlineData("(^a)", "only at an end")]
    [InlineData("\\", "stands at the end")]
    [InlineData("\\q", "'\\q' is not supported")]
    [InlineData("\\u12", "hexadecimal")]
    [InlineData("\\ud800", "surrogate")]
    [InlineData("((((a{1000}){1000}){1000}){1000})", "too large")]
    [InlineData("(((((){1000}){1000}){1000}){1000})", "too large")]
    [InlineData("[^\\u0000-\\u{10ffff}]", "nothing can satisfy it")]
    public void What_is_no_expression_here_is_refused_by_name(string expression, string message)
    {
        Assert.Contains(message, Assert.Throws<ConstraintException>(() => Automaton(expression, isWhole: true)).Message, StringComparison.Ordinal);
    }

    private static Gen<T> Any<T>(params T[] values) => Gen.Int[0, values.Length - 1].Select(i => values[i]);

    private static ByteAutomaton Automaton(string expression, bool isWhole) => Automaton(RegexReader.Read(expression, isWhole));

    private static ByteAutomaton Automaton(Pattern pattern)
    {
        var grammar = new Grammar();
        grammar.Define(grammar.NewRule(), pattern);
        return new(grammar.Complete());
    }

    private static bool Accepts(ByteAutomaton automaton, string text) => Accepts(automaton, Encoding.UTF8.GetBytes(text));

    private static bool Accepts(ByteAutomaton automaton, byte[] bytes)
    {
        var state = automaton.Start;
        foreach (var value in bytes)
        {
            if (automaton.Next(state, value) is not { } next) return false;
            state = next;
        }
        return state.IsEnd;
    }
}
