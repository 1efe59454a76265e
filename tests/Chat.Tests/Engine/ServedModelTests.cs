using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Tests.Engine;

/// <summary>A real model folder through the whole engine: tokenizer, kernels, batching, strategy, text.</summary>
public sealed class ServedModelTests : IDisposable
{
    private readonly ModelFolder folder = ModelFolder.Open(Golden.At("eva/models/m1"));
    private readonly DecodingCatalog catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
    private readonly InProcessChatModels models;

    public ServedModelTests() => models = new([ServedModel.OnKernels(folder)], catalog, null, new() { Rows = 6, PrefillTokens = 64 }, TimeProvider.System, () => 9);

    public void Dispose() => models.Dispose();

    [Fact]
    public async Task Greedy_is_the_best_token_of_each_full_pass()
    {
        var served = ServedModel.OnKernels(folder);
        var (context, dialogue) = new DialogueReader(folder.Tokenizer, folder.Config.MaxContext).Read([new(ChatRole.User, "今天天气好吗")]);
        using var runner = served.CreateRunner(1);
        var options = catalog.Resolve(new() { ["strategy"] = "greedy", ["maxTokens"] = 20 }, null, null, new(100, 1, 64, false), () => 0).Options;
        var expected = new List<int>();
        while (expected.Count < 20)
        {
            var row = runner.Prefill([new(0, context, expected.ToArray())]).ToArray();
            runner.Free(0);
            var rules = catalog.StartRules(options, served.Tokens, dialogue);
            rules.Apply(row, expected.ToArray());
            var best = Scores.ArgMax(row);
            if (best == served.Tokens.Separator) break;
            expected.Add(best);
        }

        var chunks = await Hear(0, """{"strategy":"greedy","maxTokens":20}""");

        Assert.Equal(expected, chunks.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id));
        Assert.Equal(context.Length, chunks[^1].End!.PromptTokens);
    }

    [Theory]
    [InlineData("""{"strategy":"greedy","maxTokens":30}""")]
    [InlineData("""{"strategy":"sample","maxTokens":30}""")]
    public async Task Shipped_models_say_the_same_whoever_guesses(string decoding)
    {
        var (teacher, student) = (ModelFolder.Open(Shipped("chat-teacher")), ModelFolder.Open(Shipped("chat-student")));
        Assert.Equal(teacher.Description.Id, student.DraftOf);
        using var pair = new InProcessChatModels([ServedModel.OnKernels(teacher), ServedModel.OnKernels(student)], catalog, null, new() { Rows = 4 }, TimeProvider.System, () => 9);
        await pair.Ready;
        async Task<List<GenerationChunk>> Ask(string speculation)
        {
            var wish = JsonNode.Parse(decoding)!.AsObject();
            wish["speculation"] = speculation;
            var chunks = new List<GenerationChunk>();
            await foreach (var chunk in pair.GenerateAsync(new() { RequestId = "r", Model = "chat-teacher", Messages = [new(ChatRole.User, "What brings you here, stranger?")], Decoding = wish }, default)) chunks.Add(chunk);
            return chunks;
        }
        var plain = await Ask("none");
        Assert.Null(plain[^1].End!.Speculation);
        foreach (var speculation in new[] { "ngram", "draft" })
        {
            var guessed = await Ask(speculation);
            Assert.Equal(plain.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id), guessed.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id));
            Assert.Equal(Text(plain), Text(guessed));
            Assert.InRange(guessed[^1].End!.Speculation!.Confirmed, 0, guessed[^1].End!.Speculation!.Guessed);
        }
    }

    [Fact]
    public void A_draft_of_another_vocabulary_is_refused() =>
        Assert.Equal(CheckpointErrors.BadConfig, Assert.Throws<CheckpointException>(() => ServedModel.OnKernels(folder).RequireDraft(ServedModel.OnKernels(ModelFolder.Open(Shipped("chat-student"))))).Kind);

    private static string Shipped(string name) => Path.Combine(AppContext.BaseDirectory, "Shipped", name);

    [Theory]
    [InlineData("sample")]
    [InlineData("beam-ctl")]
    [InlineData("eva2")]
    [InlineData("eva2-compat")]
    public async Task Replies_of_a_batch_are_those_of_each_alone(string strategy)
    {
        var decoding = """{"strategy":"S","maxTokens":16}""".Replace("S", strategy, StringComparison.Ordinal);

        var together = await Task.WhenAll(Enumerable.Range(0, 6).Select(i => Hear(i, decoding)));

        Assert.True(together.Select(Text).Distinct().Count() > 1);
        for (var i = 0; i < together.Length; i++) Assert.Equal(Text(await Hear(i, decoding)), Text(together[i]));
    }

    private static string Text(List<GenerationChunk> chunks) => string.Concat(chunks.Select(c => c.Text));

    private async Task<List<GenerationChunk>> Hear(int index, string decoding)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        var chunks = new List<GenerationChunk>();
        var request = new GenerationRequest { RequestId = "r", Model = "m1", Messages = [new(ChatRole.User, index % 2 == 0 ? "今天天气好吗" : "你喜欢什么")], Index = index, Decoding = JsonNode.Parse(decoding)!.AsObject() };
        await foreach (var chunk in models.GenerateAsync(request, deadline.Token)) chunks.Add(chunk);
        return chunks;
    }
}
