using Chat.Training.Evaluation;

namespace Chat.Tests.Training;

public class MetricTests
{
    [Theory]
    [InlineData("你好", "你好", 1), InlineData("你好吗", "你好", 0.8), InlineData("abc", "xyz", 0), InlineData("", "abc", 0), InlineData("a b", "ba", 1), InlineData("aaa", "a", 0.5)]
    public void Character_F1(string reply, string reference, double expected) => Assert.Equal(expected, TextMetrics.CharacterF1(reply, reference), 12);

    [Fact]
    public void Distinct_counts_grams_within_replies_over_all_of_them()
    {
        Assert.Equal(3.0 / 5, TextMetrics.Distinct(["aba", "ca"], 1), 12);
        Assert.Equal(1, TextMetrics.Distinct(["aba", "ca"], 2), 12);
        Assert.Equal(0, TextMetrics.Distinct(["ab"], 3));
    }

    [Theory]
    [InlineData("白日依山尽", "黄河入海流", true), InlineData("白日依山尽", "黄河入海流。", true), InlineData("白日依山尽", "黄河入海", false), InlineData("白日依山尽", "黄河入海流 x", false)]
    public void A_couplet_has_equal_lines(string upper, string lower, bool expected) => Assert.Equal(expected, TextMetrics.MatchesCouplet(upper, lower));

    [Fact]
    public void Prompts_have_a_language_and_a_kind()
    {
        var prompts = PromptFile.Parse(["# remark", "[en greeting]", "Hello!", "", "[zh couplet]", "白日依山尽"]);

        Assert.Equal([new Prompt("en", "greeting", "Hello!"), new Prompt("zh", "couplet", "白日依山尽")], prompts);
        Assert.Throws<InvalidDataException>(() => PromptFile.Parse(["Hello!"]));
        Assert.Throws<InvalidDataException>(() => PromptFile.Parse(["[fr greeting]", "Salut"]));
    }

    [Fact]
    public void The_shipped_prompts_are_at_least_fifty_a_language_and_couplets_of_both_lengths()
    {
        var prompts = PromptFile.Parse(File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "Evaluation", "prompts.txt")));

        Assert.Equal([("en", 50), ("zh", 60)], prompts.CountBy(p => p.Language).Select(c => (c.Key, c.Value)));
        Assert.Equal(110, prompts.Distinct().Count());
        Assert.Equal([(5, 10), (7, 10)], prompts.Where(p => p.Kind == "couplet").CountBy(p => p.Text.Length).Select(c => (c.Key, c.Value)));
    }
}
