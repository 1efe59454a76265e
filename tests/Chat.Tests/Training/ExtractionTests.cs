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

    [Fact]
    public void FreedroidRPGs_scripts_become_scenes_that_no_branch_joins()
    {
        Write("fd/dialogs/Bender.lua", """
            --[[WIKI text = _"not a line" ]]--
            return {
            	FirstTime = function()
            		Tux:says(_"Hello! I'm new here.")
            		Npc:says(_"Hey, man! I'm \"Bender\".", "NO_WAIT")
            		Tux:says(_"I'm %s. I'm fine, thank you.", Tux:get_player_name())
            		show("node0")
            	end,
            	{
            		id = "node0",
            		text = _"What made you so sick?",
            		topic = "Sick Bender",
            		code = function()
            			if (x) then
            				Npc:says(_"The pills.")
            				Npc:says(_"They did me no good, man.")
            			else
            				Npc:says(_"Nothing.") -- Npc:says(_"A comment.")
            			end
            		end,
            	},
            """);
        var scenes = new FreedroidDialogue().Extract(root, new CorpusRecipe("fd", ["fd"], "freedroid", @"\.lua$", "en", "test")).ToArray();

        Assert.Equal(["Hello! I'm new here.", "Hey, man! I'm \"Bender\"."], scenes[0].Turns);
        Assert.Equal(["player", "Bender"], scenes[0].Speakers!);
        Assert.Equal(["What made you so sick?", "The pills.", "They did me no good, man."], scenes[1].Turns);
        Assert.Equal(2, scenes.Length);
    }

    [Fact]
    public void Endless_Skys_choices_lead_to_what_follows_them()
    {
        Write("es/data/start.txt", "mission \"x\"\n\ton offer\n\t\tconversation\n\t\t\t`He asks you, \"How are things going here, Captain <last>?\"`\n\t\t\tchoice\n\t\t\t\t`\t\"Very quiet.\"`\n\t\t\t\t\tgoto quiet\n"
            + "\t\t\t\t`\t\"It was brutal.\"`\n\t\t\t\t`\t\"No.\"`\n\t\t\t\t\tdecline\n\t\t\t`\"We all felt it,\" he says.`\n\t\t\t\taccept\n\t\t\tlabel quiet\n\t\t\t`\"Glad to hear it,\" he says.`\n\tnpc\n\t\tgovernment \"Free\"\n");
        var scenes = new EndlessSkyDialogue().Extract(root, new CorpusRecipe("es", ["es"], "endless-sky", @"\.txt$", "en", "test")).Select(scene => string.Join(" / ", scene.Turns));

        Assert.Equal(["He asks you, \"How are things going here, Captain?\" / Very quiet. / \"Glad to hear it,\" he says.", "He asks you, \"How are things going here, Captain?\" / It was brutal. / \"We all felt it,\" he says."], scenes);
    }

    [Fact]
    public void Mails_give_what_is_quoted_and_its_answer_without_who_wrote_it()
    {
        static string Mail(string headers, string body) => System.Text.Json.JsonSerializer.Serialize(new { id = 1, text = headers + "\n\n" + body });
        Write("mail/ham/1.json", Mail("From: \"Martin Adamson\" <martin@ed.example>\nTo: Will Smith <will@yahoo.example>,\n    list@x.example\nSubject: Re: food\nContent-Type: text/plain; charset=US-ASCII\nContent-Transfer-Encoding: quoted-printable",
            "On Thu, 22 Aug 2002 Will wrote:\n> I will ask Martin what you use instead of cream, see http://food.example/x\n> or +44 20 7946 0958.\n\nIsn't it a mixture of egg and bac=\non, as Martin Adamson said? Write to a.b@c.example.\n\nmartin\n-- \nMartin Adamson, Management School\n> not this one\nnor that\n"));
        Write("mail/ham/2.json", Mail("From: x@y.example\nContent-Type: text/html", "> <b>quoted text of a page</b>\n\nan answer that is a page"));
        var mail = Assert.Single(new MailReplies().Extract(root, new CorpusRecipe("m", ["mail"], "mail-replies", @"\.json$", "en", "test")));

        Assert.Equal("I will ask [name] what you use instead of cream, see [link] or [phone].", mail.Turns[0]);
        Assert.Equal("Isn't it a mixture of egg and bacon, as [name] said? Write to [email]. [name]", mail.Turns[1]);
    }

    [Fact]
    public void Questions_of_pod_and_web_pages_meet_their_answers()
    {
        Write("faq/perlfaq1.pod", "=head1 NAME\n\n=head2 What is Perl?\n\nPerl is a B<language> by L<Larry|http://x>, see C<< perl -v >>.\n\n    verbatim code\n\nMore of it.\n\n=head2 No question\n\nText.\n\n=cut\n");
        Write("faq/general.html", "<h2><a>General</a><a class=\"headerlink\">¶</a></h2><section id=\"a\"><h3>What is Python?<a class=\"headerlink\">¶</a></h3>\n<p>Python is an <b>interpreted</b> language.</p><pre>code()</pre></section>");
        Write("faq/zh/basic.html", "<h2 class=\"title\"><a id=\"x\"></a>1.2. 什么是 Debian GNU/Linux？</h2></div></div></div><p>它是一个发行版，以及其上运行的无数软件包。</p></div><div class=\"section\">");
        Write("faq/guide/a.html", "<div id=\"DisplayArea\"><h1 id=\"hd\">Positioning Objects</h1><p class=\"tip\">no</p><p class=\"paragraph\" dir=\"auto\">An object is positioned with an anchor.</p><ol><li><p class=\"listitem\">Choose Insert.</p></li></ol></div>");
        Document[] Of(QuestionExtractor extractor, string files, string language = "en") => [.. extractor.Extract(root, new CorpusRecipe("faq", ["faq"], "x", files, language, "test"))];

        Assert.Equal(["What is Perl?", "Perl is a language by Larry, see perl -v. More of it."], Assert.Single(Of(new PodQuestions(), @"\.pod$")).Turns);
        Assert.Equal(["What is Python?", "Python is an interpreted language."], Assert.Single(Of(new HtmlQuestions(), "general")).Turns);
        Assert.Equal(["什么是Debian GNU/Linux？", "它是一个发行版，以及其上运行的无数软件包。"], Assert.Single(Of(new HtmlQuestions(), "basic", "zh")).Turns);
        Assert.Equal(["Positioning Objects", "An object is positioned with an anchor. Choose Insert."], Assert.Single(Of(new OfficeGuide(), "guide")).Turns);
    }

    [Fact]
    public void Lexicons_answer_tasks_whose_names_begin_the_scene()
    {
        Write("lex/data.noun", "02084071 05 n 02 dog 0 domestic_dog 0 001 @ 02083346 n 0000 | a domesticated canine animal; \"the dog barked all night\"  \n02083346 05 n 01 canine 0 000 | a mammal with long muzzles  \n");
        Write("lex/all.js", "export default {\"all\":[[\"%\",\"%\",\"pa1\",\"percent\",[],[]],[\"漢語\",\"汉语\",\"Han4 yu3\",\"Chinese language\",[],[]]]}");
        Write("lex/records.txt", "Package: 0ad\nSection: games\nDescription: Real-time strategy game of ancient warfare\nTag: game::strategy\n\nPackage: libx\nSection: libs\nDescription: A library of many things\n");
        Document[] Of(LexicalTasks extractor, string files, string language) => [.. extractor.Extract(root, new CorpusRecipe("lex", ["lex"], "x", files, language, "test"))];

        var words = Of(new WordNetTasks(), "data.noun", "en");
        Assert.Equal(["define", "example", "hypernym", "reverse-define", "supersense", "synonym"], words.Select(d => d.Scene.Split('/')[0]).Distinct());
        Assert.Equal("dog", words.Single(d => d.Scene == "reverse-define/n02084071").Turns[1]);
        Assert.Equal(("animal", "canine", "domestic dog"), (Answer("supersense"), Answer("hypernym"), Answer("synonym")));
        Assert.Contains("dog", words.Single(d => d.Scene == "define/n02084071").Turns[0], StringComparison.Ordinal);
        Assert.Equal([("en-zh", "汉语"), ("pinyin", "Han4 yu3"), ("zh-en", "Chinese language")], Of(new CedictTasks(), "all.js", "zh").Select(d => (d.Scene.Split('/')[0], d.Turns[1])));
        Assert.Equal(("section/0ad", "games"), Of(new SectionTasks(), "records", "en").Select(d => (d.Scene, d.Turns[1])).Single());

        string Answer(string task) => words.Single(d => d.Scene == $"{task}/n02084071").Turns[1];
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
