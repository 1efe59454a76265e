using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Tests.Engine.Speculation;

/// <summary>Drafts that come and go with what is loaded: replies say the same with, without, and in between.</summary>
public sealed class DraftChangesTests : IDisposable
{
    private static readonly ByteTokenizer Tokenizer = new();
    private static readonly TokenTable Tokens = TokenTable.From(Tokenizer, Tokenizer.VocabularySize);
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));

    private readonly CancellationTokenSource deadline = new(TimeSpan.FromSeconds(120));
    private readonly List<(string Model, ToyRunner Runner)> runners = [];
    private InProcessChatModels models = Serving();

    public void Dispose()
    {
        models.Dispose();
        deadline.Dispose();
    }

    [Theory]
    [InlineData("big small"), InlineData("small big"), InlineData("big|small"), InlineData("small|big"), InlineData("|big small")]
    public async Task In_whatever_order_they_are_loaded_and_unloaded(string order)
    {
        var (start, loads) = order.Split('|') is [var first, var rest] ? (first, rest) : ("", order);
        models = Serving([.. start.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(id => Model(id))]);
        await models.Ready;
        foreach (var id in loads.Split(' ')) await models.LoadAsync(Model(id));

        Assert.True(HasDraft("big"));
        Assert.False(HasDraft("small"));
        var plain = await HearAsync("none");
        var guessed = await HearAsync("draft");
        Assert.InRange(guessed[^1].End!.Speculation!.Guessed, 1, int.MaxValue);
        Assert.Equal(Text(plain), Text(guessed));

        await models.UnloadAsync("small");
        Assert.False(HasDraft("big"));
        Assert.All(runners, r => Assert.Equal(r.Model == "small", r.Runner.IsDisposed));
        var alone = await HearAsync("draft");
        Assert.Null(alone[^1].End!.Speculation);
        Assert.Equal(Text(plain), Text(alone));

        await models.LoadAsync(Model("small"));
        Assert.InRange((await HearAsync("draft"))[^1].End!.Speculation!.Guessed, 1, int.MaxValue);
        await models.UnloadAsync("big");
        await models.UnloadAsync("small");
        Assert.All(runners, r => Assert.True(r.Runner.IsDisposed));
    }

    [Theory]
    [InlineData(true), InlineData(false)]
    public async Task In_the_middle_of_a_reply(bool comes)
    {
        models = Serving(Model("big"));
        await models.Ready;
        var plain = Text(await HearAsync("draft"));
        if (!comes) await models.LoadAsync(Model("small"));

        var heard = new List<GenerationChunk>();
        await foreach (var chunk in models.GenerateAsync(Request("draft"), deadline.Token))
        {
            heard.Add(chunk);
            if (heard.Count != 2) continue;
            if (comes) await models.LoadAsync(Model("small"));
            else await models.UnloadAsync("small");
        }

        Assert.Equal(plain, Text(heard));
        Assert.InRange(heard[^1].End!.Speculation!.Guessed, 1, int.MaxValue);      // before it went, or since it came
        Assert.Equal(comes, HasDraft("big"));
    }

    [Fact]
    public async Task Of_several_the_smallest_guesses_and_the_next_takes_its_place()
    {
        models = Serving(Model("big"), Model("small", parameters: 20));
        await models.Ready;
        await models.LoadAsync(Model("smaller", parameters: 10));
        await HearAsync("draft");
        Assert.InRange(Calls("smaller"), 1, int.MaxValue);
        Assert.Equal(0, Calls("small"));

        await models.UnloadAsync("smaller");
        Assert.InRange((await HearAsync("draft"))[^1].End!.Speculation!.Guessed, 1, int.MaxValue);
        Assert.InRange(Calls("small"), 1, int.MaxValue);

        int Calls(string model) => runners.Where(r => r.Model == model).Sum(r => r.Runner.Calls);
    }

    [Theory]
    [InlineData("big"), InlineData("small")]
    public async Task One_of_another_vocabulary_is_refused_whichever_comes_second(string first)
    {
        var second = first == "big" ? "small" : "big";
        models = Serving(Model(first));
        await models.Ready;
        var other = Model(second) with { Tokens = TokenTable.From(Tokenizer, Tokenizer.VocabularySize + 1) };

        var error = await Assert.ThrowsAsync<CheckpointException>(() => models.LoadAsync(other));

        Assert.Contains("small is said to be the draft of big, but their vocabularies differ", error.Message, StringComparison.Ordinal);
        Assert.Equal([first], models.Models.Select(m => m.Id));
        await models.LoadAsync(Model(second));
        Assert.True(HasDraft("big"));
        await models.UnloadAsync(second);
    }

    [Fact]
    public async Task One_that_cannot_be_made_is_not_served_and_leaves_the_other_as_it_was()
    {
        models = Serving(Model("big"));
        await models.Ready;
        var small = Model("small");
        var made = 0;
        var once = small with { CreateRunner = rows => made++ == 0 ? small.CreateRunner(rows) : throw new InsufficientMemoryException("no room") };

        await Assert.ThrowsAsync<InsufficientMemoryException>(() => models.LoadAsync(once));

        Assert.Equal(["big"], models.Models.Select(m => m.Id));
        Assert.Null((await HearAsync("draft"))[^1].End!.Speculation);
    }

    private static InProcessChatModels Serving(params ServedModel[] models) => new(models, Catalog, null, new() { Rows = 4, OutputChunks = 2 }, TimeProvider.System, () => 4711);

    private bool HasDraft(string id) => models.Offers.Single(o => o.Model.Description.Id == id).Load.HasDraft;

    private ServedModel Model(string id, long parameters = 10) => new()
    {
        Description = new() { Id = id, Hash = id, CreatedAt = DateTimeOffset.UnixEpoch, Parameters = parameters, MaxPromptTokens = 64, MaxCompletionTokens = 48 },
        DraftOf = id == "big" ? null : "big",
        Tokenizer = Tokenizer,
        Tokens = Tokens,
        CreateRunner = rows =>
        {
            var runner = new ToyRunner(Tokens.Count, rows) { Favourites = [.. Tokenizer.Encode("abcdefgh "), 262], Tiredness = 0, Blur = id == "big" ? 0 : 0.5f };
            lock (runners) runners.Add((id, runner));
            return runner;
        },
    };

    private static GenerationRequest Request(string speculation) => new()
    {
        RequestId = "r", Model = "big", Messages = [new(ChatRole.User, "Hello")], Decoding = new JsonObject { ["strategy"] = "sample", ["seed"] = 5, ["maxTokens"] = 40, ["speculation"] = speculation },
    };

    private async Task<List<GenerationChunk>> HearAsync(string speculation)
    {
        var chunks = new List<GenerationChunk>();
        await foreach (var chunk in models.GenerateAsync(Request(speculation), deadline.Token)) chunks.Add(chunk);
        return chunks;
    }

    private static string Text(IEnumerable<GenerationChunk> chunks) => string.Concat(chunks.Select(c => c.Text));
}
