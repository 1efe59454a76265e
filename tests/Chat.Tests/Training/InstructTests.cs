using System.CommandLine;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Training.Commands;
using Chat.Training.Data;
using Chat.Training.Data.Extraction;
using Chat.Training.Data.Instruct;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Spectre.Console;

namespace Chat.Tests.Training;

/// <summary>The oracles of UDIT's rules.</summary>
public class InstructTests
{
    // Lines in WordNet's own form (wndb(5WN)).
    private static readonly string[] Nouns =
    [
        "  1 a licence line, skipped",
        "02084071 05 n 02 dog 0 domestic_dog 0 001 @ 02083346 n 0000 | a domesticated canine; \"the dog barked all night\"  ",
        "02083346 05 n 01 canine 0 001 @ 02084071 n 0000 | a mammal with long muzzles  ",
        "02121620 05 n 01 cats 0 000 | feline mammals  ",
        "03544360 06 n 01 house 0 000 | a dwelling  ",
        "09411430 17 n 01 river 0 000 | a large natural stream of water  ",
        "06410904 10 n 01 word 0 000 | a unit of language  ",
    ];

    private static readonly string[] Adjectives =
    [
        "01382086 00 a 02 large 0 big(a) 0 001 ! 01391351 a 0101 | above average in size  ",
        "01391351 00 a 02 small 0 little 0 001 ! 01382086 a 0101 | limited in size  ",
        "00000001 00 s 02 huge 0 immense 0 000 | unusually great in size  ",
    ];

    private static readonly Lexicons Words = new(Tiny(), new Dictionary<string, double> { ["good"] = 1.9, ["terrible"] = -2.1 }, new Dictionary<string, string> { ["scalc"] = "spreadsheets", ["swriter"] = "word processing" },
        new HashSet<string>(["the", "a", "in", "of", "and", "was", "to"]));

    [Fact]
    public void WordNets_files_are_read_with_opposites_hypernyms_and_examples()
    {
        var wordNet = Words.WordNet!;

        var dog = wordNet.Synsets["n02084071"];
        Assert.Equal(["dog", "domestic dog"], dog.Words);
        Assert.Equal(("noun.animal", "a domesticated canine", "the dog barked all night", "n02083346"), (dog.Class, dog.Definition, dog.Examples.Single(), dog.Hypernyms.Single()));
        Assert.Equal(["small"], wordNet.Antonyms("large"));
        Assert.Empty(wordNet.Antonyms("big"));
        Assert.True(wordNet.IsOnlyNoun("dog") && !wordNet.IsOnlyNoun("large"));
        Assert.True(wordNet.AreAlike("dog", "cats") && !wordNet.AreAlike("dog", "house"));
    }

    [Fact]
    public void A_rule_is_a_function_of_text_and_seed_and_answers_with_one_of_its_options()
    {
        var articles = Texts().ToArray();
        foreach (var rule in new PluginCatalog(typeof(IPseudoRule).Assembly).OfKind("pseudo-rule").Select(plugin => (IPseudoRule)Activator.CreateInstance(plugin.Type)!))
        {
            var samples = rule.Make(articles, Words, 7).ToArray();

            Assert.NotEmpty(samples);
            Assert.Equal(samples.Select(Shown), rule.Make(articles, Words, 7).Select(Shown));
            foreach (var sample in samples.Where(sample => sample.Options is not null))
            {
                Assert.Contains(sample.Answer, sample.Options!);
                Assert.Equal(sample.Options!.Count, sample.Options.Distinct().Count());
            }
        }

        static string Shown(PseudoSample sample) => $"{sample.Cluster}|{sample.Rule}|{string.Join(';', sample.Fields)}|{string.Join(';', sample.Options ?? [])}|{sample.Answer}|{sample.Origin}";
    }

    [Fact]
    public void A_masked_word_meets_its_opposite_and_the_answer_stands_anywhere()
    {
        var articles = Enumerable.Range(0, 10_000).Select(i => new Article($"a{i}", "en", ["There was a large tree beside the water of the lake.", "Nothing.", "Nothing.", "Nothing."])).ToArray();

        var samples = new KeywordMask().Make(articles, Words, 1).ToArray();

        Assert.All(samples, sample => Assert.Equal(("large", "There was a _____ tree beside the water of the lake.", "Nothing."), (sample.Answer, sample.Fields["question"], sample.Fields["context"])));
        Assert.All(samples, sample => Assert.Equal(["large", "small"], sample.Options!.Order()));
        Assert.InRange(samples.Length, 4800, 5200);                                         // the other half wants a noun that stands twice
        var first = samples.Count(sample => sample.Options![0] == "large");
        Assert.True(Math.Pow(first - samples.Length / 2.0, 2) * 4 / samples.Length < 6.63);  // chi square, one degree, p > .01
    }

