using Chat.Training.Data;
using Chat.Training.Data.Quality;
using CsCheck;

namespace Chat.Tests.Training;

/// <summary>The oracles of the data quality control (section 7 of its method sheet).</summary>
public class QualityTests
{
    private static readonly QualityRecipe Recipe = new(Blacklist: ["你也快来表态吧"], Entertainment: ["粉丝"], DropShare: 0);
    private static readonly RuleChain Chain = new(Recipe);

    /// <summary>Texts that the rules find much in: pieces they look for, and noise between.</summary>
    private static readonly string[] Pieces =
    [
        "哈", "哈哈哈哈", "你好，朋友。", "abc ", "//@小明: 转发", "回复 @小红: ", "@somebody ", "@尾巴", "<br>", "<b", ">", "#话题#", "#", "[图片]", "[", "]", ":smile:", ":",
        "13812345678", "a1381234567890", "me@mail.example.com", "x@y.z", "http://a.b/c?d=e", "QQ：123456", "\uD83D\uDE00", "\u200B", "\uFFFD", "　", " ", "\n", "１２３４５６７８９０１", "！！！！！", "repost",
    ];

    private static readonly Gen<string> Noisy = Gen.Int[0, Pieces.Length - 1].Array[0, 12].Select(picks => string.Concat(picks.Select(i => Pieces[i])));

    public static TheoryData<string> Rules => [.. UtteranceRules.All(Recipe).Select(r => r.Name)];

    [Theory, MemberData(nameof(Rules))]
    public void Every_rule_is_idempotent_and_lengthens_nothing_but_by_its_mark(string name)
    {
        var rule = UtteranceRules.All(Recipe).Single(r => r.Name == name);

        Noisy.Sample(text =>
        {
            if (rule.Clean(text) is not { } once) return;
            Assert.Equal(once, rule.Clean(once));
            if (name is not ("email" or "phone")) Assert.True(once.Length <= text.Length, $"'{text}' became '{once}'");
        }, iter: 500);
    }

    [Fact]
    public void The_chain_is_idempotent_and_lets_no_phone_or_mail_through()
    {
        Noisy.Sample(text =>
        {
            if (Chain.Clean(text).Text is not { } once) return;
            Assert.Equal(once, Chain.Clean(once).Text);
            Assert.DoesNotMatch(@"(?<![0-9])[0-9]{11}(?![0-9])", once);
            Assert.DoesNotMatch(@"[A-Za-z0-9]@[A-Za-z0-9-]+\.[A-Za-z0-9]", once);
        }, iter: 2000);
    }

    [Theory]
    [InlineData("哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈", "哈哈哈")]
    [InlineData("回复 @小明: 我也这么想", "我也这么想")]
    [InlineData("说得好//@小红: 转发这条", "说得好")]
    [InlineData("<a href=x>你好</a>世界", "你好世界")]
    [InlineData("<你好>世界很大", "<你好>世界很大")]
    [InlineData("看这里 http://t.cn/abc 真好", "看这里 真好")]
    [InlineData("看这里http://t.cn/abc真好", "看这里 真好")]
    [InlineData("#话题#你怎么看[微笑]", "你怎么看")]
    [InlineData("电话是１３８１２３４５６７８，找我", "电话是[PHONE]，找我")]
    [InlineData("写信到a.b@c.example.org吧", "写信到[EMAIL]吧")]
    [InlineData("加qq：12345678聊", "加 聊")]
    [InlineData("→ 箭头和√都留着", "→ 箭头和√都留着")]
    [InlineData("笑\uD83D\uDE02一个", "笑一个")]
    public void Rules_rewrite(string before, string after) => Assert.Equal(after, Chain.Clean(before).Text);

    [Theory]
    [InlineData("转发微博", "repost-word"), InlineData("hello there", "han"), InlineData("我", "short"), InlineData("你看 @某人 说的", "mention"), InlineData("你看这个@某人", "mention")]
    [InlineData("你也快来 表态吧！", "blacklist"), InlineData("去去来来去去来来去去来来去去来来", "monotone")]
    public void Rules_empty(string text, string rule) => Assert.Equal(rule, Chain.Clean(text).EmptiedBy);

