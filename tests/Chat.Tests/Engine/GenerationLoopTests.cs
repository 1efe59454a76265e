using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using CsCheck;

namespace Chat.Tests.Engine;

public sealed class GenerationLoopTests
{
    private static readonly ByteTokenizer Tokenizer = new();
    private static readonly TokenTable Tokens = TokenTable.From(Tokenizer, Tokenizer.VocabularySize);
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
    private static readonly string[] Strategies = ["greedy", "sample", "beam", "eva2", "eva2-compat", "diverse-beam", "contrastive", "typical", "top-a"];
    private static readonly int[] Letters = [.. Tokenizer.Encode("abcde "), 262];

    /// <summary>A request and its reader. Equal prompts are equal questions.</summary>
    private sealed record Job(int Kind, int Arrives, int CancelsAfter, int ReadsEvery)
    {
        public int Prompt { get; init; }
        public int Priority { get; init; }
        public string Tenant { get; init; } = "";
    }

    /// <summary>The engine around it.</summary>
    private sealed record House(int Rows, int PrefillTokens, bool ReadsInParts, int Pages, int FailsAt);

    private static readonly Gen<Job> Jobs = Gen.Select(Gen.Int[0, 8], Gen.Int[0, 20], Gen.OneOf(Gen.Const(int.MaxValue), Gen.Int[0, 12]), Gen.OneOf(Gen.Const(1), Gen.Int[2, 9]), Gen.Int[0, 3], Gen.Int[0, 1], Gen.OneOf(Gen.Const("a"), Gen.Const("b")))
        .Select((kind, arrives, cancels, reads, prompt, priority, tenant) => new Job(kind, arrives, cancels, reads) { Prompt = prompt, Priority = priority, Tenant = tenant });

    // The widest search holds four rows, and one of them at most 6 pages of its own beside the 3 of the longest prompt.
    private static readonly Gen<House> Houses = Gen.Select(Gen.Int[4, 9], Gen.Int[1, 30], Gen.Bool, Gen.OneOf(Gen.Int[30, 60], Gen.Const(int.MaxValue)), Gen.OneOf(Gen.Const(int.MaxValue), Gen.Int[1, 60]))
        .Select((rows, tokens, parts, pages, fails) => new House(rows, tokens, parts, pages, fails));

