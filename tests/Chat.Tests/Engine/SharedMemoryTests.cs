using System.Globalization;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Engine.Speculation;
using Chat.Models.Kernels;
using Chat.Tests.Architectures;
using Chat.Tests.Engine.Speculation;

namespace Chat.Tests.Engine;

/// <summary>Loop and kernels together with too little memory for all: replies are those of a machine that each has for itself.</summary>
public sealed class SharedMemoryTests : IDisposable
{
    private const int Rows = 6, MaxContext = 48, MaxReply = 16;
    private static readonly ByteTokenizer Tokenizer = new();
    private static readonly TokenTable Tokens = TokenTable.From(Tokenizer, Tokenizer.VocabularySize);
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
    private static readonly string[] Strategies = ["greedy", "sample", "beam", "eva2"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("encoder-decoder"), InlineData("llama"), InlineData("qwen3")]
    public void Replies_and_books_are_right_whoever_is_set_back(string kind)
    {
        var create = Model(kind, out var rowPages);
        var random = new Random(5);
        var (preemptions, confirmed, pins) = (0, 0, 0);
        for (var round = 0; round < 8; round++)
        {
            using var runner = create(rowPages + random.Next(10, 14));
            // In every other round earlier text and a model that knows all guess several chains ahead.
            using var speculator = round % 2 == 0 ? null : new Speculator(new Dictionary<Models.Decoding.Speculation, IDraftProposer>
            {
                [Models.Decoding.Speculation.Ngram] = new NgramDraft(Tokens.Separator),
                [Models.Decoding.Speculation.Draft] = new ModelDraft(create(1_000), Tokens.Separator),
            }, () => new Whim(round), TimeProvider.System);
            var loop = new GenerationLoop(new EngineOptions { Rows = Rows, PrefillTokens = random.Next(8, 60), OutputChunks = 3 }, TimeProvider.System) { Speculator = speculator };
            var jobs = Enumerable.Range(0, 10).Select(i => (Seed: random.Next(6), Kind: random.Next(Strategies.Length), Arrives: random.Next(12), Cancels: random.Next(5) == 0 ? random.Next(20) : -1, Reads: random.Next(1, 4), Priority: random.Next(2))).ToArray();
            var sequences = jobs.Select(job => Start(job.Seed, job.Kind, job.Priority)).ToArray();
            var heard = jobs.Select(_ => new List<GenerationChunk>()).ToArray();
            for (var step = 0; !sequences.All(s => s.Output.Completion.IsCompleted); step++)
            {
                Assert.InRange(step, 0, 3_000);
                for (var i = 0; i < jobs.Length; i++)
                {
                    if (jobs[i].Arrives == step) loop.Submit(sequences[i]);
                    if (jobs[i].Cancels >= 0 && jobs[i].Arrives + jobs[i].Cancels == step) sequences[i].Cancel(stopped: true);
                    if (step % jobs[i].Reads == 0)
                        while (sequences[i].Output.TryRead(out var chunk)) heard[i].Add(chunk);
                }
                if (runner.ReadsInParts && random.Next(4) == 0) PinOrUnpin(runner, loop, random, () => pins++);
                loop.Step(runner);
                CheckPages(runner, loop);
            }
            while (loop.Step(runner)) { }                                                  // pins that still read
            foreach (var seed in Enumerable.Range(0, 6)) runner.Unpin($"{seed}");
            CheckPages(runner, loop);
            preemptions += sequences.Count(s => s.WasSetBack);
            Assert.Equal(runner.Pages.Pages - runner.Pages.PinPages, runner.FreePages);
            for (var i = 0; i < jobs.Length; i++)
            {
                while (sequences[i].Output.TryRead(out var chunk)) heard[i].Add(chunk);
                var failure = sequences[i].Output.Completion.Exception?.InnerException;
                Assert.True(failure is null, $"{failure?.InnerException}");
                var (ids, alone) = (Ids(heard[i]), Alone(create, jobs[i].Seed, jobs[i].Kind));
                confirmed += heard[i].LastOrDefault()?.End?.Speculation?.Confirmed ?? 0;
                Assert.Equal(heard[i].LastOrDefault()?.End is null ? alone.Take(ids.Length) : alone, ids);
            }
        }
        Assert.InRange(preemptions, 1, int.MaxValue);
        Assert.InRange(confirmed, 10, int.MaxValue);
        Assert.InRange(pins, kind == "encoder-decoder" ? 0 : 20, kind == "encoder-decoder" ? 0 : int.MaxValue);
    }

    /// <summary>Has what a job's prompt begins with read and pinned, or lets go of it. What the budget refuses leaves no trace.</summary>
    private static void PinOrUnpin(CpuRunner runner, GenerationLoop loop, Random random, Action pinned)
    {
        var seed = random.Next(6);
        if (random.Next(2) == 0) runner.Unpin($"{seed}");
        var context = Start(seed, 0, 0).Context;
        loop.Submit(new() { Search = new PinSearch(Keep), Width = 1, Context = context, Emitted = [], Text = new(Tokens, []), Arrived = TimeProvider.System.GetTimestamp(), Priority = random.Next(2) });

        PinnedPrompt Keep()
        {
            var before = State();
            try
            {
                var pin = runner.Pin($"{seed}", context);
                Assert.Equal((context.Length / 16 * 16, seed), (pin.Tokens, int.Parse(pin.Name, CultureInfo.InvariantCulture)));
                pinned();
                return new("", false, pin);
            }
            catch (PinException)
            {
                Assert.Equal(before, State());
                throw;
            }
        }
        (int, int, string) State() => (runner.Pages.PinnedPages, runner.FreePages, string.Join(' ', runner.Pins.SelectMany(pages => pages)));
    }

