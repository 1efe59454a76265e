using System.Text;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;

namespace Chat.Tests.Tokenizers;

public class EvaTokenizerTests
{
    private static readonly EvaTokenizer Tokenizer = EvaTokenizer.Load(Golden.At("eva/vocab.txt"));
    private static readonly EvaTokenizer Published = EvaTokenizer.Load(Golden.At("eva/published/vocab.txt"));

    public static TheoryData<JsonNode> Cases => [.. Golden.Read("eva/published/tokenize.json").AsArray().Select(one => one!)];

    [Fact]
    public void Special_ids_are_the_vocabularys_lines() => Assert.Equal(new SpecialTokens(62, 4, 5, 0), Tokenizer.Special);

    [Fact]
    public void The_published_vocabulary_has_the_ids_that_EVA2_was_trained_with()
    {
        Assert.Equal(30_000, Published.VocabularySize);
        Assert.Equal(new SpecialTokens(Start: 29_810, Separator: 4, Pad: 5, Unknown: 0), Published.Special);
        Assert.Equal("<unk><s></s>\n<sep><pad><mask><eod>", Published.Text(Enumerable.Range(0, 8)));
        Assert.Equal("<s_189>", Published.Text([29_999]));
        Assert.Equal("", Published.Text([8]));
        Assert.Equal(" "u8, Published.Bytes(10));
        Assert.Equal("\n"u8, Published.Bytes(3));
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Words_and_ids_are_those_of_jieba_and_of_the_reference(JsonNode one)
    {
        var (text, ids) = ((string)one["text"]!, one["ids"]!.AsArray().Select(id => (int)id!).ToArray());

        Assert.Equal(one["words"]!.AsArray().Select(word => (string)word!), JiebaWords.Cut(EvaTokenizer.Normalise(text)));
        Assert.Equal(ids, Published.Encode(text));
        Assert.Equal((string)one["decoded"]!, Published.Text(ids));
    }

    [Fact]
    public void A_text_without_unknown_comes_back_as_its_normalised_form()
    {
        var known = 0;
        foreach (var line in File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Corpora", "small-talk-zh.txt")).Where(line => line.Length > 0).Take(1500))
        {
            var ids = Published.Encode(line);
            if (ids.Contains(Published.Special.Unknown)) continue;
            known++;
            Assert.Equal(EvaTokenizer.Normalise(line), Published.Text(ids));
        }
        Assert.True(known > 1400, $"Only {known} lines hold no unknown character.");
    }

    [Theory]
    [InlineData("m1")]
    [InlineData("m2")]
    public void The_reference_decodes_to_the_same_texts(string model)
    {
        foreach (var one in Golden.Read($"eva/models/{model}/decode.json")["cases"]!.AsArray())
            foreach (var (ids, text) in one!["expected"]!["best_ids"]!.AsArray().Zip(one["expected"]!["best_text"]!.AsArray()))
                Assert.Equal((string)text!, Tokenizer.Text(ids!.AsArray().Select(id => (int)id!)));
    }

    [Fact]
    public void A_text_of_known_entries_comes_back_from_its_ids()
    {
        var random = new Random(4);
        var plain = Enumerable.Range(0, Tokenizer.VocabularySize).Where(id => Tokenizer.Bytes(id).Length > 0).ToArray();
        var known = 0;
        for (var i = 0; i < 200; i++)
        {
            var text = Tokenizer.Text(Enumerable.Range(0, 12).Select(_ => plain[random.Next(plain.Length)]));
            var ids = Tokenizer.Encode(text);
            if (ids.Contains(Tokenizer.Special.Unknown)) continue;      // a word cut where no entry begins, as in the reference
            known++;
            var back = EvaTokenizer.Normalise(text);
            Assert.Equal(back, Tokenizer.Text(ids));
            Assert.Equal(Encoding.UTF8.GetBytes(back), ids.SelectMany(id => Tokenizer.Bytes(id).ToArray()));
        }
        Assert.True(known > 50, $"Only {known} texts had no unknown entry.");
    }

    [Fact]
    public void The_longest_entry_is_taken_and_what_is_unknown_is_unknown()
    {
        var tokenizer = new EvaTokenizer(["<s_0>", "<sep>", "<pad>", "<unk>", "a", "ab", "abc", "▂", "▃", ""]);
        Assert.Equal([6, 4, 5, 7, 4, 8, 3, 5], tokenizer.Encode("abcaab a\n😀ab"));
        Assert.Equal([4, 8, 4], tokenizer.Encode("a\r\na"));
        Assert.DoesNotContain(1, tokenizer.Encode("<sep>"));        // nobody can forge a turn
    }

    [Fact]
    public void An_entry_reaches_over_no_border_of_a_word()
    {
        // jieba: 我 / 喜欢 / 北京; the vocabulary's longest prefix would be 我喜.
        var tokenizer = new EvaTokenizer(["<s_0>", "<sep>", "<pad>", "<unk>", "我喜", "我", "喜", "喜欢", "欢", "北京"]);
        Assert.Equal([5, 7, 9], tokenizer.Encode("我喜欢北京"));
    }

    [Fact]
    public void A_word_of_more_than_200_characters_is_one_unknown()
    {
        var tokenizer = new EvaTokenizer(["<s_0>", "<sep>", "<pad>", "<unk>", "a", "▂"]);
        Assert.Equal(Enumerable.Repeat(4, 200), tokenizer.Encode(new string('a', 200)));
        Assert.Equal([3], tokenizer.Encode(new string('a', 201)));
    }

    [Fact]
    public void Long_texts_are_cut_into_the_same_words_as_their_sentences()
    {
        string[] sentences = ["我来到北京清华大学。", "hello world\n", "永和服装饰品有限公司，", "3.5%的人。", "😀好！"];
        var random = new Random(7);
        var parts = Enumerable.Range(0, 400).Select(_ => sentences[random.Next(sentences.Length)]).ToArray();

        Assert.Equal(parts.SelectMany(JiebaWords.Cut), JiebaWords.Cut(string.Concat(parts)));
        var run = string.Concat(Enumerable.Repeat("好人", 100_000));
        Assert.Equal(run, string.Concat(JiebaWords.Cut(run)));
    }

    [Fact]
    public void A_vocabulary_with_an_entry_twice_or_without_a_special_one_is_refused()
    {
        Assert.Contains("lines 5 and 6", Assert.Throws<CheckpointException>(() => new EvaTokenizer(["<s_0>", "<sep>", "<pad>", "<unk>", "a", "a"])).Message, StringComparison.Ordinal);
        Assert.Contains("<sep>", Assert.Throws<CheckpointException>(() => new EvaTokenizer(["<s_0>", "<pad>", "<unk>", "a"])).Message, StringComparison.Ordinal);
    }
}
