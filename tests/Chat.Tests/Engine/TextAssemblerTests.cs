using System.Text;
using Chat.Domain.Generation;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using CsCheck;

namespace Chat.Tests.Engine;

public sealed class TextAssemblerTests
{
    private static readonly TokenTable Tokens = TokenTable.From(new ByteTokenizer(), new ByteTokenizer().VocabularySize);

    // Bytes of all kinds, with whole characters of two to four bytes often enough.
    private static readonly Gen<int[]> Ids = Gen.OneOf(Gen.Int[4, 267], Gen.Int[260, 267], Gen.Int[4 + 'a', 4 + 'd']).Array[0, 30];

    [Fact]
    public void Text_is_the_bytes_decoded_at_once()
    {
        Ids.Sample(ids =>
        {
            var (text, pieces, _, _) = Run(ids, []);

            Assert.Equal(Encoding.UTF8.GetString(ids.SelectMany(id => Tokens.Bytes(id).ToArray()).ToArray()), text);
            Assert.All(pieces, p => Assert.False(p.Length > 0 && (char.IsHighSurrogate(p[^1]) || char.IsLowSurrogate(p[0]))));
        }, iter: 2000);
    }

    [Fact]
    public void Bytes_of_the_tokens_are_the_bytes_of_the_text()
    {
        Gen.Select(Ids, OneOf("ab", "好", "a", "the", "cab", "你")).Sample((ids, stop) =>
        {
            var (text, _, tokens, _) = Run(ids, [stop]);

            Assert.Equal(Encoding.UTF8.GetBytes(text), tokens.SelectMany(t => t.Chosen.Bytes.ToArray()).ToArray());
        }, iter: 2000);
    }

    [Fact]
    public void Nothing_behind_a_stop_string_is_shown_and_no_part_of_it()
    {
        Gen.Select(Gen.OneOf(Gen.Int[4 + 'a', 4 + 'c'], Gen.Int[260, 264]).Array[0, 30], OneOf("ab", "好", "abc", "the", "cab", "aab", "aa").Array[1, 3]).Sample((ids, stops) =>
        {
            var all = Encoding.UTF8.GetString(ids.SelectMany(id => Tokens.Bytes(id).ToArray()).ToArray());
            // The definition: character by character, the first end of a stop string counts.
            var expected = all;
            for (var end = 1; end <= all.Length && expected == all; end++)
                foreach (var stop in stops.OrderByDescending(s => s.Length))
                    if (all[..end].EndsWith(stop, StringComparison.Ordinal)) { expected = all[..(end - stop.Length)]; break; }

            var (text, pieces, _, stopped) = Run(ids, stops);

            Assert.Equal(stops.Any(s => all.Contains(s, StringComparison.Ordinal)), stopped);
            Assert.Equal(expected, text);
            var shown = "";
            foreach (var piece in pieces) Assert.StartsWith(shown += piece, expected, StringComparison.Ordinal);
        }, iter: 3000);
    }

    [Fact]
    public void What_could_begin_a_stop_string_is_held_and_then_let_go()
    {
        var assembler = new TextAssembler(Tokens, ["abc"]);
        assembler.Append(Token('a'));
        Assert.Equal("", assembler.Take(final: false).Text);
        assembler.Append(Token('b'));
        Assert.Equal("", assembler.Take(final: false).Text);
        assembler.Append(Token('d'));
        Assert.Equal("abd", assembler.Take(final: false).Text);
        assembler.Append(Token('a'));
        Assert.Equal("a", assembler.Take(final: true).Text);
    }

    [Fact]
    public void A_character_in_three_tokens_comes_whole_with_its_tokens()
    {
        var assembler = new TextAssembler(Tokens, []);
        assembler.Append(new(265, 0, []));                                                 // E4 BD
        Assert.Equal(("", 0), (assembler.Take(final: false).Text, assembler.Take(final: false).Tokens.Count));
        assembler.Append(new(266, 0, []));                                                 // A0 '!'
        var (text, tokens) = assembler.Take(final: false);

        Assert.Equal("你!", text);
        Assert.Equal([2, 2], tokens.Select(t => t.Chosen.Bytes.Length));
    }

    private static Gen<string> OneOf(params string[] values) => Gen.Int[0, values.Length - 1].Select(i => values[i]);

    private static ChosenToken Token(char c) => new(c + 4, -1, []);

    private static (string Text, List<string> Pieces, List<EmittedToken> Tokens, bool Stopped) Run(int[] ids, string[] stops)
    {
        var assembler = new TextAssembler(Tokens, stops);
        var pieces = new List<string>();
        var tokens = new List<EmittedToken>();
        foreach (var id in ids)
        {
            assembler.Append(new(id, 0, []));
            Add(assembler.Take(final: false));
            if (assembler.IsStopped) break;
        }
        Add(assembler.Take(final: true));
        return (string.Concat(pieces), pieces, tokens, assembler.IsStopped);

        void Add((string Text, IReadOnlyList<EmittedToken> Tokens) piece)
        {
            pieces.Add(piece.Text);
            tokens.AddRange(piece.Tokens);
        }
    }
}
