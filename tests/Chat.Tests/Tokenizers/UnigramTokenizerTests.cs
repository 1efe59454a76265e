using System.Text;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using CsCheck;

namespace Chat.Tests.Tokenizers;

/// <summary>SentencePiece's Unigram from tokenizer.json. The golden answers are those of Hugging Face's tokenizers 0.23.2 for the files beside them, which were made for these tests.</summary>
public sealed class UnigramTokenizerTests : IDisposable
{
    private static readonly SpecialTokens Special = new(0, 1, 0, 0);
    private static readonly HuggingFaceTokenizer T5 = TokenizerFiles.LoadJson(Golden.At("unigram/t5/tokenizer.json"), Special);
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("t5"), InlineData("first"), InlineData("bytes"), InlineData("never")]
    public void Golden_cases_agree(string name) => TokenizeGolden.Agrees($"unigram/{name}");

    [Theory]
    [InlineData("abcdacdxx", "abcd a cd xx", "a:0 b:0 c:0 d:0 cd:1 ab:2 abc:5 abcd:10")]
    [InlineData("abc", "abc", Longer)]
    [InlineData("AB", "AB", Longer)]
    [InlineData("abcd", "ab cd", Longer)]
    [InlineData("abcc", "abc c", Longer)]
    [InlineData("xabcabaabcdd", "x abc ab a ab cd d", Longer)]
    [InlineData("xyz東京", "xyz東京", Longer)]
    [InlineData("abABCcd", "ab ABC cd", Longer)]
    [InlineData("ababcdabcdcd", "ab abcdabcd cd", Longer)]
    [InlineData("abqrcd", "ab q r cd", Longer)]
    public void Cuts_are_those_of_the_tests_of_Hugging_Faces_model(string text, string cut, string pieces)
    {
        var tokenizer = Plain([.. pieces.Split(' ').Select(piece => (piece.Split(':')[0], double.Parse(piece.Split(':')[1], System.Globalization.CultureInfo.InvariantCulture)))]);
        Assert.Equal(cut.Split(' '), tokenizer.Encode(text).Select(id => id == 0 ? cut.Split(' ').Single(part => !pieces.Contains(part + ":", StringComparison.Ordinal)) : Encoding.UTF8.GetString(tokenizer.Bytes(id))));
    }

    private const string Longer = "ab:0 cd:-0.1 abc:-0.2 a:-0.3 b:-0.4 c:-0.5 ABC:-0.5 abcdabcd:20 q:20.5 r:20.5 qr:-0.5 d:-9";

    [Fact]
    public void The_cut_is_the_best_of_all_cuts() => Gen.Select(Words.Array[0, 20], Gen.Double[-12, 3].Array[20], Words.Array[0, 5]).Sample((pieces, scores, text) =>
    {
        (string, double)[] vocabulary = [.. pieces.Distinct().Zip(scores)];
        var tokenizer = Plain(vocabulary);
        var written = string.Concat(text);
        var unknown = vocabulary.Select(piece => piece.Item2).Append(0).Min() - 10;
        // Neighbours that are unknown are one token, which says how often the penalty was paid.
        var found = tokenizer.Encode(written);
        Assert.Equal(Best(written, vocabulary.ToDictionary(), unknown).Score, found.Sum(id => id == 0 ? 0 : vocabulary[id - 1].Item2) + unknown * Unknown(written, found), 1e-9);

        int Unknown(string all, IReadOnlyList<int> ids) => all.EnumerateRunes().Count() - ids.Where(id => id > 0).Sum(id => vocabulary[id - 1].Item1.EnumerateRunes().Count());
    }, iter: 3000);

    /// <summary>All cuts, by trying every first piece; a character is unknown only where it is no piece.</summary>
    private static (double Score, int Cuts) Best(string text, Dictionary<string, double> pieces, double unknown)
    {
        if (text.Length == 0) return (0, 1);
        var first = text.EnumerateRunes().First().ToString();
        var starts = pieces.Where(piece => text.StartsWith(piece.Key, StringComparison.Ordinal)).Select(piece => (piece.Key, piece.Value)).ToList();
        if (!pieces.ContainsKey(first)) starts.Add((first, unknown));
        var ways = starts.Select(start => (start.Item2, Best(text[start.Key.Length..], pieces, unknown))).ToArray();
        return (ways.Max(way => way.Item1 + way.Item2.Score), ways.Sum(way => way.Item2.Cuts));
    }

    private static Gen<string> OneOf(params string[] choices) => Gen.Int[0, choices.Length - 1].Select(i => choices[i]);

    private static readonly Gen<string> Words = OneOf("a", "b", "é", "你", "😀", "ab", "ba", "aab", "你好", "b😀").Array[1, 3].Select(string.Concat);

    private static readonly Gen<string> Texts = Gen.OneOf(Gen.Int[0, 0x10ffff].Where(Rune.IsValid).Select(value => new Rune(value).ToString()), Gen.Char[' ', '~'].Select(letter => letter.ToString()),
        OneOf(" ", "  ", "the", " there", "你好", "</s>", "<extra_id_3>", "\r\n", "\u0301", "▁")).Array[0, 40].Select(string.Concat);

    [Fact]
    public void Special_tokens_in_a_text_are_text_whatever_it_is_normalized_to()
    {
        Texts.Sample(text => T5.Encode(text + "</s><pad><extra_id_0>").All(id => id == 2 || T5.Bytes(id).Length > 0), iter: 1000);
        Assert.DoesNotContain(1, T5.Encode("＜/s＞"));                                       // the map makes «</s>» of it
        Assert.Equal(1, T5.EncodeWithAdded("</s>", template: false).Single());
    }

    [Fact]
    public void With_tokens_for_bytes_a_text_loses_nothing_but_what_is_normalized()
    {
        var root = Golden.Read("unigram/bytes/tokenizer.json");
        root["normalizer"] = null;
        var tokenizer = Changed(root);
        Texts.Where(text => !text.Contains('▁', StringComparison.Ordinal) && !text.StartsWith(' ')).Sample(text => tokenizer.Decode(tokenizer.Encode(text), skipSpecial: true) == text, iter: 1000);
    }

    [Theory]
    [InlineData("t5"), InlineData("first"), InlineData("bytes"), InlineData("never")]
    public void A_streamed_text_is_the_decoded_one(string name)
    {
        var tokenizer = TokenizerFiles.LoadJson(Golden.At($"unigram/{name}/tokenizer.json"), Special);
        Texts.Sample(text =>
        {
            var ids = tokenizer.EncodeWithAdded(text, template: true);
            var (bytes, hasBegun) = (new List<byte>(), false);
            foreach (var id in ids)
            {
                bytes.AddRange(hasBegun ? tokenizer.Bytes(id) : tokenizer.FirstBytes(id));
                hasBegun |= tokenizer.Bytes(id).Length > 0;
            }
            Assert.Equal(tokenizer.Decode(ids, skipSpecial: true), Encoding.UTF8.GetString([.. bytes]));
        }, iter: 500);
    }

    [Fact]
    public void A_long_run_of_blanks_before_tokens_that_swallow_them_is_no_burden()
    {
        var tokenizer = TokenizerFiles.LoadJson(Golden.At("unigram/first/tokenizer.json"), Special);
        var sentinel = tokenizer.FindAdded("<extra_id_0>")!.Value;
        Assert.Equal([sentinel, sentinel], tokenizer.EncodeWithAdded($"{new string(' ', 200_000)}<extra_id_0>{new string('\t', 200_000)}<extra_id_0>{new string(' ', 200_000)}", template: false));
    }

    [Theory]
    [InlineData("model/unk_id", "null", "bad_config")]
    [InlineData("model/unk_id", "663", "bad_config")]
    [InlineData("model/vocab", "[]", "bad_config")]
    [InlineData("model/vocab", """[["<pad>",0],["</s>",0],[]]""", "bad_config")]
    [InlineData("model/vocab", """[["<pad>",0],["</s>"],["<unk>",0]]""", "bad_config")]
    [InlineData("model/vocab", """[["<pad>",0],["</s>",0],["<unk>","0"]]""", "bad_config")]
    [InlineData("model/vocab", """[["<pad>",0],["</s>",0],["<unk>",0],["",0]]""", "bad_config")]
    [InlineData("model/vocab", """[["<pad>",0],["</s>",0],["<unk>",0],[null,0]]""", "bad_config")]
    [InlineData("model/vocab", """[["<pad>",0],["</s>",0],["<unk>",1e999]]""", "bad_config")]
    [InlineData("model/byte_fallback", "1", "bad_config")]
    [InlineData("normalizer", """{"type":"BertNormalizer"}""", "unsupported")]
    [InlineData("normalizer", """{"type":"Replace","pattern":{"Regex":"("},"content":""}""", "bad_config")]
    [InlineData("normalizer", """{"type":"Precompiled","precompiled_charsmap":"%%%"}""", "bad_config")]
    [InlineData("normalizer", """{"type":"Precompiled","precompiled_charsmap":"AAQ="}""", "bad_config")]
    [InlineData("normalizer", """{"type":"Precompiled","precompiled_charsmap":"////////"}""", "bad_config")]
    [InlineData("normalizer", """{"type":"Precompiled"}""", "bad_config")]
    [InlineData("pre_tokenizer", """{"type":"ByteLevel"}""", "unsupported")]
    [InlineData("pre_tokenizer", """{"type":"Metaspace","replacement":"▁","prepend_scheme":"sometimes"}""", "unsupported")]
    [InlineData("pre_tokenizer", """{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","add_prefix_space":false}""", "bad_config")]
    [InlineData("pre_tokenizer", """{"type":"Metaspace","replacement":"▁▁"}""", "bad_config")]
    [InlineData("decoder", "null", "unsupported")]
    [InlineData("decoder", """{"type":"CTC"}""", "unsupported")]
    [InlineData("decoder", """{"type":"Strip","content":" ","start":2,"stop":0}""", "unsupported")]
    [InlineData("post_processor", """{"type":"BertProcessing"}""", "unsupported")]
    [InlineData("added_tokens", """[{"id":1,"content":"</s>","single_word":true}]""", "unsupported")]
    public void What_is_not_known_or_cannot_be_is_refused(string place, string json, string kind)
    {
        var root = Golden.Read("unigram/t5/tokenizer.json");
        var path = place.Split('/');
        path[..^1].Aggregate(root, (node, key) => node[key]!)[path[^1]] = JsonNode.Parse(json);
        Assert.Equal(kind, Assert.Throws<CheckpointException>(() => Changed(root)).Kind);
    }

    private static UnigramTokenizer Plain((string Piece, double Score)[] pieces) =>
        new(new UnigramFile { Pieces = [("<unk>", 0), .. pieces], Unknown = 0, Rules = new() { Surroundings = new([new(0, "<unk>", true, false, false)], [], []) } }, Special);

    private HuggingFaceTokenizer Changed(JsonNode root)
    {
        File.WriteAllText(folder.At("tokenizer.json"), root.ToJsonString());
        return TokenizerFiles.LoadJson(folder.At("tokenizer.json"), Special);
    }
}
