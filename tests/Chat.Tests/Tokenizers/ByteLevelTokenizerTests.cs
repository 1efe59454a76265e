using System.Text;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using CsCheck;

namespace Chat.Tests.Tokenizers;

public class ByteLevelTokenizerTests
{
    private static readonly string Folder = Golden.At("families/tokenizers/a");
    private static readonly TokenizerJson File = TokenizerJson.Load(Path.Combine(Folder, "tokenizer.json"));
    private static readonly ByteLevelTokenizer Tokenizer = new(File, new SpecialTokens(301, 300, 300, 300));

    private static readonly Dictionary<string, int> Ranks = File.Merges.Select((merge, rank) => (merge, rank)).ToDictionary(pair => pair.merge, pair => pair.rank);
    private static readonly string[] Known = [" ", "  ", "\n", "the", " there", "你好", "今天", "<|user|>", "'s", "😀", "\u0301"];

    /// <summary>Any code points, astral and unassigned ones too, with many blanks and the letters the merges know.</summary>
    private static readonly Gen<string> Texts = Gen.OneOf(
            Gen.Int[0, 0x10ffff].Where(Rune.IsValid).Select(value => new Rune(value).ToString()), Gen.Char[' ', '~'].Select(letter => letter.ToString()),
            Gen.Int[0, Known.Length - 1].Select(i => Known[i])).Array[0, 40].Select(string.Concat);

    [Fact]
    public void Golden_cases_agree() => TokenizeGolden.Agrees("families/tokenizers/a");

    [Fact]
    public void Every_text_comes_back_from_its_ids() => Texts.Sample(text => Tokenizer.Decode(Tokenizer.Encode(text), skipSpecial: true) == text, iter: 2000);

    [Fact]
    public void The_bytes_of_the_tokens_are_the_bytes_of_the_text() => Texts.Sample(text =>
        Tokenizer.Encode(text).SelectMany(id => Tokenizer.Bytes(id).ToArray()).SequenceEqual(Encoding.UTF8.GetBytes(text)), iter: 2000);

    [Fact]
    public void Merging_agrees_with_the_slow_reference() => Texts.Sample(text => Tokenizer.Encode(text).SequenceEqual(Reference(text)), iter: 500);

    [Fact]
    public void A_special_token_in_a_text_is_text()
    {
        Assert.DoesNotContain(301, Tokenizer.Encode("<|user|> hi"));
        Assert.Equal(301, Tokenizer.EncodeWithAdded("<|user|> hi", template: true)[0]);
        Assert.Empty(Tokenizer.Bytes(301).ToArray());
    }

    [Fact]
    public void Half_a_surrogate_pair_becomes_the_replacement_character() => Assert.Equal("a\ufffdb", Tokenizer.Decode(Tokenizer.Encode("a\ud83db"), skipSpecial: true));

    [Fact]
    public void A_code_point_that_cannot_be_normalized_stays_as_it_is()
    {
        var composing = new ByteLevelTokenizer(File with { Normalizers = [text => UnicodeForm.Of(text, NormalizationForm.FormC)] }, new SpecialTokens(301, 300, 300, 300));

        Assert.Equal("é\ufffeé", composing.Decode(composing.Encode("e\u0301\ufffee\u0301"), skipSpecial: true));
    }

    [Fact]
    public void An_id_outside_the_vocabulary_is_an_error() => Assert.Throws<ArgumentOutOfRangeException>(() => Tokenizer.Bytes(302).Length);

    [Fact]
    public void Whole_pieces_of_the_vocabulary_are_taken_as_they_are_when_merges_are_ignored()
    {
        // «Ġxy» is in the vocabulary, but no merge leads to it.
        var file = Changed(root =>
        {
            root["model"]!["vocab"]!["Ġxy"] = 302;
            root["model"]!["ignore_merges"] = true;
        });
        Assert.Equal([302], file.Encode(" xy"));
        Assert.NotEqual([302], Changed(root => root["model"]!["vocab"]!["Ġxy"] = 302).Encode(" xy"));
    }

    [Fact]
    public void Added_tokens_swallow_the_blanks_they_are_told_to_and_the_longest_wins()
    {
        var file = Changed(root => root["added_tokens"] = JsonNode.Parse("""
            [{"id":300,"content":"<a>","lstrip":true,"rstrip":false,"special":true},{"id":301,"content":"<b>","lstrip":false,"rstrip":true,"special":false},{"id":302,"content":"<b>c","special":true}]
            """));
        Assert.Equal([.. Encode("x"), 300, .. Encode(" y")], file.EncodeWithAdded("x  <a> y", template: true));
        Assert.Equal([.. Encode("x "), 301, .. Encode("y")], file.EncodeWithAdded("x <b>  y", template: true));
        Assert.Equal([302], file.EncodeWithAdded("<b>c", template: true));
        Assert.Equal("<b>", file.Decode([300, 301, 302], skipSpecial: true));

        static IEnumerable<int> Encode(string text) => Tokenizer.Encode(text);
    }