    /// <summary>Each page has as many users as pasts and pins name it, no more are pinned than may be, all others but those held back for pins can be taken, and rows that nobody has hold none.</summary>
    internal static void CheckPages(CpuRunner runner, GenerationLoop loop)
    {
        PageList[] pasts = [.. runner.Pasts];
        Assert.All(loop.Scheduler.FreeRows, row => Assert.Equal((0, 0), (pasts[2 * row].Pages.Length, pasts[2 * row + 1].Pages.Length)));
        var users = new int[runner.Pages.Pages];
        foreach (var past in pasts)
            foreach (var page in past.Pages) users[page]++;
        foreach (var page in runner.Pins.SelectMany(pages => pages)) users[page]++;
        Assert.Equal(users, Enumerable.Range(0, users.Length).Select(runner.Pages.Users));
        Assert.Equal(runner.Pins.SelectMany(pages => pages).Distinct().Count(), runner.Pages.PinnedPages);
        Assert.InRange(runner.Pages.PinnedPages, 0, runner.Pages.PinPages);
        Assert.Equal(users.Count(count => count == 0) - (runner.Pages.PinPages - runner.Pages.PinnedPages), runner.FreePages);
    }

    private static int[] Alone(Func<int, CpuRunner> create, int seed, int kind)
    {
        using var runner = create(1_000);
        var loop = new GenerationLoop(new EngineOptions { Rows = Rows }, TimeProvider.System);
        var sequence = Start(seed, kind, 0);
        loop.Submit(sequence);
        while (loop.Step(runner)) { }
        var heard = new List<GenerationChunk>();
        while (sequence.Output.TryRead(out var chunk)) heard.Add(chunk);
        return Ids(heard);
    }

    private static int[] Ids(IEnumerable<GenerationChunk> chunks) => [.. chunks.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id)];

    private Func<int, CpuRunner> Model(string kind, out int rowPages)
    {
        if (kind == "encoder-decoder")
        {
            var config = TinyModel.Config with { VocabularySize = Tokens.Count, Separator = Tokenizer.Special.Separator, MaxContext = MaxContext, MaxReply = MaxReply };
            using var model = TinyModel.Build(config);
            EvaWeights.Save(model, folder.At(Checkpoint.SingleFile));
            rowPages = PageList.PagesFor(MaxContext) + PageList.PagesFor(MaxReply + 1);
            return pages =>
            {
                using var checkpoint = Checkpoint.OpenFolder(folder.Path);
                return new(config, checkpoint, Rows, cacheBytes: pages * KeyValuePages.BytesOf(config.DecoderLayers, config.Heads, config.HeadWidth));
            };
        }
        else
        {
            var config = TinyDecoder.Families[kind] with { VocabularySize = Tokens.Count, Ends = [Tokenizer.Special.Separator] };
            using var model = TinyDecoder.Build(config);
            DecoderWeights.Save(model, folder.At(Checkpoint.SingleFile));
            rowPages = PageList.PagesFor(MaxContext + MaxReply);
            return pages =>
            {
                using var checkpoint = Checkpoint.OpenFolder(folder.Path);
                var pageBytes = KeyValuePages.BytesOf(config.Layers, config.KeyValueHeads, config.HeadWidth);
                return new(config, checkpoint, Rows, MaxContext, MaxReply, cacheBytes: pages * pageBytes, pinBytes: 3 * pageBytes);
            };
        }
    }

    // Questions of 20 to 45 tokens, which begin alike.
    private static Sequence Start(int seed, int kind, int priority)
    {
        var strategy = Catalog.Strategies[Strategies[kind]];
        var options = strategy.Defaults with { Seed = seed, MaxTokens = MaxReply, Antonyms = false };
        int[] context = [.. Tokenizer.Encode($"Good day to you, {new string((char)('a' + seed % 3), 5 * (seed % 6))}"), 1, 3];
        return new()
        {
            Search = strategy.Start(options, new() { Tokens = Tokens, Dialogue = context.AsMemory(0, context.Length - 1), Random = new(seed, 0), Rules = Catalog.StartRules(options, Tokens, context.AsMemory(0, context.Length - 1)) }),
            Width = strategy.Width(options),
            Context = context,
            Emitted = [],
            Text = new(Tokens, []),
            Priority = priority,
            Tenant = $"{seed % 2}",
            Arrived = TimeProvider.System.GetTimestamp(),
            Speculation = !strategy.IsPure ? Models.Decoding.Speculation.None : seed % 2 == 0 ? Models.Decoding.Speculation.Draft : Models.Decoding.Speculation.Ngram,
            SpeculationWidth = 3,
            MaxTokens = MaxReply,
        };
    }
}
