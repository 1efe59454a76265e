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

    private sealed record Job(int Kind, int Arrives, int CancelsAfter, int ReadsEvery);

    private static readonly Gen<Job> Jobs = Gen.Select(Gen.Int[0, 8], Gen.Int[0, 20], Gen.OneOf(Gen.Const(int.MaxValue), Gen.Int[0, 12]), Gen.OneOf(Gen.Const(1), Gen.Int[2, 9]))
        .Select((kind, arrives, cancels, reads) => new Job(kind, arrives, cancels, reads));

    [Fact]
    public void What_a_request_says_does_not_depend_on_who_else_is_there()
    {
        Jobs.Array[1, 12].Sample(jobs =>
        {
            var options = new EngineOptions { Rows = 6, PrefillBatch = 2, OutputChunks = 2 };
            var loop = new GenerationLoop(options, TimeProvider.System);
            using var runner = Runner(6);
            var sequences = jobs.Select((job, i) => Start(i, job.Kind)).ToArray();
            var heard = jobs.Select(_ => new List<GenerationChunk>()).ToArray();

            for (var step = 0; !sequences.All(s => s.Output.Completion.IsCompleted); step++)
            {
                Assert.InRange(step, 0, 5000);
                for (var i = 0; i < jobs.Length; i++)
                {
                    if (jobs[i].Arrives == step) loop.Submit(sequences[i]);
                    if (jobs[i].CancelsAfter < int.MaxValue && jobs[i].Arrives + jobs[i].CancelsAfter == step) sequences[i].Cancel(stopped: false);
                    if (step % jobs[i].ReadsEvery == 0)
                        while (sequences[i].Output.TryRead(out var chunk)) heard[i].Add(chunk);
                }
                loop.Step(runner);
                Assert.True(runner.Held <= options.Rows);
            }
            for (var i = 0; i < jobs.Length; i++)
                while (sequences[i].Output.TryRead(out var chunk)) heard[i].Add(chunk);

            Assert.Equal((0, 0.0, 0), (runner.Held, loop.Scheduler.Usage, loop.Scheduler.Waiting));
            for (var i = 0; i < jobs.Length; i++)
            {
                var alone = Alone(i, jobs[i].Kind);
                var ids = heard[i].SelectMany(c => c.Tokens).Select(t => t.Chosen.Id).ToArray();
                if (sequences[i].IsCancelled && heard[i].LastOrDefault()?.End is null) Assert.Equal(alone.SelectMany(c => c.Tokens).Take(ids.Length).Select(t => t.Chosen.Id), ids);
                else
                {
                    Assert.Equal(string.Concat(alone.Select(c => c.Text)), string.Concat(heard[i].Select(c => c.Text)));
                    Assert.Equal(alone[^1].End, heard[i][^1].End);
                    Assert.Equal(alone.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id), ids);
                }
            }
        }, iter: 150);
    }

    [Fact]
    public void Replies_differ_and_are_not_empty()
    {
        var texts = Enumerable.Range(0, 10).Select(i => string.Concat(Alone(i, i % 5).Select(c => c.Text))).ToArray();

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

    private sealed class NotANumber : ISearch
    {
        public void Step(Span<float> scores, SearchStep step) => throw new ScoreException("NaN");
    }

    private static ToyRunner Runner(int rows) => new(Tokens.Count, rows) { Favourites = Letters };

    private static List<GenerationChunk> Alone(int seed, int kind)
    {
        var loop = new GenerationLoop(new EngineOptions { Rows = 4 }, TimeProvider.System);
        using var runner = Runner(4);
        var sequence = Start(seed, kind);
        loop.Submit(sequence);
        var heard = new List<GenerationChunk>();
        while (heard.LastOrDefault()?.End is null)
        {
            loop.Step(runner);
            while (sequence.Output.TryRead(out var chunk)) heard.Add(chunk);
        }
        return heard;
    }

    private static Sequence Start(int seed, int kind, ISearch? search = null)
    {
        var strategy = Catalog.Strategies[Strategies[kind]];
        var options = strategy.Defaults with { Seed = seed, MaxTokens = 12, Antonyms = false };
        int[] context = [.. Tokenizer.Encode($"Hi {seed}"), 1, 3];
        return new()
        {
            Search = search ?? strategy.Start(options, new() { Tokens = Tokens, Dialogue = context.AsMemory(0, context.Length - 1), Random = new(seed, 0), Rules = Catalog.StartRules(options, Tokens, context.AsMemory(0, context.Length - 1)) }),
            Width = strategy.Width(options),
            Context = context,
            Emitted = [],
            Text = new(Tokens, ["ee"]),
            Arrived = TimeProvider.System.GetTimestamp(),
        };
    }
}
