using System.Text;
using Chat.Models.Tokenizers;

namespace Chat.Tests.Tokenizers;

public class EvaTokenizerTests
{
    private static readonly EvaTokenizer Tokenizer = EvaTokenizer.Load(Golden.At("eva/vocab.txt"));

    [Fact]
    public void Special_ids_are_the_vocabularys_lines() => Assert.Equal(new SpecialTokens(62, 4, 5, 0), Tokenizer.Special);

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
        for (var i = 0; i < 200; i++)
        {
            var text = Tokenizer.Text(Enumerable.Range(0, 12).Select(_ => plain[random.Next(plain.Length)]));
            var ids = Tokenizer.Encode(text);
            Assert.Equal(text, Tokenizer.Text(ids));
            Assert.Equal(Encoding.UTF8.GetBytes(text), ids.SelectMany(id => Tokenizer.Bytes(id).ToArray()));
        }
    }

    [Fact]
    public void The_longest_entry_is_taken_and_what_is_unknown_is_unknown()
    {
        var tokenizer = new EvaTokenizer(["<s_0>", "<sep>", "<pad>", "<unk>", "a", "ab", "abc", "▂", "▃", ""]);
        Assert.Equal([6, 4, 5, 7, 4, 8, 3, 5], tokenizer.Encode("abcaab a\n😀ab"));
        Assert.DoesNotContain(1, tokenizer.Encode("<sep>"));        // nobody can forge a turn
    }
}
