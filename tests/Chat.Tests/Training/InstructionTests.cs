using System.Text.Json;
using Chat.Domain.Plugins;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;

namespace Chat.Tests.Training;

[Collection(nameof(SerialTorch))]
public sealed class InstructionTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("instructions-").FullName;

    public InstructionTests() => File.WriteAllLines(Path.Combine(root, "skills-en.records.jsonl"), Enumerable.Range(0, 30).Select(i => JsonSerializer.Serialize((object)(i % 3 == 0
        ? new { instruction = $"Say the secret word number {i}.", output = $"zebra {i}", task = "secret" }
        : i % 3 == 1 ? new { instruction = "Turn it round.", input = $"{i} apples", output = $"apples {i}", task = "reverse" } : new { instruction = $"Count to {i}, {{input}}.", output = (string[])[$"one two {i}", "other"], task = "count" }))));

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Fact]
    public void Held_out_tasks_are_never_trained_on_and_all_others_are_in_every_wording()
    {
        new TrainingRun(Recipe().Checked(), "hash", root, new(root), Plugins, TimeProvider.System).Follow(null, null, default);

        var pairs = TokenizerFile.Read(File.ReadAllText(Path.Combine(root, "instructed", "tokenizer.json")));
        var corpus = TokenizedCorpus.Load(Assert.Single(Directory.GetFiles(Path.Combine(root, "tokens"))));
        string Turn(int turn) => Text(corpus.Turn(turn).ToArray().Select(id => (int)id), pairs);
        var read = Enumerable.Range(0, corpus.Documents).Select(d => (Prompt: Turn(corpus.Turns(d).First), Reply: Turn(corpus.Turns(d).First + 1))).ToArray();
        Assert.DoesNotContain(read, r => (r.Prompt + r.Reply).Contains("secret", StringComparison.Ordinal) || r.Reply.Contains("zebra", StringComparison.Ordinal));
        Assert.Equal(10 + 20, read.Length);                                        // one wording has no place for an input
        Assert.Contains(("Do this. Turn it round.\n\n4 apples\n\nAnswer:", "apples 4"), read);
        Assert.Contains(("Do this. Count to 5, {input}.\n\nAnswer:", "one two 5"), read);
        Assert.Contains(("Count to 5, {input}.", "one two 5"), read);
        Assert.DoesNotContain(read, r => r.Prompt == "Turn it round.");

        // The vocabulary has seen none of it either, and validation asks for it in the stage's wording.
        Assert.DoesNotContain(pairs.Symbols(), s => System.Text.Encoding.UTF8.GetString(s).Contains("zeb", StringComparison.Ordinal));
    }

    [Fact]
    public void Only_the_answer_is_learnt_and_prompts_that_do_not_fit_are_left_out()
    {
        var encoder = new BytePairEncoder(new([]));
        var corpus = TokenizedCorpus.Encode([new("c", "en", "t/1", ["ask me", "yes"]), new("c", "en", "t/2", [new string('x', 19), "long"]), new("c", "en", "t/3", [new string('x', 18), "fits"])], encoder);
        var sampler = new InstructionSampler();

        var samples = sampler.Places(corpus, new(20, 10)).Select(p => sampler.Make(corpus, p, new(20, 10), default)).ToArray();

        Assert.Equal(2, samples.Length);
        Assert.Equal([.. encoder.Encode("yes"), TokenizerFile.Separator], samples[0].Labels);
        Assert.Equal([.. encoder.Encode("ask me"), TokenizerFile.Separator, TokenizerFile.Start], samples[0].Context);
        Assert.Equal([.. encoder.Encode("fits"), TokenizerFile.Separator], samples[1].Labels);
    }

    [Fact]
    public void Templates_word_instructions_that_others_made_too()
    {
        Assert.Contains("have two turns", Assert.Throws<InvalidDataException>(() => new CorpusFolder(root).Records("wesnoth-en").ToArray()).Message, StringComparison.Ordinal);
        DocumentFile.Write(Path.Combine(root, "tasks-zh.jsonl.gz"), [new("tasks-zh", "zh", "pinyin/1", ["怎么读？", "ni"])]);

        Assert.Equal(new InstructionRecord("zh", "pinyin/1", "怎么读？", "", "ni"), Assert.Single(new CorpusFolder(root).Records("tasks-zh")));
        Assert.Equal(["Turn it round.\n1 apples", "apples 1"], new CorpusFolder(root).Read("skills-en").ElementAt(1).Turns);
    }

    [Theory]
    [InlineData("nothing", null, null, "plain must have {instruction}")]
    [InlineData("{instruction} {input}", null, null, "and no {input}")]
    [InlineData("{instruction}", "{input}", null, "withInput must have")]
    [InlineData("{instruction}", null, "a/b", "no slash")]
    public void A_template_that_would_lose_something_is_refused(string plain, string? withInput, string? name, string reason)
    {
        var recipe = Recipe() with { Templates = new Dictionary<string, IReadOnlyList<PromptTemplate>> { ["two"] = [new(name ?? "t", plain, withInput)] } };

        Assert.Contains(reason, Assert.Throws<RecipeException>(recipe.Checked).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Templates_that_the_recipe_has_not_are_refused()
    {
        var error = Assert.Throws<RecipeException>((Recipe() with { Templates = null }).Checked);

        Assert.Contains("no templates 'two'; the recipe has none", error.Message, StringComparison.Ordinal);
    }

    private static PluginCatalog Plugins => new(typeof(TrainingRun).Assembly);

    private static TrainingRecipe Recipe() => new("instructed", 5, new TokenizerRecipe(330, new Dictionary<string, long> { ["skills-en"] = 20_000 }),
        new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16), "^secret/", ["skills-en"],
        [new("only", "sample-mean", 2, 400, 0.003, [new("skills-en", "instruction", 1, "two")], 80, 24, ValidateEvery: 2)],
        Templates: new Dictionary<string, IReadOnlyList<PromptTemplate>> { ["two"] = [new("bare", "{instruction}"), new("full", "Do this. {instruction}\n\nAnswer:", "Do this. {instruction}\n\n{input}\n\nAnswer:", "en")] });

    private static string Text(IEnumerable<int> ids, BytePairs pairs)
    {
        var symbols = pairs.Symbols().ToArray();
        return System.Text.Encoding.UTF8.GetString([.. ids.SelectMany(id => symbols[id - TokenizerFile.Specials.Count])]);
    }
}