    [Fact]
    public void A_template_and_a_normaliser_do_what_they_say()
    {
        var file = Changed(root =>
        {
            root["normalizer"] = JsonNode.Parse("""{"type":"NFC"}""");
            root["post_processor"] = JsonNode.Parse("""
                {"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|user|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
                "pair":[],"special_tokens":{"<|user|>":{"id":"<|user|>","ids":[301],"tokens":["<|user|>"]}}}]}
                """);
        });
        Assert.Equal([301, .. Tokenizer.Encode("é")], file.EncodeWithAdded("e\u0301", template: true));
        Assert.Equal(Tokenizer.Encode("é"), file.EncodeWithAdded("e\u0301", template: false));
    }

    [Fact]
    public void Letters_beyond_the_basic_plane_are_letters()
    {
        Assert.Equal(["𝔘𝔫𝔦", " 12", " 😀😀"], new TextSplitter(TextSplitter.Gpt2).Split("𝔘𝔫𝔦 12 😀😀"));
        Assert.Equal(["a𠀀b", "!"], new TextSplitter(TextSplitter.Gpt2).Split("a𠀀b!"));
    }

    [Theory]
    [InlineData("model", """{"type":"Unigram","vocab":[]}""", "unsupported")]
    [InlineData("model", """{"type":"BPE","byte_fallback":true,"vocab":{},"merges":[]}""", "unsupported")]
    [InlineData("model", """{"type":"BPE","vocab":{"a":0},"merges":[]}""", "bad_config")]
    [InlineData("model", """{"type":"BPE","vocab":{"a":-1},"merges":[]}""", "bad_config")]
    [InlineData("model", """{"type":"BPE","vocab":{"a":"b"},"merges":[]}""", "bad_config")]
    [InlineData("model", """{"type":"BPE","vocab":[],"merges":[]}""", "bad_config")]
    [InlineData("model", "null", "bad_config")]
    [InlineData("added_tokens", """[{"id":99999999,"content":"x"}]""", "bad_config")]
    [InlineData("pre_tokenizer", """{"type":"Whitespace"}""", "unsupported")]
    [InlineData("pre_tokenizer", "null", "unsupported")]
    [InlineData("pre_tokenizer", """{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"},{"type":"ByteLevel"}]}""", "bad_config")]
    [InlineData("pre_tokenizer", """{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"String":" "},"behavior":"Removed"},{"type":"ByteLevel"}]}""", "unsupported")]
    [InlineData("normalizer", """{"type":"BertNormalizer"}""", "unsupported")]
    [InlineData("post_processor", """{"type":"BertProcessing"}""", "unsupported")]
    [InlineData("added_tokens", """[{"id":300,"content":""}]""", "bad_config")]
    [InlineData("added_tokens", """[{"id":300,"content":"x","single_word":true}]""", "unsupported")]
    public void What_is_not_known_is_refused(string key, string json, string kind) =>
        Assert.Equal(kind, Assert.Throws<CheckpointException>(() => Changed(root => root[key] = JsonNode.Parse(json))).Kind);

    [Theory]
    [InlineData("\"q z\"")]
    [InlineData("\"q\"")]
    [InlineData("\"q z y\"")]
    [InlineData("[\"Ġ\",\"nowhere\"]")]
    [InlineData("7")]
    public void A_merge_of_unknown_tokens_is_refused(string merge) =>
        Assert.Equal("bad_config", Assert.Throws<CheckpointException>(() => Changed(root => root["model"]!["merges"]!.AsArray().Add(JsonNode.Parse(merge)))).Kind);

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{\"model\":{")]
    public void What_is_no_tokenizer_file_is_refused(string text)
    {
        using var folder = new TemporaryFolder();
        System.IO.File.WriteAllText(folder.At("tokenizer.json"), text);
        Assert.Equal("bad_config", Assert.Throws<CheckpointException>(() => TokenizerJson.Load(folder.At("tokenizer.json"))).Kind);
    }

    private static ByteLevelTokenizer Changed(Action<JsonNode> change)
    {
        var root = Golden.Read("families/tokenizers/a/tokenizer.json");
        change(root);
        using var folder = new TemporaryFolder();
        System.IO.File.WriteAllText(folder.At("tokenizer.json"), root.ToJsonString());
        return new ByteLevelTokenizer(TokenizerJson.Load(folder.At("tokenizer.json")), new SpecialTokens(0, 0, 0, 0));
    }

    /// <summary>BPE by its definition: as long as there is a pair with a merge, the best ranked one is merged, leftmost first.</summary>
    private static IEnumerable<int> Reference(string text)
    {
        foreach (var piece in File.Splitters[0].Split(text))
        {
            var parts = ByteLevelAlphabet.Write(piece).Select(letter => letter.ToString()).ToList();
            while (true)
            {
                var best = Enumerable.Range(0, parts.Count - 1).Where(i => Ranks.ContainsKey($"{parts[i]} {parts[i + 1]}")).OrderBy(i => Ranks[$"{parts[i]} {parts[i + 1]}"]).Cast<int?>().FirstOrDefault();
                if (best is not { } at) break;
                parts[at] += parts[at + 1];
                parts.RemoveAt(at + 1);
            }
            foreach (var part in parts) yield return File.Vocabulary[part];
        }
    }
}