    [Fact]
    public void What_follows_a_question_is_its_answer()
    {
        var sample = Assert.Single(new NaturalQuestion().Make(Texts().ToArray(), Words, 3), sample => sample.Origin == "road");

        Assert.Equal("The travellers had walked since the morning and were tired. They came to a bridge.", sample.Fields["context"]);
        Assert.Equal("Should they cross the old bridge now?", sample.Fields["question"]);
        Assert.Equal("The guide said that it would hold. They crossed one by one, and nothing happened.", sample.Answer);
        Assert.Equal(4, sample.Options!.Count);
        Assert.Contains("Behind it lay the town, and the gates of it were open.", sample.Options);      // the paragraph after next
        Assert.All(sample.Options, option => Assert.DoesNotContain('?', option));
    }

    [Fact]
    public void A_question_about_a_name_comes_from_another_text_and_its_answer_stands_in_this_one()
    {
        var articles = Texts().ToArray();
        var found = EntityQuestions.Of(articles, Words, 5).ToArray();

        var marie = Assert.Single(found, each => each.Answer == "Marie Curie");
        Assert.Equal("Who or what shared the Nobel Prize with Pierre Curie and worked for Radium Institute In Paris the scientist?", marie.Question);
        foreach (var each in found)
        {
            Assert.NotEqual(each.Article.Origin, each.Source);
            Assert.DoesNotContain(each.Answer, each.Question, StringComparison.Ordinal);
            Assert.Contains(each.Answer, each.Context, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Half_of_the_closed_book_answers_are_true_and_the_others_are_not()
    {
        var articles = Enumerable.Range(0, 6200).SelectMany(i => new[]
        {
            new Article($"a{i}", "en", [$"In the year Alpha{Name(i)} met Beta{Name(i)} near Gamma{Name(i)} and both were glad. Later came Delta{Name(i)}."]),
            new Article($"b{i}", "en", [$"It is known that Alpha{Name(i)} met Beta{Name(i)} near Delta{Name(i)} and all were glad."]),
        }).ToArray();
        var truth = EntityQuestions.Of(articles, Words, 9).Select(each => each.Answer).ToArray();

        var samples = new ClosedBook().Make(articles, Words, 9).ToArray();

        Assert.True(samples.Length >= 12_000, $"{samples.Length}");
        Assert.Equal(0.5, (double)samples.Count(sample => sample.Answer == "yes") / samples.Length, 0.01);
        Assert.All(samples.Zip(truth), pair => Assert.Equal(pair.First.Answer == "yes", pair.First.Fields["candidate"] == pair.Second));

        static string Name(int i) => string.Concat(i.ToString("D5", System.Globalization.CultureInfo.InvariantCulture).Select(digit => (char)('a' + digit - '0')));
    }

    [Fact]
    public void The_gap_sentence_has_the_highest_Rouge_and_leaves_the_text()
    {
        string[] sentences = ["The storm came from the sea.", "Boats stayed in the harbour.", "The storm from the sea kept boats in the harbour.", "Nobody slept.", "Why did the storm come from the sea to the harbour?"];
        var article = new Article("storm", "en", [string.Join(' ', sentences)]);

        var sample = Assert.Single(new GapSentence().Make([article], Words, 1));

        Assert.Equal(sentences[2], sample.Answer);
        Assert.DoesNotContain(sample.Answer, sample.Fields["text"], StringComparison.Ordinal);
        Assert.Equal(sentences.Order(), Articles.Sentences(sample.Fields["text"]).Append(sample.Answer).Order());
        double Rouge(int i)
        {
            var (mine, rest) = (Articles.Units(sentences[i], "en").ToList(), sentences.Where((_, j) => j != i).SelectMany(s => Articles.Units(s, "en")).ToList());
            var size = mine.Count + rest.Count;
            return 2.0 * mine.Count(rest.Remove) / size;
        }
        Assert.Equal(2, Enumerable.Range(0, 4).MaxBy(Rouge));                                // the fifth is a question
        Assert.Null(GapSentence.Best(["One thing.", "Another matter.", "Nothing alike."], "en"));
    }

    [Fact]
    public void The_lead_summarises_the_rest_without_the_last_sentence()
    {
        var sentences = Enumerable.Range(1, 11).Select(i => $"This is sentence number {i} of the article.").ToArray();
        var sample = Assert.Single(new Lead().Make([new Article("news", "en", ["A headline", string.Join(' ', sentences)])], Words, 1));

        Assert.Equal(string.Join(' ', sentences[..3]), sample.Answer);
        Assert.Equal(string.Join(' ', sentences[3..10]), sample.Fields["text"]);
        Assert.Empty(new Lead().Make([new Article("short", "en", [string.Join(' ', sentences[..9])])], Words, 1));
    }

    [Theory]
    [InlineData(3, 3), InlineData(15, 3), InlineData(16, 4), InlineData(20, 4), InlineData(21, 5)]
    public void A_fifth_of_the_words_but_three_at_least_are_given(int content, int given) => Assert.Equal(given, WordsToSentence.Keywords(content));

    [Fact]
    public void Every_given_word_stands_in_the_sentence()
    {
        var samples = new WordsToSentence().Make(Texts().ToArray(), Words, 2).ToArray();

        Assert.All(samples, sample => Assert.All(sample.Fields["words"].Split(sample.Language == "zh" ? "、" : ", "), word => Assert.Contains(word, sample.Answer, StringComparison.Ordinal)));
        Assert.Contains(samples, sample => sample.Language == "zh");
    }

    [Fact]
    public void A_negative_has_the_words_of_the_positive_but_for_one_opposite()
    {
        var tokens = "the large dog saw a river beside the house".Split(' ');
        for (var seed = 0UL; seed < 50; seed++)
        {
            var random = RandomStream.Of(seed, "negative", 0);
            var negative = Paraphrase.Negative(tokens, Words.WordNet!, ref random)!;

            Assert.NotEqual(tokens, negative);
            Assert.Equal(tokens.Except(["large"]).Order(), negative.Where(word => word != "small").Distinct().Order());
            Assert.Equal(tokens.Length, negative.Length);
            Assert.Single(negative, "small");
        }
        var none = RandomStream.Of(1, "negative", 0);
        Assert.Null(Paraphrase.Negative("the large dog saw it".Split(' '), Words.WordNet!, ref none));
    }

    [Theory]
    [InlineData("good good", "positive"), InlineData("it was terrible", "negative"), InlineData("not good at all", "negative"), InlineData("good and terrible", null), InlineData("a walk to the river and back", null)]
    public void A_feeling_is_given_only_where_it_is_clear(string text, string? feeling) =>
        Assert.Equal(feeling, new Sentiment().Make([new Article("a", "en", [text])], Words, 1).SingleOrDefault()?.Answer);

    [Fact]
    public void A_path_names_its_topic()
    {
        var samples = new TopicByPath().Make([new Article("help/text/scalc/guide/rows.html", "en", ["How to insert rows."]), new Article("help/text/swriter/04.html", "en", ["How to write."]), new Article("help/scalc/a/b/c/d.html", "en", ["Too deep."])], Words, 1).ToArray();

        Assert.Equal(["spreadsheets", "word processing"], samples.Select(sample => sample.Answer));
        Assert.All(samples, sample => Assert.Equal(["spreadsheets", "word processing"], sample.Options!));
    }

    [Fact]
    public void Texts_with_links_are_left_out_and_brackets_go_pair_by_pair()
    {
        var articles = Articles.Of([
            new Document("c", "en", "one#0", ["See (the first) and (the (inner) second) thing."]), new Document("c", "en", "one#1", ["More of the same file."]),
            new Document("c", "en", "two#0", ["Look at http://example.org for more."]), new Document("c", "zh", "three", ["你好（您好）。", "再见。"], ["a", "b"])]).ToArray();

        Assert.Equal(["c/one", "c/three"], articles.Select(article => article.Origin));
        Assert.Equal(["See and thing.", "More of the same file."], articles[0].Paragraphs);
        Assert.Equal(["你好。", "再见。"], articles[1].Paragraphs);
    }

    [Fact]
    public void Rendering_counts_what_it_drops()
    {
        var templates = new[] { new InstructionTemplate("sent", "en", "plain", "{text}?"), new InstructionTemplate("sent", "en", "words", "{text}\n{options}", new Dictionary<string, string> { ["positive"] = "Good" }), new InstructionTemplate("sent", "zh", "other", "{text}") };
        var renderer = new InstructionRenderer(templates, text => text.Length, mostInput: 40, mostAnswer: 8);
        PseudoSample Sample(string text, string answer) => new("sent", "r", "en", new Dictionary<string, string> { ["text"] = text }, ["positive", "negative"], answer, "o/1");

        var documents = new[] { Sample("fine", "positive"), Sample(new string('x', 40), "positive"), Sample("odd", "neutral"), Sample("empty", "") }.SelectMany(sample => renderer.Render(sample, "c")).ToArray();

        Assert.Equal([("sent/r/plain/o/1", "fine?", "positive"), ("sent/r/words/o/1", "fine\n- Good\n- negative", "Good")], documents.Select(d => (d.Scene, d.Turns[0], d.Turns[1])));
        Assert.All(renderer.Counts, count => Assert.Equal((4, 1, 1, 1, 1), (count.Tried, count.Rendered, count.TooLong, count.NoOption, count.Empty)));
        Assert.Throws<InvalidDataException>(() => new InstructionRenderer([new("sent", "en", "bad", "{nothing}")], _ => 1).Render(Sample("a", "positive"), "c").ToArray());
    }

    [Theory]
    [InlineData(10, 2, 3), InlineData(7, 2, 3), InlineData(5, 2, 3), InlineData(100, 1, 9)]
    public void An_epoch_takes_so_many_and_no_item_is_seen_twice_more_than_another(int available, int templates, int perTemplate)
    {
        var seen = new int[available];
        for (var epoch = 0; epoch < 7; epoch++)
        {
            var taken = InstructionMixer.Epoch(available, templates, epoch, "d", 4, perTemplate).ToArray();
            Assert.Equal(Math.Min(perTemplate * templates, available), taken.Length);
            foreach (var item in taken) seen[item]++;
            Assert.True(seen.Max() - seen.Min() <= 1);
        }
    }

    [Fact]
    public void Logs_give_tasks_and_only_liked_replies_are_answers()
    {
        var logs = Enumerable.Range(0, 5).Select(i => new ConsentedConversation(1, $"c{i}", i % 2 == 0 ? "shop" : "travel",
        [
            new("m1", ChatRole.User, $"Where is my parcel number {i}?", null, null), new("r1", ChatRole.Assistant, $"It left the house {i} days ago.", "m1", Rating.Up),
            new("m2", ChatRole.User, "And when is it here?", "r1", null), new("m3", ChatRole.User, "When will it arrive here?", "r1", null), new("r2", ChatRole.Assistant, $"Tomorrow, or the day after, {i}.", "m3", Rating.Down),
        ])).ToArray();

        var samples = LogRules.Make(logs, 3).ToArray();

        Assert.All(samples.Where(sample => sample.Rule == "next-reply"), sample =>
        {
            Assert.StartsWith("It left the house", sample.Answer, StringComparison.Ordinal);
            Assert.Equal(4, sample.Options!.Distinct().Count());
            Assert.Contains(sample.Answer, sample.Options!);
        });
        Assert.Equal(5, samples.Count(sample => sample.Rule == "next-reply"));
        Assert.Equal(5, samples.Count(sample => sample is { Rule: "rating", Answer: "negative" }));
        Assert.All(samples.Where(sample => sample is { Rule: "asked-again", Answer: "yes" }), sample => Assert.Equal(["And when is it here?", "When will it arrive here?"], sample.Fields.Values.Order()));
        Assert.Equal(["shop", "travel", "shop", "travel", "shop"], samples.Where(sample => sample.Rule == "talked-to").Select(sample => sample.Answer));
        Assert.Equal(["Where is my parcel number 0?", "It left the house 0 days ago."], LogRules.Dialogues(logs, "logs").First().Turns);
        Assert.Equal(5, LogRules.Dialogues(logs, "logs").Count());
    }

    [Fact]
    public async Task Consented_chats_become_instructions_that_a_run_learns_from()
    {
        var folder = Directory.CreateTempSubdirectory("from-chats-").FullName;
        try
        {
            var option = new Option<DirectoryInfo>("--data");
            using var words = new StringWriter();
            var command = new InstructCommand(TinyRun.Plugins, AnsiConsole.Create(new() { Out = new AnsiConsoleOutput(words) })).Create(option);
            Assert.Equal(0, await command.Parse(["--logs", Golden.At("consent/export.ndjson"), "--to", "from-chats", "--data", folder]).InvokeAsync());

            var made = new CorpusFolder(folder).Read("from-chats").ToArray();
            Assert.Contains("6 conversations", words.ToString(), StringComparison.Ordinal);
            Assert.All(made, document => Assert.Equal(2, document.Turns.Count));
            Assert.All(["mcqa/next-reply", "sent/rating", "tc/talked-to"], rule => Assert.Contains(made, document => document.Scene.StartsWith(rule + "/", StringComparison.Ordinal)));
            Assert.Equal(6, made.Count(document => document.Scene.StartsWith("dialogue/liked/", StringComparison.Ordinal)));
            Assert.DoesNotContain(made.Where(document => document.Scene.StartsWith("dialogue/", StringComparison.Ordinal)), document => document.Turns[1].StartsWith("Tomorrow", StringComparison.Ordinal));

            var recipe = TinyRun.Recipe("run") with { Validation = [], HeldOut = "^sent/", Stages = [TinyRun.Stage("chats") with { Steps = 3, Method = "sample-mean", BatchTokens = 1000, MaxContext = 400, Mixture = [new("from-chats", "answer", 1)] }] };
            Assert.Equal(3, new TrainingRun(recipe.Checked(), "hash", folder, new CorpusFolder(folder), TinyRun.Plugins, TimeProvider.System).Follow(null, null, default).TotalSteps);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void The_shipped_templates_word_every_rules_samples_in_their_language()
    {
        var recipe = RecipeFile.Read<InstructRecipe>(Path.Combine(AppContext.BaseDirectory, "Recipes", "instructions.json")).Checked();
        var samples = new PluginCatalog(typeof(IPseudoRule).Assembly).OfKind("pseudo-rule").SelectMany(plugin => ((IPseudoRule)Activator.CreateInstance(plugin.Type)!).Make(Texts().ToArray(), Words, 7)).ToArray();
        foreach (var sample in samples)
        {
            var renderer = new InstructionRenderer(recipe.Templates, _ => 1);
            _ = renderer.Render(sample, "c").ToArray();
            Assert.True(renderer.Counts.Count >= 3 && renderer.Counts.All(count => count.Rendered == 1), $"{sample.Cluster} {sample.Language}");
        }
    }

    private static IEnumerable<Article> Texts()
    {
        yield return new Article("road", "en", ["The travellers had walked since the morning and were tired. They came to a bridge. Should they cross the old bridge now?",
            "The guide said that it would hold. They crossed one by one, and nothing happened.", "Behind it lay the town, and the gates of it were open.", "A large dog saw the dog of the guard, and cats beside the dog ran to the river by the house."]);
        yield return new Article("a/scalc/curie", "en", ["The physicist Marie Curie shared the Nobel Prize with her husband Pierre Curie. Later she led the Radium Institute.", "It was a good, good time.", "A huge dog saw a large river near the house today.", "The end."]);
        yield return new Article("b/swriter/prizes", "en", ["In Paris the scientist Marie Curie shared the Nobel Prize with Pierre Curie and worked for Radium Institute.",
            "The gates are open. The gates of the town are open. One. Two. Three. Four. Five. Six. Seven. Eight. Nine. The gates of it are open to the town."]);
        yield return new Article("中", "zh", ["勇敢的骑士在清晨离开了古老的城堡。", "他们在森林里遇见了受伤的巨龙！", "要帮助这条受伤的巨龙吗？骑士决定帮助巨龙回到遥远的山谷。", "巨龙非常感谢勇敢的骑士。", "后来骑士回到了古老的城堡。"]);
        yield return new Article("中/二", "zh", ["商人带着货物走过了漫长的沙漠。", "沙漠里没有水源，也没有树木。"]);
        yield return new Article("中/三", "zh", ["学生在图书馆里阅读历史书籍。", "老师认为阅读非常重要。"]);
    }

    private static WordNet Tiny()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllLines(folder.At("data.noun"), Nouns);
        File.WriteAllLines(folder.At("data.adj"), Adjectives);
        return new WordNet([folder.At("data.noun"), folder.At("data.adj")]);
    }
}