    [Fact]
    public void An_unknown_rule_in_skip_is_an_error_that_lists_the_known()
    {
        var error = Assert.Throws<ArgumentException>(() => new RuleChain(new QualityRecipe(Skip: ["hann"])));

        Assert.Contains("repost-word", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_goes_in_is_kept_or_dropped_for_one_reason()
    {
        Noisy.Array[1, 6].Array[1, 30].Sample(sessions =>
        {
            var (kept, report) = Run(Recipe with { DropShare = 0.2 }, sessions);

            Assert.Equal(sessions.Sum(s => s.Length), report.In);
            Assert.Equal(report.In, report.Kept + report.Rules.Sum(r => r.Dropped));
            Assert.Equal(report.Kept, kept.Sum(d => d.Turns.Count));
            Assert.All(kept, d => Assert.InRange(d.Turns.Count, 2, int.MaxValue));
        }, iter: 100);
    }

    [Fact]
    public void What_is_kept_is_a_stretch_of_its_session_cleaned()
    {
        Noisy.Array[2, 8].Sample(turns =>
        {
            var cleaned = turns.Select(t => Chain.Clean(t).Text ?? "\0").ToArray();
            foreach (var part in Run(Recipe, [turns]).Kept)
                Assert.Contains(string.Join('\u0001', part.Turns), string.Join('\u0001', cleaned), StringComparison.Ordinal);
        }, iter: 200);
    }

    [Fact]
    public void Noise_turns_only_cut()
    {
        string[] turns = ["你好，朋友。", "你是谁？", "我是这里的国王。", "见到您很高兴。"];
        foreach (var at in Enumerable.Range(0, 5))
        {
            var kept = Run(Recipe, [[.. turns[..at], "repost", .. turns[at..]]]).Kept.SelectMany(d => d.Turns).ToArray();
            Assert.Equal(turns.Where((_, i) => !(at == 1 && i == 0) && !(at == 3 && i == 3)), kept);
        }
    }

    [Fact]
    public void A_long_reply_to_many_posts_is_an_advertisement()
    {
        const string advert = "本店新到各色剑盾盔甲，价格公道，欢迎各位勇士前来选购。";
        var sessions = Enumerable.Range(0, 4).Select(i => new[] { $"第{i}个问题是什么呢？", advert }).Append(["你好吗，我的朋友？", "我很好，谢谢你的关心。"]).ToArray();

        var (kept, report) = Run(Recipe, sessions);

        Assert.Equal("你好吗，我的朋友？", Assert.Single(kept).Turns[0]);
        Assert.Equal(4, report.Rules.Single(r => r.Rule == "advert").Dropped);
        Assert.Equal(4, report.Rules.Single(r => r.Rule == "alone").Dropped);
    }

    [Fact]
    public void The_score_does_not_depend_on_order_and_its_parts_have_mean_0_and_deviation_1()
    {
        // Hundredths: differences so small that their squares vanish are no differences.
        Gen.Select(Gen.Int[0, 500], Gen.Int[-1200, 0], Gen.Int[0, 100]).Select(t => new ScoreParts(t.Item1 / 100.0, t.Item2 / 100.0, t.Item3 / 100.0)).Array[3, 40].Sample(parts =>
        {
            foreach (var weights in new[] { (1, 0, 0), (0, 1, 0), (0, 0, 1) })
            {
                var recipe = Recipe with { Relevance = weights.Item1, Fluency = weights.Item2, EntertainmentWeight = weights.Item3 };
                var scores = parts.Select(new SessionScore(recipe, parts).Of).ToArray();
                Assert.Equal(0, scores.Average(), 9);
                var varies = parts.Select(p => (p.Overlap * weights.Item1, p.Fluency * weights.Item2, p.Entertainment * weights.Item3)).Distinct().Count() > 1;
                Assert.Equal(varies ? 1 : 0, Math.Sqrt(scores.Average(s => s * s)), 9);
                Assert.Equal(scores, parts.Select(new SessionScore(recipe, [.. parts.Reverse()]).Of).ToArray());
            }
        }, iter: 100);
    }

    [Fact]
    public void Overlap_is_0_without_a_shared_word_and_counts_matches_at_power_0()
    {
        string[][] words = [["the", "old", "king"], ["a", "king"], ["the", "king", "the"]];

        Assert.Equal(0, SessionScore.Overlap([["a"], ["b"]], 1, 0.5));
        Assert.Equal(4.0 / 3, SessionScore.Overlap(words, 2, 0), 12);
        Assert.Equal((3 * Math.Sqrt(2) + 1) / 3, SessionScore.Overlap(words, 2, 0.5), 12);
    }

    [Fact]
    public void A_higher_share_to_drop_keeps_no_more()
    {
        var sessions = Enumerable.Range(0, 50).Select(i => new[] { $"第{i}位客人问：国王在哪里？", i % 3 == 0 ? "国王在城堡里等候。" : $"粉丝{i}来了，让开让开！" }).ToArray();
        var kept = new[] { 0, 0.1, 0.3, 0.6, 0.9 }.Select(share => Run(Recipe with { DropShare = share }, sessions).Kept.Count).ToArray();

        Assert.Equal(kept.OrderDescending(), kept);
        Assert.Equal(50, kept[0]);
        Assert.InRange(kept[^1], 1, 10);
    }

    [Fact]
    public void The_language_model_prefers_what_it_has_read()
    {
        var model = new CharacterModel(3);
        foreach (var text in new[] { "the king of the north", "the queen of the south" }) model.Add(text);

        Assert.True(model.MeanLog2("the king of the south") > model.MeanLog2("kgn ht eofs uthoe int"));
        Assert.InRange(model.MeanLog2("the king of the north"), -1.5, 0);
    }

    private static (List<Document> Kept, QualityReport Report) Run(QualityRecipe recipe, string[][] sessions)
    {
        var control = new QualityControl("test", recipe);
        var kept = control.Run(() => sessions.Select((turns, i) => new Document("test", "zh", $"s/{i}", turns))).ToList();
        return (kept, control.Report());
    }
}
