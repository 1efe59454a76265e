using System.Text;
using Chat.Training.Data;
using Chat.Training.Data.Extraction;

namespace Chat.Tests.Training;

public sealed class ExtractionTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("extraction-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Fact]
    public void A_message_catalog_is_read_in_either_byte_order()
    {
        foreach (var little in new[] { true, false })
        {
            var catalog = MessageCatalog.Read(Catalog(little, ("Hello", "你好"), ("Bye", "再见")));

            Assert.Equal("你好", catalog["Hello"]);
            Assert.Equal("再见", catalog["Bye"]);
        }
    }

    [Fact]
    public void A_message_catalog_that_points_outside_itself_is_refused()
    {
        var file = Catalog(true, ("Hello", "你好"));

        Assert.Throws<InvalidDataException>(() => MessageCatalog.Read(file.AsSpan(0, file.Length - 3)));
        Assert.Throws<InvalidDataException>(() => MessageCatalog.Read("no catalog at all, just a text"u8));
        Assert.Throws<InvalidDataException>(() => MessageCatalog.Read([]));
    }

    [Fact]
    public void Campaign_scripts_become_scenes_in_both_languages()
    {
        Write("game/data/campaigns/Quest/scenarios/01.cfg", """
            #textdomain wesnoth-quest
            [event]
                [message]
                    speaker=Kai
                    message= _ "Who <b>goes</b> there?"
                [/message]
                [message]
                    speaker=Guard
                    message= _ "A ""friend"", " + _ "my lord."
                [/message]
                [message]
                    speaker=Guard
                    message= _ "Nobody translated this."
                [/message]
            [/event]
            [event]
                [message]
                    speaker=Kai
                    message= _ "Onward!"
                [/message]
            [/event]
            """);
        File.WriteAllBytes(Place("game/locale/zh_CN/LC_MESSAGES/wesnoth-quest.mo"), Catalog(true,
            ("Who <b>goes</b> there?", "谁在那里？"), ("A \"friend\", ", "一个朋友，"), ("my lord.", "我的主人。"), ("Onward!", "前进！")));
        var corpus = new CorpusRecipe("quest", ["game"], "wesnoth", @"\.cfg$", "en", "test");

        var english = new WesnothDialogue().Extract(root, corpus).ToArray();
        var chinese = new WesnothDialogue().Extract(root, corpus with { Language = "zh" }).ToArray();

        Assert.Equal(["Who goes there?", "A \"friend\", my lord.", "Nobody translated this."], english[0].Turns);
        Assert.Equal(["Kai", "Guard", "Guard"], english[0].Speakers!);
        Assert.Equal([1], english[0].Replies());
        Assert.Equal("Quest/scenarios/01.cfg#1", english[1].Scene);
        Assert.Equal(["谁在那里？", "一个朋友，我的主人。"], chinese[0].Turns);
        Assert.Equal(["前进！"], chinese[1].Turns);
    }

    [Fact]
    public void Phrases_go_before_characters_in_simplification()
    {
        var converter = new SimplifiedChinese(["一目瞭然\t一目了然"], ["壯\t壮", "瞭\t瞭", "居\t居 尻", "谷\t谷"]);

        Assert.Equal("函谷壮皇居", converter.Convert("函谷壯皇居"));
        Assert.Equal("一目了然", converter.Convert("一目瞭然"));
        Assert.Equal("𠀀壮", converter.Convert("𠀀壯"));
    }

    [Fact]
    public void Balanced_lines_become_couplets_and_damaged_ones_do_not()
    {
        Write("poems/poet.json", """[{"paragraphs":["秦川雄帝宅，函谷壯皇居。","白日依山盡，黃河入海□。","三字短，三字短。","一二三四五六七，七六五四三二一？"]}]""");
        Write("poems/TSCharacters.txt", "壯\t壮\n");
        Write("poems/TSPhrases.txt", "");
        var corpus = new CorpusRecipe("couplets", ["poems"], "couplets", @"\.json$", "zh", "test");

        var couplets = new Couplets().Extract(root, corpus).Select(d => string.Join('/', d.Turns));

        Assert.Equal(["秦川雄帝宅/函谷壮皇居", "一二三四五六七/七六五四三二一"], couplets);
    }

    [Fact]
    public void Manual_pages_lose_their_markup_and_examples()
    {
        Write("pages/x.1", """
            .TH X 1
            .SH 描述
            修改每个文件的所属组为\fB指定的\fP组， 并且
            .B 不会
            改变其它任何内容。
            .nf
            这一段是例子，不应该出现在文本里面
            .fi
            """);
        var corpus = new CorpusRecipe("pages", ["pages"], "manpage", @"\.1$", "zh", "test");

        var page = Assert.Single(new ManualPageProse().Extract(root, corpus));

        Assert.Equal("修改每个文件的所属组为指定的组，并且不会改变其它任何内容。", page.Turns[0]);
    }

    [Fact]
    public void A_web_page_gives_its_prose_and_not_its_code()
    {
        Write("web/a.html", "<head><title>The title is not a part of it at all</title></head><p>The gate &amp; the wall were built by <b>old</b> kings.</p><pre>code code code code code code code</pre><li>Menu</li>");
        var corpus = new CorpusRecipe("web", ["web"], "html", @"\.html$", "en", "test");

        var page = Assert.Single(new HtmlProse().Extract(root, corpus));

        Assert.Equal("The gate & the wall were built by old kings.", page.Turns[0]);
    }

    private void Write(string path, string text) => File.WriteAllText(Place(path), text);

    private string Place(string path)
    {
        var full = Path.Combine(root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        return full;
    }

    private static byte[] Catalog(bool little, params (string Original, string Translation)[] messages)
    {
        using var file = new MemoryStream();
        void Number(int n)
        {
            var bytes = BitConverter.GetBytes(n);
            if (BitConverter.IsLittleEndian != little) Array.Reverse(bytes);
            file.Write(bytes);
        }
        var texts = messages.Select(m => Encoding.UTF8.GetBytes(m.Original)).Concat(messages.Select(m => Encoding.UTF8.GetBytes(m.Translation))).ToArray();
        Number(unchecked((int)0x950412de));
        Number(0);
        Number(messages.Length);
        Number(28);
        Number(28 + 8 * messages.Length);
        Number(0);
        Number(0);
        var at = 28 + 16 * messages.Length;
        foreach (var text in texts)
        {
            Number(text.Length);
            Number(at);
            at += text.Length + 1;
        }
        foreach (var text in texts) file.Write([.. text, 0]);
        return file.ToArray();
    }
}
