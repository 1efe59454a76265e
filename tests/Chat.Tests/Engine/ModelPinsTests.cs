using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Tests.Engine;

/// <summary>Pins of a model that is being served, on a toy that minds how much is read at once.</summary>
public sealed class ModelPinsTests : IDisposable
{
    private const int Step = 8;
    private const string Prompt = "You help people of three towns.";      // 31 tokens: several steps
    private static readonly ByteTokenizer Tokenizer = new();
    private static readonly TokenTable Tokens = TokenTable.From(Tokenizer, Tokenizer.VocabularySize);
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));

    private readonly CancellationTokenSource deadline = new(TimeSpan.FromSeconds(120));
    private readonly Dictionary<string, string> configured = [];
    private readonly Lazy<InProcessChatModels> serving;
    private Action<string> before = _ => { };
    private ToyRunner? runner;

    public ModelPinsTests() => serving = new(() => new([Model()], Catalog, null, new() { Rows = 4, PrefillTokens = Step }, TimeProvider.System, () => 4711));

    public void Dispose()
    {
        if (serving.IsValueCreated) serving.Value.Dispose();
        deadline.Dispose();
    }

    [Fact]
    public async Task A_prompt_is_read_in_parts_while_a_reply_runs_and_changes_no_word_of_it()
    {
        var alone = Text(await HearAsync());
        var heard = new List<GenerationChunk>();
        Task<PinnedPrompt>? pinning = null;
        await foreach (var chunk in serving.Value.GenerateAsync(Request, deadline.Token))
        {
            heard.Add(chunk);
            pinning ??= serving.Value.PinAsync("toy", "bus", Prompt, deadline.Token);
        }

        var pinned = await pinning!;

        Assert.Equal(new(Prompt, false, new("bus", Prompt.Length, 4 * Prompt.Length)), pinned);
        Assert.Equal([pinned], serving.Value.Pins("toy"));
        Assert.Equal(Tokenizer.Encode(Prompt), runner!.Pins["bus"]);
        Assert.Equal(alone, Text(heard));
        Assert.Equal(0, runner.Held);
    }

    [Fact]
    public async Task A_name_stands_for_one_prompt_until_it_is_let_go()
    {
        await serving.Value.PinAsync("toy", "bus", Prompt, deadline.Token);
        var read = runner!.PromptTokensRead;
        Assert.Equal(Prompt, (await serving.Value.PinAsync("toy", "bus", Prompt, deadline.Token)).SystemPrompt);
        Assert.Equal(read, runner.PromptTokensRead);
        Assert.Contains("another system prompt", (await Assert.ThrowsAsync<PinException>(() => serving.Value.PinAsync("toy", "bus", "Be brief.", deadline.Token))).Message, StringComparison.Ordinal);

        Assert.True(await serving.Value.UnpinAsync("toy", "bus"));
        Assert.False(await serving.Value.UnpinAsync("toy", "bus"));
        Assert.Empty(runner.Pins);
        Assert.Equal("Be brief.", (await serving.Value.PinAsync("toy", "bus", "Be brief.", deadline.Token)).SystemPrompt);
    }

    [Fact]
    public async Task Equal_wishes_that_come_together_are_one_pin()
    {
        var pinned = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => serving.Value.PinAsync("toy", "bus", Prompt, deadline.Token)));

        Assert.All(pinned, pin => Assert.Same(pinned[0], pin));
        Assert.Single(runner!.Pins);
    }

    [Fact]
    public async Task A_configured_one_is_there_from_the_start_and_stays()
    {
        configured["bus"] = Prompt;
        await serving.Value.Ready;

        Assert.True(Assert.Single(serving.Value.Pins("toy")).IsConfigured);
        Assert.Contains("Models:Pins", (await Assert.ThrowsAsync<PinException>(() => serving.Value.UnpinAsync("toy", "bus"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_refused_or_given_up_leaves_nothing()
    {
        await serving.Value.Ready;
        before = call => { if (call == "pin") throw new PinException("too much"); };
        Assert.Equal("too much", (await Assert.ThrowsAsync<PinException>(() => serving.Value.PinAsync("toy", "bus", Prompt, deadline.Token))).Message);

        using var cancel = new CancellationTokenSource();
        before = call => { if (call == "prefill") cancel.Cancel(); };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => serving.Value.PinAsync("toy", "bus", Prompt, cancel.Token));

        before = _ => { };
        Assert.Contains("too long", (await Assert.ThrowsAsync<PinException>(() => serving.Value.PinAsync("toy", "bus", new('x', 200), deadline.Token))).Message, StringComparison.Ordinal);
        Assert.Equal(GenerationError.UnknownModel, (await Assert.ThrowsAsync<GenerationException>(() => serving.Value.PinAsync("toy2", "bus", Prompt, deadline.Token))).Error);
        Assert.Empty(serving.Value.Pins("toy"));
        Assert.Empty(runner!.Pins);
        await HearAsync();
        Assert.Equal(0, runner.Held);
    }

    [Fact]
    public async Task A_model_that_goes_ends_the_wait()
    {
        await serving.Value.Ready;
        var unload = new Thread(() => serving.Value.UnloadAsync("toy").Wait());
        before = call =>
        {
            if (call != "prefill" || unload.IsAlive) return;
            unload.Start();
            SpinWait.SpinUntil(() => serving.Value.Models.Count == 0 && unload.ThreadState.HasFlag(ThreadState.WaitSleepJoin));      // it waits for this thread
        };

        var error = await Assert.ThrowsAsync<GenerationException>(() => serving.Value.PinAsync("toy", "bus", Prompt, deadline.Token));

        Assert.Equal(GenerationError.Unavailable, error.Error);
        unload.Join();
    }

    private ServedModel Model() => new()
    {
        Description = new() { Id = "toy", Hash = "0", CreatedAt = DateTimeOffset.UnixEpoch, Parameters = 0, MaxPromptTokens = 64, MaxCompletionTokens = 48 },
        Tokenizer = Tokenizer,
        Tokens = Tokens,
        Reader = new SystemFirst(),
        Pins = configured,
        CreateRunner = rows => runner = new ToyRunner(Tokens.Count, rows) { Favourites = [.. Tokenizer.Encode("abcdefgh "), 262], MostRead = Step, Before = call => before(call) },
    };

    private static GenerationRequest Request => new() { RequestId = "r", Model = "toy", Messages = [new(ChatRole.User, "Hello")], Decoding = new JsonObject { ["strategy"] = "greedy", ["maxTokens"] = 40 } };

    private async Task<List<GenerationChunk>> HearAsync()
    {
        var chunks = new List<GenerationChunk>();
        await foreach (var chunk in serving.Value.GenerateAsync(Request, deadline.Token)) chunks.Add(chunk);
        return chunks;
    }

    private static string Text(IEnumerable<GenerationChunk> chunks) => string.Concat(chunks.Select(c => c.Text));

    /// <summary>The system's message where it fits, and what was said last.</summary>
    private sealed class SystemFirst : IDialogueReader
    {
        public (int[] Context, int[] Dialogue) Read(IReadOnlyList<ChatMessage> messages)
        {
            int[] system = [.. messages.Where(m => m.Role == ChatRole.System).SelectMany(m => Tokenizer.Encode(m.Text))], said = [.. Tokenizer.Encode(messages[^1].Text)];
            return (system.Length + said.Length <= 64 ? [.. system, .. said] : said, said);
        }
    }
}
