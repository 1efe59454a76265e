using System.Text;
using Chat.Models.Decoding;
using Chat.Models.Decoding.Rules;
using CsCheck;

namespace Chat.Tests.Decoding;

public sealed class RuleTests
{
    private static TokenTable Eva => EvaGoldenTests.Tokens;

    /// <summary>0 pad, 1 end, 2 start; each Han character a token, one of them also in two parts; two in one; marks; a word.</summary>
    private static readonly TokenTable Verse = VerseTokens(["山", "水", "云", "月", "风"], "花"u8.ToArray()[..2], "花"u8.ToArray()[2..], Encoding.UTF8.GetBytes("明月"), Encoding.UTF8.GetBytes("，"), Encoding.UTF8.GetBytes("。"), "yes"u8.ToArray());

    private static TokenTable VerseTokens(string[] characters, params byte[][] others)
    {
        byte[][] bytes = [[], [], [], .. characters.Select(Encoding.UTF8.GetBytes), .. others];
        var strict = new UTF8Encoding(false, true);
        string Text(byte[] b, int id)
        {
            try { return b.Length == 0 ? $"<{id}>" : strict.GetString(b); }
            catch (DecoderFallbackException) { return $"\uFFFE{id}\uFFFE"; }
        }
        return new([.. bytes.Select(Text)], bytes, separator: 1);
    }

    [Fact]
    public void A_line_of_verse_is_answered_by_one_as_long_or_by_prose()
    {
        var rule = new EqualLinesRule();
        Gen.Select(Gen.OneOf(Gen.Const(5), Gen.Const(7)), Gen.Int[3, 7].Array[7], Gen.Int[0, 1_000_000]).Sample((length, line, seed) =>
        {
            int[] dialogue = [3, 1, .. line[..length], 1, 2];
            var row = rule.Start(new() { EqualLines = true }, Verse, dialogue);
            Assert.NotNull(row);

            var random = new Random(seed);
            var reply = new List<int>();
            while (reply.Count < 40)
            {
                float[] scores = [.. Enumerable.Range(0, Verse.Count).Select(id => id is 0 or 2 ? float.NegativeInfinity : random.NextSingle() * 8)];
                if (reply.Count > 0 && reply[^1] == 8) for (var id = 0; id < scores.Length; id++) if (id != 9) scores[id] = float.NegativeInfinity;     // a character begun is ended
                else scores[9] = float.NegativeInfinity;
                row.Apply(scores, [.. reply]);
                var best = Array.IndexOf(scores, scores.Max());
                if (best == 1) break;
                reply.Add(best);
            }
            var text = Encoding.UTF8.GetString([.. reply.SelectMany(id => Verse.Bytes(id).ToArray())]);
            if (text.EnumerateRunes().All(c => TokenTable.IsHan(c.Value))) Assert.Equal(length, text.Length);
        }, iter: 2000);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(6)]
    [InlineData(8)]
    public void Lines_of_other_lengths_are_left_alone(int length) =>
        Assert.Null(new EqualLinesRule().Start(new() { EqualLines = true }, Verse, new[] { 3, 1 }.Concat(Enumerable.Repeat(4, length)).Append(1).Append(2).ToArray()));

    [Fact]
    public void What_has_a_mark_is_no_line_of_verse()
    {
        Assert.Null(new EqualLinesRule().Start(new() { EqualLines = true }, Verse, new[] { 3, 4, 5, 6, 7, 12, 1, 2 }));
        Assert.Null(new EqualLinesRule().Start(new(), Verse, new[] { 3, 4, 5, 6, 7, 1, 2 }));
    }

    [Fact]
    public void Order_of_unseen_tokens_stays_and_a_seen_token_never_rises()
    {
        Gen.Select(Gen.Float[-5, 5].Array[10], Gen.Int[1, 9].Array[0, 6], Gen.Float[1, 3]).Sample((row, seen, theta) =>
        {
            var after = row.ToArray();
            RepetitionPenaltyRule.Penalise(after, seen, theta, 0);

            for (var id = 0; id < row.Length; id++)
                if (seen.Contains(id)) Assert.True(after[id] <= row[id]);
                else Assert.Equal(row[id], after[id]);
        });
    }

    [Fact]
    public void Two_penalties_are_one_by_their_product()
    {
        float[] twice = [2, -3, 4], once = [2, -3, 4];
        RepetitionPenaltyRule.Penalise(twice, [1, 2, 2], 1.5f, 0);
        RepetitionPenaltyRule.Penalise(twice, [1, 2], 1.25f, 0);
        RepetitionPenaltyRule.Penalise(once, [1, 2], 1.5f * 1.25f, 0);

        Assert.Equal(once, twice, (a, b) => Math.Abs(a - b) < 1e-5);
    }

