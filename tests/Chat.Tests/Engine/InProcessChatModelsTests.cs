using System.Diagnostics.Metrics;
using System.Text;
using System.Text.Json.Nodes;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Tests.Engine;

public sealed class InProcessChatModelsTests : IDisposable
{
    private static readonly ByteTokenizer Tokenizer = new();
    private static readonly TokenTable Tokens = TokenTable.From(Tokenizer, Tokenizer.VocabularySize);
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(120);     // met by a hanging product only, not by a busy machine

    private readonly CancellationTokenSource deadline = new(Deadline);
    private readonly List<InProcessChatModels> disposables = [];
    private ToyRunner? runner;

    public void Dispose() => disposables.ForEach(d => d.Dispose());

    [Fact]
    public async Task A_reply_streams_and_ends_with_its_usage()
    {
        var chunks = await Hear(Serve(), Request("""{"strategy":"greedy","maxTokens":20}"""));

        Assert.True(chunks.Count > 2);
        Assert.All(chunks.SkipLast(1), c => Assert.Null(c.End));
        Assert.Equal(chunks.SelectMany(c => c.Tokens).Count(), chunks[^1].End!.CompletionTokens);
        Assert.Equal("Hello".Length + 2, chunks[^1].End!.PromptTokens);
        Assert.Equal(Encoding.UTF8.GetBytes(Text(chunks)), chunks.SelectMany(c => c.Tokens).SelectMany(t => t.Chosen.Bytes.ToArray()));
    }

    [Fact]
    public async Task Seed_and_index_make_the_reply()
    {
        var models = Serve();
        var request = Request("""{"strategy":"sample","seed":7,"noRepeatNgram":0,"repetitionPenalty":1}""");

        var first = Text(await Hear(models, request));

        Assert.Equal(first, Text(await Hear(models, request)));
        Assert.NotEqual(first, Text(await Hear(models, request with { Index = 1 })));
        Assert.NotEqual(first, Text(await Hear(models, Request("""{"strategy":"sample","seed":8,"noRepeatNgram":0,"repetitionPenalty":1}"""))));
    }

    [Fact]
    public async Task A_reply_goes_on_behind_what_was_emitted()
    {
        var models = Serve();
        var request = Request("""{"strategy":"sample","seed":3,"minTokens":12,"maxTokens":16}""");
        var whole = await Hear(models, request);
        var ids = whole.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id).ToArray();

        var rest = await Hear(models, request with { Emitted = ids[..6] });

