using System.Text;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Decoding.Constraints;
using Chat.Models.Tokenizers;
using CsCheck;

namespace Chat.Tests.Tokenizers;

public sealed class PieceMergeTokenizerTests : IDisposable
{
    private static readonly SpecialTokens Special = new(1, 2, 2, 0);
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory, InlineData("legacy"), InlineData("metaspace"), InlineData("unknown")]
    public void Golden_cases_agree(string name) => TokenizeGolden.Agrees($"pieces/{name}");

    /// <summary>Ranks: a·b 0, b·c 1, ab·c 2, c·d 3.</summary>
    [Theory]
    [InlineData("abcd", "abc d")]
    [InlineData("bcd", "bc d")]
    [InlineData("ababc", "ab abc")]
    [InlineData("aabcabb", "a abc ab b")]
    [InlineData("xéab", "x <0xC3> <0xA9> ab")]
    [InlineData("ccdd", "c cd d")]
    public void Merges_are_made_by_rank_from_the_left(string text, string pieces)
    {
        string[] names = ["<unk>", "a", "b", "c", "d", "x", "ab", "bc", "abc", "cd", .. Enumerable.Range(0, 256).Select(value => $"<0x{value:X2}>")];
        var tokenizer = Made(names, [("a", "b"), ("b", "c"), ("ab", "c"), ("c", "d")]);
        Assert.Equal(pieces, string.Join(' ', tokenizer.Encode(text).Select(id => names[id])));
    }

    [Fact]
    public void Merging_agrees_with_the_slow_reference()
    {
        var letters = Gen.Int[0, 3].Select(i => "abcd"[i].ToString());
        Gen.Select(letters.Array[2, 4].Select(string.Concat).Array[1, 12], Gen.Int[0, 1_000_000], letters.Array[0, 40].Select(string.Concat)).Sample((words, seed, text) =>
        {
            var (random, merges, pieces) = (new Random(seed), new List<(string, string)>(), new List<string> { "a", "b", "c", "d" });
            foreach (var word in words.SelectMany(word => Enumerable.Range(2, word.Length - 1).Select(length => word[..length])).Distinct().OrderBy(word => word.Length))
            {
                // Every way to make a word of known pieces may be a merge, in any order.
                foreach (var at in Enumerable.Range(1, word.Length - 1).Where(at => pieces.Contains(word[..at]) && pieces.Contains(word[at..]) && random.Next(3) > 0)) merges.Add((word[..at], word[at..]));
                if (merges.Any(merge => merge.Item1 + merge.Item2 == word) && !pieces.Contains(word)) pieces.Add(word);
            }
            (string, string)[] order = [.. merges.Distinct().OrderBy(_ => random.Next())];
            string[] names = ["<unk>", .. pieces];
            Assert.Equal(Reference(text, [.. order]), Made(names, order).Encode(text).Select(id => names[id]));
        }, iter: 3000);
    }

    /// <summary>By the definition: as long as there is a pair with a merge, the best ranked one is made, leftmost first.</summary>
    private static List<string> Reference(string text, List<(string, string)> merges)
    {
        var parts = text.Select(letter => letter.ToString()).ToList();
        while (Enumerable.Range(0, Math.Max(0, parts.Count - 1)).Select(at => (Rank: merges.IndexOf((parts[at], parts[at + 1])), At: at)).Where(pair => pair.Rank >= 0).Order().FirstOrDefault((-1, -1)) is (>= 0, var best))
        {
            parts[best] += parts[best + 1];
            parts.RemoveAt(best + 1);
        }
        return parts;
    }

    [Fact]
    public void A_long_text_without_any_cut_is_no_burden()
    {
        var tokenizer = Load("legacy");
        var text = string.Concat(Enumerable.Repeat("the other mother 😀 hhhe", 20_000));       // 480,000 characters; by the square of that it would take hours
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text), skipSpecial: true));
    }

    private static readonly Gen<string> Texts = Gen.OneOf(Gen.Int[0, 0x10ffff].Where(Rune.IsValid).Select(value => new Rune(value).ToString()), Gen.Char[' ', '~'].Select(letter => letter.ToString()),
        Gen.Int[0, 8].Select(i => new[] { " ", "  ", "the", " hello", "你好", "</s>", "<0x0A>", "\r\n", "<more>" }[i])).Array[0, 30].Select(string.Concat);

    [Theory, InlineData("legacy"), InlineData("metaspace")]
    public void With_tokens_for_bytes_a_text_loses_nothing_and_spells_no_special_token(string name)
    {
        var tokenizer = Load(name);
        Texts.Where(text => !text.Contains('▁', StringComparison.Ordinal)).Sample(text =>
        {
            var ids = tokenizer.Encode(text + "</s><s>");
            Assert.DoesNotContain(ids, id => id < 3);
            // A Metaspace that finds a blank at the beginning puts none before it, and the decoder takes one away.
            Assert.Equal((name == "metaspace" && text.StartsWith(' ') ? text[1..] : text) + "</s><s>", tokenizer.Decode(ids, skipSpecial: true));
        }, iter: 1000);
    }

    [Theory, InlineData("legacy"), InlineData("metaspace"), InlineData("unknown")]
    public void A_streamed_text_is_the_decoded_one_wherever_it_is_cut(string name)
    {
        var tokenizer = Load(name);
        Texts.Sample(text =>
        {
            var ids = tokenizer.EncodeWithAdded(text, template: true);
            var (streamed, decoder, hasBegun) = (new StringBuilder(), Encoding.UTF8.GetDecoder(), false);
            foreach (var id in ids)
            {
                var bytes = hasBegun ? tokenizer.Bytes(id) : tokenizer.FirstBytes(id);
                hasBegun |= tokenizer.Bytes(id).Length > 0;
                var letters = new char[bytes.Length + 4];
                streamed.Append(letters, 0, decoder.GetChars(bytes, letters, flush: false));                  // a character of several byte tokens comes with its last
            }
            Assert.Equal(tokenizer.Decode(ids, skipSpecial: true), streamed.ToString());
        }, iter: 500);
    }

    [Fact]
    public void A_reply_is_held_to_a_form_with_tokens_for_bytes()
    {
        var tokenizer = Load("legacy");
        var tokens = TokenTable.From(tokenizer, tokenizer.VocabularySize);
        Assert.Equal("\n"u8, tokens.Bytes(tokenizer.Encode("\n")[^1]));
        Assert.True(tokens.BeginsOtherwise && tokens.WritesEveryByte);

        foreach (var (expression, text) in new[] { ("\\n(the|é)", "\né"), (" {1,2}hello", " hello"), ("hello world", "hello world"), ("你好\\n", "你好\n") })
        {
            var grammar = new Grammar();
            grammar.Define(grammar.NewRule(), RegexReader.Read(expression, isWhole: true));
            var masks = new TokenMasks(new(grammar.Complete()), tokens);
            Assert.True(Writes(masks, tokens, text));
            Assert.False(Writes(masks, tokens, "x" + text));
        }
    }

    /// <summary>Whether tokens that the masks allow spell a text, and the end may follow.</summary>
    private static bool Writes(TokenMasks masks, TokenTable tokens, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        var open = new Stack<(ByteAutomaton.State State, int Said, bool HasBegun)>([(masks.Start, 0, false)]);
        var seen = new HashSet<(int, bool)>();
        while (open.TryPop(out var now))
        {
            var mask = (now.HasBegun ? masks.Of(now.State) : masks.Beginning()).ToArray();
            bool Allows(int id) => (mask[id >> 6] >> (id & 63) & 1) != 0;
            Assert.DoesNotContain(Enumerable.Range(0, tokens.Count), id => Allows(id) && tokens.IsSpecial(id));
            if (now.Said == bytes.Length && Allows(tokens.Separator)) return true;
            for (var id = 0; id < tokens.Count; id++)
                if (id != tokens.Separator && Allows(id) && (now.HasBegun ? tokens.Bytes(id) : tokens.FirstBytes(id)) is var part && bytes.AsSpan(now.Said).StartsWith(part) && seen.Add((now.Said + part.Length, true)))
                    open.Push(((now.HasBegun ? masks.Next(now.State, id) : masks.First(id))!, now.Said + part.Length, true));
        }
        return false;
    }

    [Fact]
    public void A_token_of_a_byte_is_no_word()
    {
        var tokenizer = Load("legacy");
        var tokens = TokenTable.From(tokenizer, tokenizer.VocabularySize);
        Assert.True(tokens.TryFind("a", out var id));
        Assert.Equal(tokenizer.Encode("xa")[^1], id);                                            // not <0x61>, which stands before it in the vocabulary
    }

    [Theory]
    [InlineData("model/merges", """["h"]""", "bad_config")]
    [InlineData("model/merges", """["h e l"]""", "bad_config")]
    [InlineData("model/merges", """[["h"]]""", "bad_config")]
    [InlineData("model/merges", """[["q","z"]]""", "bad_config")]
    [InlineData("model/merges", """[["nowhere","z"]]""", "bad_config")]
    [InlineData("model/vocab", """{"<unk>":0,"a":0}""", "bad_config")]
    [InlineData("model/unk_token", "\"nowhere\"", "bad_config")]
    [InlineData("model/dropout", "0.1", "unsupported")]
    [InlineData("model/end_of_word_suffix", "\"</w>\"", "unsupported")]
    [InlineData("pre_tokenizer", """{"type":"BertPreTokenizer"}""", "unsupported")]
    [InlineData("decoder", "null", "unsupported")]
    [InlineData("decoder", """{"type":"Strip","content":" ","start":1,"stop":0}""", "unsupported")]
    public void What_is_not_known_or_cannot_be_is_refused(string place, string json, string kind)
    {
        var root = Golden.Read("pieces/legacy/tokenizer.json");
        var path = place.Split('/');
        path[..^1].Aggregate(root, (node, key) => node[key]!)[path[^1]] = JsonNode.Parse(json);
        if (place == "model/vocab") root["model"]!["merges"] = new JsonArray();
        File.WriteAllText(folder.At("tokenizer.json"), root.ToJsonString());
        Assert.Equal(kind, Assert.Throws<CheckpointException>(() => TokenizerFiles.LoadJson(folder.At("tokenizer.json"), Special)).Kind);
    }

    private static HuggingFaceTokenizer Load(string name) => TokenizerFiles.LoadJson(Golden.At($"pieces/{name}/tokenizer.json"), Special);

    private static PieceMergeTokenizer Made(string[] names, (string, string)[] merges) => new(new()
    {
        Vocabulary = names.Select((name, id) => (name, id)).ToDictionary(pair => pair.name, pair => pair.id),
        Merges = merges,
        Unknown = "<unk>",
        Rules = new() { Surroundings = new([new(0, "<unk>", true, false, false)], [], []), ByteFallback = true, ReadsBytes = true },
    }, Special);
}