    [Fact]
    public void Chain_without_settings_changes_id_0_alone()
    {
        float[] row = [.. Enumerable.Range(0, Eva.Count).Select(i => i * 0.37f - 9)];
        var after = row.ToArray();
        new EvaChain(new(), Eva, new[] { 17, 18, 4, 17 }, []).Apply(after, []);

        Assert.Equal(-50000, after[0]);
        Assert.Equal(row[1..], after[1..]);
    }

    [Fact]
    public void Replies_may_not_end_as_an_earlier_turn_did()
    {
        // 你好吗<sep>我很好吗 → the separator
        Assert.Equal([4], NgramReference.Banned(3, Eva, characters: true, [13, 14, 15, 4, 12, 16, 14, 15]).Where(id => id == 4));
    }

    [Fact]
    public void Both_cuttings_of_a_phrase_are_banned()
    {
        // 今天天气今天 → 天气 and 天; this vocabulary also has 今天天 (59), a whole window
        Assert.Equal([18, 27, 59], NgramReference.Banned(3, Eva, characters: true, [17, 18, 18, 19, 17, 18]).ToArray());
    }

    [Fact]
    public void The_index_agrees_with_the_definition()
    {
        Gen.Select(Gen.Int[0, 63].Array[0, 30], Gen.Int[0, 63].Array[0, 20], Gen.Int[1, 4], Gen.Bool).Sample((dialogue, reply, n, characters) =>
        {
            var index = new NgramIndex(n, Eva, characters, dialogue);
            var forked = index;
            for (var i = 0; i < reply.Length; i++)
            {
                if (i == reply.Length / 2)
                {
                    forked = index.Fork();
                    index.Append(11);                                                      // goes another way; the fork must not notice
                }
                forked.Append(reply[i]);
                Assert.Equal(NgramReference.Banned(n, Eva, characters, [.. dialogue, .. reply[..(i + 1)]]), forked.Banned());
            }
        }, iter: 300);
    }

    [Fact]
    public void Words_of_letters_count_as_one_unit_and_chinese_as_characters()
    {
        var tokens = new TokenTable([" the", "今天", "，", "x1"], [[1], [2], [3], [4]], 2);

        Assert.Equal([" the"], tokens.Units(0).ToArray());
        Assert.Equal(["今", "天"], tokens.Units(1).ToArray());
        Assert.Equal(["x1"], tokens.Units(3).ToArray());
        Assert.Equal(["x", "1"], tokens.CharacterUnits(3).ToArray());
    }

    [Fact]
    public void No_character_3_gram_twice_when_every_entry_is_one_character()
    {
        var catalog = StrategyConformanceTests.Catalog;
        for (var seed = 0; seed < 40; seed++)
        {
            var reply = new ToyModel(seed, 6).Run(new Sample(), new DecodingOptions { NoRepeatNgram = 3, MaxTokens = 40, MinTokens = 20, Seed = seed }, catalog).Ids;

            var grams = Enumerable.Range(0, Math.Max(0, reply.Length - 2)).Select(i => (reply[i], reply[i + 1], reply[i + 2])).ToArray();
            Assert.Equal(grams.Length, grams.Distinct().Count());
        }
    }

    [Fact]
    public void A_bad_word_is_never_said_however_it_is_cut()
    {
        var texts = new[] { "<sep>", "a", "b", "ab", "ba", "c", "cab", "bc" };
        var tokens = new TokenTable(texts, [.. texts.Select((t, i) => i == 0 ? [] : System.Text.Encoding.UTF8.GetBytes(t))], 0);
        var options = new DecodingOptions { BadWords = ["abc", "bb"] };
        Gen.Int[0, 1_000_000].Sample(seed =>
        {
            var rule = new BadWordsRule().Start(options, tokens, default)!;
            var draws = new RandomStream(seed, 0).At(0);
            var reply = new List<int>();
            for (var i = 0; i < 30; i++)
            {
                var row = new float[texts.Length];
                foreach (ref var z in row.AsSpan()) z = (float)draws.Next();
                row[0] = -5;
                rule.Apply(row, reply.ToArray());
                var best = Scores.ArgMax(row);
                if (best == 0) break;
                reply.Add(best);
            }
            var text = string.Concat(reply.Select(id => texts[id]));

            Assert.DoesNotContain("abc", text, StringComparison.Ordinal);
            Assert.DoesNotContain("bb", text, StringComparison.Ordinal);
        }, iter: 200);
    }

    [Fact]
    public void Occurrence_penalties_count_the_reply_alone()
    {
        var row = new float[4];
        new OccurrencePenaltyRule().Start(new() { FrequencyPenalty = 0.5, PresencePenalty = 1 }, Eva, new[] { 3 })!.Apply(row, [1, 2, 1]);

        Assert.Equal([0, -2, -1.5f, 0], row);
    }

    [Fact]
    public void A_row_that_loses_everything_ends()
    {
        float[] row = [1, 2, 3];
        Bans.Ban(row, [0, 1, 2], separator: 1);

        Assert.Equal([float.NegativeInfinity, 0, float.NegativeInfinity], row);
    }
}
