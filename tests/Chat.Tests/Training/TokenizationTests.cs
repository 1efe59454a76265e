using System.Text;
using Chat.Models.Tokenizers;
using Chat.Training.Tokenization;
using CsCheck;

namespace Chat.Tests.Training;

public class TokenizationTests
{
    private static readonly string[] Texts =
    [
        "The king of the north has come to the river. The river is wide, the king is old.", "我们必须在天黑之前渡过这条河。我们没有时间了。",
        "Who goes there? It's only me, the old king's man.", "兽人来了！精灵在哪里？我们的国王已经老了。", "明月松间照，清泉石上流。", "Debian系统 has 2 packages, they're 100% free.",
    ];

    private static readonly BytePairs Pairs = Train(120);

    [Fact]
    public void Merges_are_those_of_the_slow_obvious_trainer()
    {
        Assert.Equal(SlowTrainer(Texts, 120), Pairs.Merges);
    }

    [Fact]
    public void The_written_file_read_by_the_product_gives_the_same_ids()
    {
        using var file = new TemporaryFile(TokenizerFile.ToJson(Pairs));
        var product = new ByteLevelTokenizer(TokenizerJson.Load(file.Path), TokenizerFile.Tokens);
        var ours = new BytePairEncoder(Pairs);

        Assert.Equal(product.VocabularySize, ours.VocabularySize);
        foreach (var text in Texts) Assert.Equal(product.Encode(text), ours.Encode(text));
        Gen.String[Gen.OneOf(Gen.Char[' ', 'z'], Gen.Char['一', '龟'], Gen.Char["王国河 \n\t'sé，。０1"]), 0, 60]
            .Sample(text => Assert.Equal(product.Encode(text), ours.Encode(text)), iter: 300, threads: 1);     // the encoder remembers words: one thread
    }

    [Fact]
    public void What_was_written_is_read_back()
    {
        Assert.Equal(Pairs.Merges, TokenizerFile.Read(TokenizerFile.ToJson(Pairs)).Merges);
    }

    [Fact]
    public void Words_together_are_the_text()
    {
        Gen.String[Gen.OneOf(Gen.Char[' ', 'z'], Gen.Char['一', '龟'], Gen.Char[" \n\t'é，。1"]), 0, 80].Sample(text =>
        {
            var joined = new StringBuilder();
            foreach (var word in PreTokenizer.Words(text)) joined.Append(text.AsSpan(word.Index, word.Length));
            Assert.Equal(text, joined.ToString());
        }, iter: 500);
    }

    [Fact]
    public void Each_Han_character_and_each_digit_stands_alone()
    {
        const string Text = "Debian系统和2020年, ok";

        var words = new List<string>();
        foreach (var word in PreTokenizer.Words(Text)) words.Add(Text.Substring(word.Index, word.Length));

        Assert.Equal(["Debian", "系", "统", "和", "2", "0", "2", "0", "年", ",", " ok"], words);
    }

    private static BytePairs Train(int merges)
    {
        var trainer = new BytePairTrainer();
        foreach (var text in Texts) trainer.Add(text);
        return trainer.Train(merges);
    }

    /// <summary>Counts all pairs of all words anew for every merge.</summary>
    private static List<(int, int)> SlowTrainer(IEnumerable<string> texts, int merges)
    {
        var words = new List<List<int>>();
        foreach (var text in texts)
            foreach (var word in PreTokenizer.Words(text)) words.Add([.. Encoding.UTF8.GetBytes(text.Substring(word.Index, word.Length)).Select(b => (int)b)]);
        var result = new List<(int, int)>();
        while (result.Count < merges)
        {
            var best = words.SelectMany(w => w.Zip(w.Skip(1))).GroupBy(p => p).OrderByDescending(g => g.Count()).ThenBy(g => g.Key.First).ThenBy(g => g.Key.Second).First();
            if (best.Count() < 2) break;
            foreach (var word in words)
            {
                for (var i = 0; i + 1 < word.Count; i++)
                {
                    if (word[i] != best.Key.First || word[i + 1] != best.Key.Second) continue;
                    word[i] = 256 + result.Count;
                    word.RemoveAt(i + 1);
                }
            }
            result.Add(best.Key);
        }
        return result;
    }
}
