using Chat.Training.Evaluation.Cuge;
using Chat.Training.Evaluation.Metrics;

namespace Chat.Tests.Training.Evaluation;

/// <summary>Tiny files in the published layouts; the texts are ours.</summary>
public class CugeAdapterTests
{
    private static readonly Dictionary<string, (string File, string Text)> Files = new()
    {
        ["PKU-SEG"] = ("pku_test_gold.utf8", "我们  今天  去  北京  。\n\n天气  很  好\n"),
        ["WordSeg-Weibo"] = ("nlpcc2016-word-seg-test.dat", "哈哈 太 好 了\n走 吧\n"),
        ["PKU-SEGPOS"] = ("test.txt", "我们/r  去/v  北京/ns\n1/2/m  好/a\n"),
        ["CCPM"] = ("valid.jsonl", """{"translation": "月亮从东山升起来。", "choices": ["月出东山上", "日落西山下", "水流南浦边", "云归北岭前"], "answer": 0}""" + "\n"
            + """{"translation": "江水向东流去。", "choices": ["山高月小", "大江东去", "风起云涌", "花落人亡"], "answer": 1}""" + "\n"),
        ["CMeEE"] = ("CMeEE_dev.json", """[{"text": "发热时可服退烧药。", "entities": [{"start_idx": 0, "end_idx": 1, "type": "sym", "entity": "发热"}, {"start_idx": 5, "end_idx": 7, "type": "dru"}]}, {"text": "无。", "entities": []}]"""),
        ["FinRE"] = ("test.txt", "甲公司\t乙公司\t收购\t甲公司昨日收购乙公司\n丙行\t丁行\tunknown\t丙行与丁行都在此地\n"),
        ["YACLC"] = ("valid.jsonl", """{"sentence_id": 1, "sentence_text": "我去了学校在昨天。", "article_id": 1, "article_name": "x", "total_annotators": 3, "sentence_annos": [{"is_grammatical": 1, "correction": "我昨天去了学校。", "edits_count": 2, "annotator_count": 2}, {"is_grammatical": 0, "correction": "昨天我上学去了。", "edits_count": 3, "annotator_count": 1}]}""" + "\n"),
        ["SPR"] = ("test.jsonl", """{"context": ["你吃了吗？"], "text": "吃了，吃了亏。", "label": 1}""" + "\n" + """{"context": [], "text": "今天下雨。", "label": 0}""" + "\n"),
        ["ClozeT"] = ("test.jsonl", """{"story": "小猫饿了。<mask>它吃饱了。", "plot0": "它睡着了。", "plot1": "它找到一条鱼。", "label": "1"}""" + "\n"),
        ["C3"] = ("c3-d-test.json", """[[["男：几点了？", "女：八点。"], [{"question": "现在几点？", "choice": ["七点", "八点"], "answer": "八点"}, {"question": "谁问？", "choice": ["男", "女", "孩子"], "answer": "男"}], "1-1"], [["女：走吧。"], [{"question": "谁说？", "choice": ["男", "女"], "answer": "女"}], "1-2"]]"""),
        ["GCRC"] = ("GCRC_test.json", """[{"id": 1, "content": "文章。", "question": "哪一项正确？", "options": ["甲", "乙", "丙", "丁"], "answer": "C"}]"""),
        ["WantWords"] = ("description_byHand.json", """{"苹果": {"definition_words": ["一", "种", "水果"]}, "老师": {"definition_words": ["教", "书", "的", "人"]}}"""),
        ["KBQA"] = ("nlpcc-iccpol-2016.kbqa.testing-data", "<question id=1>\t《小书》的作者是谁？\n<triple id=1>\t小书 ||| 作者 ||| 张三\n<answer id=1>\t张三\n==================================================\n<question id=2>\t谁最高？\n<triple id=2>\tx ||| y ||| z\n<answer id=2>\t李四 || 王五\n"),
        ["Sogou-Log"] = ("test.tsv", "1\t天气\t明天下雨\t2\n1\t天气\t买苹果\t0\n1\t天气\t今天的云\t1\n2\t路\t怎么走\t1\n"),
        ["LCSTS"] = ("PART_III.txt", "<doc id=0>\n    <human_label>5</human_label>\n    <summary>\n        下雨\n    </summary>\n    <short_text>\n        今天下了一天的雨。\n    </short_text>\n</doc>\n<doc id=1>\n    <human_label>2</human_label>\n    <summary>\n        不要\n    </summary>\n    <short_text>\n        不相干。\n    </short_text>\n</doc>\n"),
        ["CEPSUM"] = ("test.jsonl", """{"source": "红色皮包，长款", "targets": ["红色长款皮包", "一款红色的包"]}""" + "\n"),
        ["AdGen"] = ("test.json", """{"title": "裤子", "feature": [["颜色", "黑色"], ["版型", "宽松"]], "desc": "这条黑色裤子很宽松。"}""" + "\n" + """{"content": "类型#裙*颜色#红", "summary": "红色的裙子。"}""" + "\n"),
        ["KdConv"] = ("film/test.json", """[{"name": "某片", "messages": [{"message": "看过某片吗？"}, {"message": "看过。", "attrs": [{"name": "某片", "attrname": "导演", "attrvalue": "某人"}]}, {"message": "好看吗？"}]}]"""),
        ["WMT20-EnZh"] = ("test.json", """[{"index": 0, "target": "Good morning.", "source": "早上好。"}]"""),
        ["NCLS-EnZh"] = ("EN2ZHSUM_test.txt", "<doc id=0>\n<Article>\nIt rained all day .\n</Article>\n<EN-REF1>\nrain\n</EN-REF1>\n<ZH-REF1>\n下雨\n</ZH-REF1>\n<ZH-REF1-human-corrected>\n下了雨。\n</ZH-REF1-human-corrected>\n<EN-REF2>\nall day\n</EN-REF2>\n<ZH-REF2>\n全天\n</ZH-REF2>\n<ZH-REF2-human-corrected>\n整天。\n</ZH-REF2-human-corrected>\n</doc>\n"),
        ["Math23k"] = ("math23k_test.json", "{\n  \"id\":\"1\",\n  \"original_text\":\"三个苹果又来两个，共几个？\",\n  \"segmented_text\":\"…\",\n  \"equation\":\"x=3+2\",\n  \"ans\":\"5\"\n}\n{\n  \"id\":\"2\",\n  \"original_text\":\"一半的一半？\",\n  \"segmented_text\":\"…\",\n  \"equation\":\"x=50%*(1/2)\",\n  \"ans\":\"25%\"\n}\n"),
    };