        Assert.Equal(ids[6..], rest.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id));
        Assert.Equal(whole[^1].End, rest[^1].End);
        Assert.Equal(new GenerationEnd(FinishReason.Length, whole[^1].End!.PromptTokens, 16), (await Hear(models, request with { Emitted = [.. Enumerable.Repeat(100, 16)] }))[^1].End);
    }

    [Fact]
    public async Task Cancelling_frees_the_rows_and_throws()
    {
        var models = Serve(tiredness: 0);
        using var cancel = new CancellationTokenSource();
        var heard = 0;

        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in models.GenerateAsync(Request("""{"strategy":"greedy","maxTokens":48}"""), cancel.Token))
                if (++heard == 2) await cancel.CancelAsync();
        });

        await Until(() => runner!.Held == 0);
    }

    [Fact]
    public async Task Leaving_the_stream_is_a_stop_and_frees_the_rows()
    {
        using var ended = new Listener();
        var models = Serve(tiredness: 0, outputChunks: 1);

        await foreach (var _ in models.GenerateAsync(Request("""{"strategy":"greedy","maxTokens":48}"""), deadline.Token)) break;

        await Until(() => runner!.Held == 0);
        await Until(() => ended["chat_request_success_total/stopped"] >= 1);
    }

    [Fact]
    public async Task A_slow_reader_pauses_its_own_reply_alone()
    {
        var models = Serve(tiredness: 0, outputChunks: 2);
        var slow = models.GenerateAsync(Request("""{"strategy":"greedy","maxTokens":40}"""), deadline.Token).GetAsyncEnumerator();
        Assert.True(await slow.MoveNextAsync());
        var slowText = slow.Current.Text;

        for (var i = 0; i < 5; i++) Assert.NotEmpty(await Hear(models, Request("""{"strategy":"greedy","maxTokens":40}""", $"Other {i}")));

        Assert.True(runner!.Held == 1, "the slow reply is still there");
        while (await slow.MoveNextAsync()) slowText += slow.Current.Text;
        Assert.Equal(Text(await Hear(models, Request("""{"strategy":"greedy","maxTokens":40}"""))), slowText);
    }

    [Fact]
    public async Task Many_at_once_say_what_each_says_alone()
    {
        var models = Serve(rows: 5);
        var requests = Enumerable.Range(0, 40).Select(i => Request("""{"strategy":"STRATEGY","seed":5}""".Replace("STRATEGY", i % 3 == 0 ? "eva2" : "sample", StringComparison.Ordinal), $"Question {i}")).ToArray();

        var together = await Task.WhenAll(requests.Select(r => Hear(models, r)));

        for (var i = 0; i < requests.Length; i++) Assert.Equal(Text(await Hear(models, requests[i])), Text(together[i]));
    }

    [Fact]
    public async Task Readers_that_dawdle_leave_or_cancel_leave_nothing_behind_and_disturb_nobody()
    {
        var models = Serve(rows: 6, outputChunks: 2);
        var alone = new Dictionary<int, string>();
        for (var question = 0; question < 6; question++) alone[question] = Text(await Hear(models, Question(question)));

        await Task.WhenAll(Enumerable.Range(0, 90).Select(i => Task.Run(async () =>
        {
            using var cancel = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token);
            var heard = "";
            try
            {
                await foreach (var chunk in models.GenerateAsync(Question(i % 6), cancel.Token))
                {
                    heard += chunk.Text;
                    if (i % 3 == 1) await Task.Yield();
                    if (i % 5 == 2 && heard.Length > i % 7) await cancel.CancelAsync();
                    if (i % 5 == 3 && heard.Length > i % 7) break;
                }
                if (i % 5 is not (2 or 3)) Assert.Equal(alone[i % 6], heard);
            }
            catch (OperationCanceledException) when (i % 5 == 2) { }
            Assert.StartsWith(heard, alone[i % 6], StringComparison.Ordinal);
        })));

        await Until(() => runner!.Held == 0);

        static GenerationRequest Question(int i) => Request(i % 2 == 0 ? """{"strategy":"sample","seed":3}""" : """{"strategy":"beam","numBeams":3}""", $"Question {i}");
    }

    [Fact]
    public async Task A_model_that_cannot_start_is_unavailable_and_says_so_at_once()
    {
        var models = Serve(create: _ => throw new InvalidOperationException("no such file"));

        var error = await Assert.ThrowsAsync<GenerationException>(() => Hear(models, Request("{}")));

        Assert.Equal(GenerationError.Unavailable, error.Error);
        await Assert.ThrowsAsync<InvalidOperationException>(() => models.Ready);
    }

    [Fact]
    public async Task Shutting_down_ends_replies_instead_of_hanging()
    {
        var models = Serve(tiredness: 0, outputChunks: 1);
        var stream = models.GenerateAsync(Request("""{"strategy":"greedy","maxTokens":40}"""), deadline.Token).GetAsyncEnumerator();
        Assert.True(await stream.MoveNextAsync());

        models.Dispose();

        var error = await Assert.ThrowsAsync<GenerationException>(async () => { while (await stream.MoveNextAsync()) { } });
        Assert.Equal(GenerationError.Unavailable, error.Error);
        Assert.True(runner!.IsDisposed);
    }

    [Fact]
    public async Task Wrong_requests_are_refused_with_what_is_known()
    {
        var models = Serve();
        async Task<GenerationException> Refused(GenerationRequest request) => await Assert.ThrowsAsync<GenerationException>(() => Hear(models, request));

        Assert.Equal((GenerationError.UnknownModel, "model"), await Refused(Request("{}") with { Model = "gpt" }) is var e ? (e.Error, e.Parameter) : default);
        Assert.Contains("Known: toy", (await Refused(Request("{}") with { Model = "gpt" })).Message, StringComparison.Ordinal);
        Assert.Equal("messages", (await Refused(Request("{}") with { Messages = [new(ChatRole.System, "Be kind.")] })).Parameter);
        Assert.Equal("topLogprobs", (await Refused(Request("{}") with { TopLogprobs = 101 })).Parameter);
        Assert.Equal("emitted", (await Refused(Request("{}") with { Emitted = [5000] })).Parameter);
        Assert.Equal("index", (await Refused(Request("{}") with { Index = -1 })).Parameter);
        Assert.Equal(GenerationError.TooLong, (await Refused(Request("""{"maxTokens":49}"""))).Error);
    }

    [Fact]
    public void Check_spells_everything_out_and_draws_a_seed()
    {
        var spelled = Serve().Check("toy", new JsonObject { ["temperature"] = 0 });

        Assert.Equal(("sample", 0.0, 4711L, 48), ((string)spelled["strategy"]!, (double)spelled["temperature"]!, (long)spelled["seed"]!, (int)spelled["maxTokens"]!));
    }

    [Fact]
    public async Task Alternatives_are_reported_best_first()
    {
        var chunks = await Hear(Serve(), Request("""{"strategy":"greedy","maxTokens":5}""") with { TopLogprobs = 3 });

        Assert.All(chunks.SelectMany(c => c.Tokens), token =>
        {
            Assert.Equal(3, token.Top.Count);
            Assert.Equal(token.Top.OrderByDescending(t => t.Logprob).Select(t => t.Id), token.Top.Select(t => t.Id));
            Assert.Equal(token.Top[0].Id, token.Chosen.Id);
        });
    }

    [Fact]
    public async Task Metrics_agree_with_usage()
    {
        using var counted = new Listener();
        var models = Serve();
        var ends = new List<GenerationEnd>();
        for (var i = 0; i < 5; i++) ends.Add((await Hear(models, Request("""{"strategy":"sample","seed":1}""", $"Hi {i}")))[^1].End!);

        Assert.True(counted["chat_prompt_tokens_total"] >= ends.Sum(e => e.PromptTokens));
        Assert.True(counted["chat_generation_tokens_total"] >= ends.Sum(e => e.CompletionTokens));
    }

    private InProcessChatModels Serve(int rows = 8, float tiredness = 0.3f, int outputChunks = 64, Func<int, IRunner>? create = null)
    {
        var model = new ServedModel
        {
            Description = new() { Id = "toy", Hash = "0", CreatedAt = DateTimeOffset.UnixEpoch, Parameters = 0, MaxPromptTokens = 64, MaxCompletionTokens = 48 },
            Tokenizer = Tokenizer,
            Tokens = Tokens,
            CreateRunner = create ?? (n => runner = new ToyRunner(Tokens.Count, n) { Favourites = [.. Tokenizer.Encode("abcdefgh "), 262], Tiredness = tiredness }),
        };
        var models = new InProcessChatModels([model], Catalog, null, new() { Rows = rows, OutputChunks = outputChunks }, TimeProvider.System, () => 4711);
        disposables.Add(models);
        return models;
    }

    private static GenerationRequest Request(string decoding, string text = "Hello") => new()
    {
        RequestId = "r", Model = "toy", Messages = [new(ChatRole.User, text)], Decoding = JsonNode.Parse(decoding)!.AsObject(),
    };

    private async Task<List<GenerationChunk>> Hear(InProcessChatModels models, GenerationRequest request)
    {
        var chunks = new List<GenerationChunk>();
        await foreach (var chunk in models.GenerateAsync(request, deadline.Token)) chunks.Add(chunk);
        return chunks;
    }

    private static string Text(IEnumerable<GenerationChunk> chunks) => string.Concat(chunks.Select(c => c.Text));

    private async Task Until(Func<bool> condition)
    {
        while (!condition()) await Task.Delay(1, deadline.Token);
    }

    /// <summary>Sums of the process's counters since it began to listen; other tests may add to them.</summary>
    private sealed class Listener : IDisposable
    {
        private readonly MeterListener listener = new();
        private readonly Dictionary<string, long> sums = [];

        public Listener()
        {
            listener.InstrumentPublished = (instrument, l) => { if (instrument.Meter.Name == ChatMeter.Name) l.EnableMeasurementEvents(instrument); };
            listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
            {
                var name = instrument.Name;
                foreach (var tag in tags) name += $"/{tag.Value}";
                lock (sums) sums[name] = sums.GetValueOrDefault(name) + value;
            });
            listener.Start();
        }

        public long this[string name] { get { lock (sums) return sums.GetValueOrDefault(name); } }

        public void Dispose() => listener.Dispose();
    }
}