    [Fact]
    public void What_a_request_says_does_not_depend_on_who_else_is_there()
    {
        var preemptions = 0;
        Gen.Select(Jobs.Array[1, 12], Houses).Sample((jobs, house) =>
        {
            var failures = new List<Exception>();
            var options = new EngineOptions { Rows = house.Rows, PrefillTokens = house.PrefillTokens, OutputChunks = 2, OnFailure = failures.Add };
            var loop = new GenerationLoop(options, TimeProvider.System);
            var calls = 0;
            using var runner = new ToyRunner(Tokens.Count, house.Rows)
            {
                Favourites = Letters, ReadsInParts = house.ReadsInParts, Pages = house.Pages, MostRead = house.PrefillTokens,
                Before = call => { if (call is not ("open" or "free") && ++calls == house.FailsAt) throw new InvalidOperationException("no memory"); },
            };
            var sequences = jobs.Select((job, i) => Start(i, job.Kind, prompt: job.Prompt, priority: job.Priority, tenant: job.Tenant)).ToArray();
            var heard = Company.Hear(loop, runner, [.. jobs.Select((job, i) => new Visit(sequences[i], job.Arrives, job.CancelsAfter, job.ReadsEvery))], longest: 5000, step =>
            {
                CheckBooks(loop, runner, options);
                for (var i = 0; i < jobs.Length; i++) Assert.False(sequences[i].IsCancelled && jobs[i].Arrives <= step && !sequences[i].Output.Completion.IsCompleted && sequences[i].Output.Count == 0, "cancelled, and not ended within a step");
            });
            preemptions += sequences.Count(s => s.WasSetBack);

            Assert.Equal((0, 0.0, 0), (runner.Held, loop.Scheduler.Usage, loop.Scheduler.Waiting));
            Assert.InRange(failures.Count, 0, 1);
            for (var i = 0; i < jobs.Length; i++)
            {
                var alone = Alone(i, jobs[i]);
                var ids = heard[i].SelectMany(c => c.Tokens).Select(t => t.Chosen.Id).ToArray();
                var hasFailed = sequences[i].Output.Completion.Exception?.InnerException is GenerationException;
                Assert.True(!hasFailed || failures.Count > 0);
                if ((sequences[i].IsCancelled || hasFailed) && heard[i].LastOrDefault()?.End is null) Assert.Equal(alone.SelectMany(c => c.Tokens).Take(ids.Length).Select(t => t.Chosen.Id), ids);
                else
                {
                    Assert.Equal(string.Concat(alone.Select(c => c.Text)), string.Concat(heard[i].Select(c => c.Text)));
                    Assert.Equal(alone[^1].End, heard[i][^1].End);
                    Assert.Equal(alone.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id), ids);
                }
            }
        }, iter: 300);
        Assert.True(preemptions > 0, "no schedule set anybody back");
    }

    /// <summary>No row belongs to two, none is lost, and the runner holds none that nobody has.</summary>
    private static void CheckBooks(GenerationLoop loop, ToyRunner runner, EngineOptions options)
    {
        var rows = loop.Scheduler.Running.SelectMany(s => s.Rows).ToArray();
        Assert.Equal(rows.Length, rows.Distinct().Count());
        Assert.Equal(rows.Length / (double)options.Rows, loop.Scheduler.Usage, 1e-9);
        Assert.All(runner.HeldRows, row => Assert.Contains(row, rows));
        Assert.All(loop.Scheduler.Running, s => Assert.True(s.Live.All(l => s.Rows.Contains(l.Row)) && s.Live.Select(l => l.Row).Distinct().Count() == s.Live.Count && s.Rows.Length == s.Width));
    }

    [Fact]
    public void Replies_differ_and_are_not_empty()
    {
        var texts = Enumerable.Range(0, 10).Select(i => string.Concat(Alone(i, new(i % 5, 0, 0, 0) { Prompt = i }).Select(c => c.Text))).ToArray();

        Assert.Equal(10, texts.Distinct().Count());
        Assert.All(texts, t => Assert.InRange(t.Length, 1, 60));
    }

    [Fact]
    public void A_full_queue_is_busy_and_says_when_to_come_again()
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 4, QueueLimit = 2 }, TimeProvider.System);
        loop.Submit(Start(0, 0));
        loop.Submit(Start(1, 0));

        var error = Assert.Throws<GenerationException>(() => loop.Submit(Start(2, 0)));

        Assert.Equal(GenerationError.Busy, error.Error);
        Assert.InRange(error.RetryAfter!.Value.TotalSeconds, 1, 60);
    }

    [Fact]
    public void A_wide_request_is_not_starved_by_narrow_ones_behind_it()
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 4 }, TimeProvider.System);
        using var runner = Runner(4);
        var (narrow, wide, late) = (Start(0, 0), Start(1, 2), Start(2, 0));
        foreach (var sequence in new[] { narrow, wide, late }) loop.Submit(sequence);

        while (!wide.Output.Completion.IsCompleted && wide.Output.Count == 0)
        {
            Assert.Equal(0, late.Output.Count);
            while (narrow.Output.TryRead(out _)) { }
            loop.Step(runner);
        }
    }

    [Fact]
    public void A_cancelled_request_frees_its_rows_within_one_step()
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 4 }, TimeProvider.System);
        using var runner = Runner(4);
        var sequence = Start(3, 3);
        loop.Submit(sequence);
        loop.Step(runner);
        loop.Step(runner);
        Assert.Equal(1.0, loop.Scheduler.Usage);

        sequence.Cancel(stopped: true);
        loop.Step(runner);

        Assert.Equal((0.0, 0), (loop.Scheduler.Usage, runner.Held));
    }

    [Theory]
    [InlineData("prefill")]
    [InlineData("decode")]
    [InlineData("fork")]
    public async Task A_failing_runner_fails_those_it_touched_and_the_next_request_is_answered(string call)
    {
        var failing = true;
        var failures = new List<Exception>();
        var loop = new GenerationLoop(new EngineOptions { Rows = 6, OnFailure = failures.Add }, TimeProvider.System);
        using var runner = new ToyRunner(Tokens.Count, 6) { Favourites = Letters, Before = c => { if (failing && c == call) throw new InvalidOperationException("no memory"); } };
        var sequence = Start(1, 2);
        loop.Submit(sequence);
        for (var i = 0; i < 5; i++) loop.Step(runner);

        var error = await Assert.ThrowsAsync<GenerationException>(async () => { await foreach (var _ in sequence.Output.ReadAllAsync()) { } });
        Assert.Equal(GenerationError.Unavailable, error.Error);
        Assert.Single(failures);
        failing = false;
        var next = Start(1, 2);
        loop.Submit(next);
        while (!next.Output.Completion.IsCompleted && (!next.Output.TryRead(out var chunk) || chunk.End is null)) loop.Step(runner);
        Assert.Equal(0.0, loop.Scheduler.Usage);
    }

    [Fact]
    public void A_row_that_is_no_number_fails_its_request_alone()
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 2 }, TimeProvider.System);
        using var runner = Runner(2);
        var (good, bad) = (Start(0, 0), Start(1, 0, new NotANumber()));
        loop.Submit(bad);
        loop.Submit(good);
        while (!good.Output.Completion.IsCompleted)
        {
            while (good.Output.TryRead(out _)) { }
            loop.Step(runner);
        }

        Assert.Equal(GenerationError.Unavailable, Assert.IsType<GenerationException>(bad.Output.Completion.Exception!.InnerException).Error);
        Assert.True(good.Output.Completion.IsCompletedSuccessfully);
    }

    [Fact]
    public void A_long_prompt_holds_running_replies_up_for_one_part_at_a_time()
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 4, PrefillTokens = 8 }, TimeProvider.System);
        using var runner = new ToyRunner(Tokens.Count, 4) { Favourites = Letters, MostRead = 8, Tiredness = 0 };
        var (quick, slow) = (Start(0, 1), Start(1, 0, length: 40));
        loop.Submit(quick);
        loop.Step(runner);
        loop.Submit(slow);

        while (slow.Output.Count == 0)
        {
            var (read, chosen) = (runner.PromptTokensRead, quick.Chosen);
            loop.Step(runner);
            Assert.InRange(runner.PromptTokensRead - read, 1, 8);
            Assert.Equal(chosen + 1, quick.Chosen);
        }
    }

    [Fact]
    public void Choices_of_one_request_read_its_prompt_once()
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 4, PrefillTokens = 3 }, TimeProvider.System);
        using var runner = new ToyRunner(Tokens.Count, 4) { Favourites = Letters };
        var choices = Enumerable.Range(0, 4).Select(i => Start(10 + i, 1, prompt: 7)).ToArray();
        foreach (var choice in choices) loop.Submit(choice);
        while (choices.Any(c => c.Output.Count == 0)) loop.Step(runner);

        Assert.Equal(choices[0].Context.Length + 1, runner.PromptTokensRead);
        Assert.Equal(4, runner.Held);
    }

    [Fact]
    public void A_more_important_request_takes_the_place_of_the_newest_less_important_one_which_goes_on_later()
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 2 }, TimeProvider.System);
        using var runner = Runner(2);
        var (old, young, important) = (Start(0, 1), Start(1, 1), Start(2, 0, priority: 1));
        loop.Submit(old);
        loop.Submit(young);
        for (var i = 0; i < 3; i++) loop.Step(runner);

        loop.Submit(important);
        loop.Step(runner);
        Assert.Equal([old, important], loop.Scheduler.Running);

        Assert.Equal(Texts(Alone(2, new(0, 0, 0, 0) { Prompt = 2 })), Texts(Rest(loop, runner, important)));
        Assert.Equal(Texts(Alone(1, new(1, 0, 0, 0) { Prompt = 1 })), Texts(Rest(loop, runner, young)));
    }

    [Fact]
    public void Who_does_not_listen_gives_way_to_others_and_goes_on_when_there_is_room()
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 1, OutputChunks = 2 }, TimeProvider.System);
        using var runner = Runner(1);
        var (deaf, other) = (Start(0, 1), Start(1, 1));
        loop.Submit(deaf);
        while (loop.Step(runner)) { }
        Assert.Equal(1, runner.Held);                                                       // nobody needs its row yet

        loop.Submit(other);

        Assert.Equal(Texts(Alone(1, new(1, 0, 0, 0) { Prompt = 1 })), Texts(Rest(loop, runner, other)));
        Assert.Equal(Texts(Alone(0, new(1, 0, 0, 0) { Prompt = 0 })), Texts(Rest(loop, runner, deaf)));
    }

    [Fact]
    public void A_request_that_no_memory_could_hold_fails_alone()
    {
        var failures = new List<Exception>();
        var loop = new GenerationLoop(new EngineOptions { Rows = 4, OnFailure = failures.Add }, TimeProvider.System);
        using var runner = new ToyRunner(Tokens.Count, 4) { Favourites = Letters, Pages = 6 };
        var (wide, small) = (Start(1, 2), Start(0, 0));
        loop.Submit(wide);
        loop.Submit(small);

        Assert.Equal(Texts(Alone(0, new(0, 0, 0, 0) { Prompt = 0 })), Texts(Rest(loop, runner, small)));
        while (wide.Output.TryRead(out _)) { }
        Assert.Contains("more memory", Assert.Single(failures).Message, StringComparison.Ordinal);
        Assert.Equal(GenerationError.Unavailable, Assert.IsType<GenerationException>(wide.Output.Completion.Exception!.InnerException).Error);
    }

    private static string Texts(IEnumerable<GenerationChunk> chunks) => string.Concat(chunks.Select(c => c.Text));

    /// <summary>What a submitted request says from now to its end.</summary>
    private static List<GenerationChunk> Rest(GenerationLoop loop, IRunner runner, Sequence sequence)
    {
        var heard = new List<GenerationChunk>();
        for (var step = 0; heard.LastOrDefault()?.End is null; step++)
        {
            Assert.InRange(step, 0, 500);
            while (sequence.Output.TryRead(out var chunk)) heard.Add(chunk);
            loop.Step(runner);
        }
        return heard;
    }

    private sealed class NotANumber : ISearch
    {
        public void Step(Span<float> scores, SearchStep step) => throw new ScoreException("NaN");
    }

    private static ToyRunner Runner(int rows) => new(Tokens.Count, rows) { Favourites = Letters };

    private static List<GenerationChunk> Alone(int seed, Job job)
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 4 }, TimeProvider.System);
        using var runner = Runner(4);
        var sequence = Start(seed, job.Kind, prompt: job.Prompt);
        loop.Submit(sequence);
        return Rest(loop, runner, sequence);
    }

    private static Sequence Start(int seed, int kind, ISearch? search = null, int? prompt = null, int priority = 0, string tenant = "", int length = 0)
    {
        var strategy = Catalog.Strategies[Strategies[kind]];
        var options = strategy.Defaults with { Seed = seed, MaxTokens = 12, Antonyms = false };
        int[] context = [.. Tokenizer.Encode($"Hi {prompt ?? seed}{new string('!', length)}"), 1, 3];
        return new()
        {
            Search = search ?? strategy.Start(options, new() { Tokens = Tokens, Dialogue = context.AsMemory(0, context.Length - 1), Random = new(seed, 0), Rules = Catalog.StartRules(options, Tokens, context.AsMemory(0, context.Length - 1)) }),
            Width = strategy.Width(options),
            Context = context,
            Emitted = [],
            Text = new(Tokens, ["ee"]),
            Tenant = tenant,
            Priority = priority,
            Arrived = TimeProvider.System.GetTimestamp(),
        };
    }
}