    public static TheoryData<string> Datasets => [.. Files.Keys];

    private static IReadOnlyList<CugeItem> Read(string dataset)
    {
        using var folder = new TemporaryFolder();
        var path = folder.At(Files[dataset].File);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, Files[dataset].Text);
        return CugeAdapters.Of(dataset).ReadFolder(folder.Path);
    }

    private static double Score(string dataset, string figure, params CugeAnswer[] answers)
    {
        var items = Read(dataset);
        return CugeAdapters.Of(dataset).Score(items, answers).Single(m => m.Name == figure).Value(Bootstrap.All(items.Count));
    }

    private static CugeAnswer Right(CugeItem item) => item.Grades is { } grades ? CugeAnswer.Chosen([.. Enumerable.Range(0, grades.Count).OrderByDescending(i => grades[i])])
        : item.Choices is not null ? CugeAnswer.Chosen(item.Answer) : CugeAnswer.Written(item.References[0]);

    [Fact]
    public void Every_dataset_of_the_hierarchy_has_an_adapter_that_gives_its_metrics()
    {
        Assert.Equal(CugeHierarchy.Published().Datasets.Select(d => d.Name).Order(), CugeAdapters.All.Select(a => a.Dataset).Order());
        Assert.Equal(Files.Keys.Order(), CugeAdapters.All.Select(a => a.Dataset).Order());
        foreach (var dataset in CugeHierarchy.Published().Datasets)
        {
            var items = Read(dataset.Name);
            var figures = CugeAdapters.Of(dataset.Name).Score(items, [.. items.Select(Right)]).Select(m => m.Name);
            Assert.Subset(figures.ToHashSet(), dataset.Metrics.ToHashSet());
        }
    }

    [Theory, MemberData(nameof(Datasets))]
    public void Right_answers_score_one(string dataset)
    {
        var items = Read(dataset);
        var indices = Bootstrap.All(items.Count);

        foreach (var measure in CugeAdapters.Of(dataset).Score(items, [.. items.Select(Right)]).Where(m => m.Name is not ("distinct" or "bleu")))
            Assert.Equal(1, measure.Value(indices), 12);
        Assert.All(items, item => Assert.All(item.Turns, turn => Assert.NotEqual("", turn)));
        Assert.Equal(0, CugeAdapters.Of(dataset).Score([], [])[0].Value([]));
    }

    [Theory, MemberData(nameof(Datasets))]
    public void Another_layout_is_refused_with_the_right_one(string dataset)
    {
        using var folder = new TemporaryFolder();

        Assert.Contains(dataset, Assert.Throws<InvalidDataException>(() => CugeAdapters.Of(dataset).ReadFolder(folder.Path)).Message);
    }

    [Theory]
    [InlineData("CCPM", "valid.jsonl", """{"translation": "x", "choices": ["a"]}"""), InlineData("C3", "c3-m-test.json", """[[["x"], [{"question": "q", "choice": ["a"], "answer": "b"}], "1"]]"""), InlineData("YACLC", "valid.jsonl", """{"sentence_text": "x"}"""), InlineData("Math23k", "test.json", "{")]
    public void A_broken_record_is_named(string dataset, string file, string text)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.At(file), text);

        Assert.Contains(file, Assert.Throws<InvalidDataException>(() => CugeAdapters.Of(dataset).ReadFolder(folder.Path)).Message);
    }

    [Fact]
    public void Items_say_what_the_files_say()
    {
        Assert.Equal([2, 2, 2, 2, 2, 2, 1, 2, 1, 3, 1, 2, 2, 2, 1, 1, 2, 2, 1, 1, 2], Files.Keys.Select(d => Read(d).Count));
        Assert.Equal("sym:发热；dru:退烧药", Read("CMeEE")[0].References[0]);
        Assert.Equal(["我昨天去了学校。"], Read("YACLC")[0].References);
        Assert.Equal(["李四", "王五"], Read("KBQA")[1].References);
        Assert.Equal("下了雨。整天。", Read("NCLS-EnZh")[0].References[0]);
        Assert.Equal(["看过某片吗？", "看过。"], Read("KdConv")[1].Turns);
        Assert.Equal("写广告：类型：裙，颜色：红", Read("AdGen")[1].Turns[0]);
        Assert.Equal("问题：现在几点？选项：一、七点。二、八点。文章：男：几点了？\n女：八点。", Read("C3")[0].Turns[0]);
        Assert.Equal("意思是“一种水果”的词是", Read("WantWords")[0].Turns[0]);
    }

    [Fact]
    public void Segmentation_is_judged_by_words_in_their_places()
    {
        Assert.Equal(2.0 * 5 / (8 + 8), Score("PKU-SEG", "f1", CugeAnswer.Written("我们 今天 去 北 京 。"), CugeAnswer.Written("天气 很好")), 12);      // 4 of 6 and 1 of 2; right are 5 and 3
        Assert.Equal(0.8, Score("PKU-SEGPOS", "f1", CugeAnswer.Written("我们/r 去/v 北京/n"), CugeAnswer.Written("1/2/m 好/a")), 12);
    }

    [Fact]
    public void Entities_and_relations_count_over_all_items()
    {
        Assert.Equal(2.0 * 1 / (2 + 2), Score("CMeEE", "f1", CugeAnswer.Written("sym：发热；dis:烧"), CugeAnswer.Written("")), 12);
        Assert.Equal(1, Score("FinRE", "f1", CugeAnswer.Written("收购"), CugeAnswer.Written("unknown")), 12);
        Assert.Equal(2.0 / 3, Score("FinRE", "f1", CugeAnswer.Written("收购"), CugeAnswer.Written("合作")), 12);
    }

    [Fact]
    public void Corrections_are_replacements_of_characters()
    {
        Assert.Equal(["0-1:x", "2-2:yz", "4-5:"], TextEdits.Between("abcde", "xbyzcd").Order());
        Assert.Empty(TextEdits.Between("abc", "abc"));
        Assert.Equal(["0-3:"], TextEdits.Between("abc", ""));
        Assert.Equal(2.0 / 3, Score("YACLC", "f1", CugeAnswer.Written("我昨天去了学校在昨天。")), 12);        // one of two replacements
        Assert.Equal(1.25 / 1.5, Score("YACLC", "f0.5", CugeAnswer.Written("我昨天去了学校在昨天。")), 12);
    }

    [Fact]
    public void Macro_F1_is_the_mean_of_the_classes()
    {
        Assert.Equal((2.0 / 3 + 0) / 2, Score("CCPM", "f1", CugeAnswer.Chosen(0), CugeAnswer.Chosen(0)), 12);
        Assert.Equal(0.5, Score("CCPM", "accuracy", CugeAnswer.Chosen(0), CugeAnswer.Chosen(0)), 12);
        Assert.Equal(2.0 / 3, Score("SPR", "f1", CugeAnswer.Chosen(1), CugeAnswer.Chosen(1)), 12);
    }

    [Fact]
    public void Rankings_by_hand()
    {
        CugeAnswer[] answers = [CugeAnswer.Chosen(1, 2, 0), CugeAnswer.Chosen(0)];
        var gain = (1 / Math.Log2(3) + 3 / Math.Log2(4)) / (3 + 1 / Math.Log2(3));

        Assert.Equal((gain + 1) / 2, Score("Sogou-Log", "ndcg", answers), 12);
        Assert.Equal((0.5 + 1) / 2, Score("Sogou-Log", "mrr", answers), 12);
    }

    [Theory]
    [InlineData("x=3+2", 5), InlineData("2*(3-1)^2", 8), InlineData("50%*(1/2)", 0.25), InlineData("3(1/2)", 3.5), InlineData("-2+[1+{1}]*2", 2), InlineData("10/4", 2.5), InlineData("2**3", 8), InlineData(" 7 。", 7), InlineData("2^3^2", 512), InlineData("25%", 0.25)]
    public void Expressions_have_values(string text, double value) => Assert.Equal(value, Arithmetic.Evaluate(text)!.Value, 12);

    [Theory]
    [InlineData(""), InlineData("x="), InlineData("3+"), InlineData("(3"), InlineData("3)"), InlineData("三"), InlineData("1/0"), InlineData("1..2"), InlineData("3 apples")]
    public void Other_texts_have_none(string text) => Assert.Null(Arithmetic.Evaluate(text));

    [Fact]
    public void Deep_nesting_ends() => Assert.Null(Arithmetic.Evaluate(new string('(', 100_000) + "1"));

    [Fact]
    public void A_problem_is_right_by_value() =>
        Assert.Equal(0.5, Score("Math23k", "accuracy", CugeAnswer.Written("x=2+3"), CugeAnswer.Written("0.26")), 12);
}
