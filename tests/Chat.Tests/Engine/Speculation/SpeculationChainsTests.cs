using Chat.Domain.Generation;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Engine.Speculation;
using static Chat.Tests.Engine.Speculation.Guessing;

namespace Chat.Tests.Engine.Speculation;

/// <summary>Several chains of guesses beside each other.</summary>
public sealed class SpeculationChainsTests
{
    /// <summary>Chains beside each other, the right one now at this place and now at that: what counts is which is right, not where it stands. Equal ones are checked once.</summary>
    [Theory]
    [InlineData(new[] { "right", "wrong", "wrong" }, 5, 3 * 5), InlineData(new[] { "wrong", "right", "wrong" }, 5, 3 * 5), InlineData(new[] { "wrong", "wrong", "right" }, 5, 3 * 5)]
    [InlineData(new[] { "right", "right", "right" }, 5, 5), InlineData(new[] { "wrong", "half", "right" }, 10, 2 * 10), InlineData(new[] { "wrong", "wrong" }, 20, 2 * 20)]
    [InlineData(new[] { "none", "right" }, 20, 0), InlineData(new[] { "wrong", "none", "right" }, 5, 2 * 5)]
    public void The_chain_that_is_right_is_kept_wherever_it_stands(string[] chains, int passes, int chainsChecked)
    {
        using var runner = Toy(4);
        var options = new DecodingOptions { MinTokens = 21, MaxTokens = 21, Seed = 8, SpeculationWidth = 4 };
        var alone = Ids(Alone(runner, Start(new Sample(), options, Models.Decoding.Speculation.None, [3, 4], [])));
        using var speculator = new Speculator(new Dictionary<Models.Decoding.Speculation, IDraftProposer> { [Models.Decoding.Speculation.Draft] = new Told(alone, chains) }, () => new Always(3, chains.Length), TimeProvider.System);
        var heard = Hear(new(new EngineOptions { Rows = 4 }, TimeProvider.System) { Speculator = speculator }, runner, Start(new Sample(), options, Models.Decoding.Speculation.Draft, [3, 4], []));

        Assert.Equal(alone, Ids(heard));
        var use = heard[^1].End!.Speculation!;
        Assert.Equal((passes, 20 - passes), (use.Passes, use.Confirmed));
        Assert.InRange(use.Guessed, chainsChecked * 2, chainsChecked * 3);                  // a chain has three, fewer near the reply's end
        Assert.Equal(0, runner.Held);
    }

    [Theory, InlineData("greedy"), InlineData("sample")]
    public void Further_chains_save_passes_and_one_chain_is_what_it_was(string strategy)
    {
        SpeculationUse Use(int width, int rows)
        {
            var sum = new SpeculationUse(0, 0, 0);
            for (var seed = 0; seed < 20; seed++)
            {
                using var runner = Toy(rows);
                using var speculator = Speculator(new ToyRunner(Vocabulary, rows) { Blur = 4, Tiredness = 0.1f }, () => new Always(2, width));
                var options = new DecodingOptions { MinTokens = 21, MaxTokens = 21, Seed = seed, SpeculationWidth = width };
                var use = Hear(new(new EngineOptions { Rows = rows }, TimeProvider.System) { Speculator = speculator }, runner,
                    Start(Catalog.Strategies[strategy], options, Models.Decoding.Speculation.Draft, [3 + seed % 5, 4], []))[^1].End!.Speculation!;
                sum = new(sum.Passes + use.Passes, sum.Guessed + use.Guessed, sum.Confirmed + use.Confirmed);
            }
            return sum;
        }
        var (chain, two, three) = (Use(1, 4), Use(2, 4), Use(3, 4));

        Assert.Equal(chain, Use(3, rows: 1));                                               // no row is free, nobody waits for one
        Assert.InRange(two.Passes, 1, chain.Passes - 1);
        Assert.InRange(three.Passes, 1, two.Passes - 1);
    }

    /// <summary>Where memory does not suffice for copies, chains beside the first are given up before the first, and nobody is set back.</summary>
    [Theory, InlineData(6), InlineData(8), InlineData(10), InlineData(40)]
    public void Nobody_makes_room_for_further_chains(int pages)
    {
        var options = new DecodingOptions { MinTokens = 15, MaxTokens = 15, Seed = 2, SpeculationWidth = 4 };
        using var runner = new ToyRunner(Vocabulary, 4) { Tiredness = 0.1f, Pages = pages };
        using var speculator = Speculator(new ToyRunner(Vocabulary, 4) { Blur = 4, Tiredness = 0.1f }, () => new Always(5, 4));
        var heard = Hear(new(new EngineOptions { Rows = 4 }, TimeProvider.System) { Speculator = speculator }, runner, Start(new Sample(), options, Models.Decoding.Speculation.Draft, [3, 4], []));

        Assert.Equal(Ids(Alone(runner, Start(new Sample(), options, Models.Decoding.Speculation.None, [3, 4], []))), Ids(heard));
        Assert.InRange(heard[^1].End!.Speculation!.Guessed, 1, 4 * 5 * 14);
        Assert.Equal(0, runner.Held);
    }

    [Theory, InlineData("fork"), InlineData("verify"), InlineData("truncate"), InlineData("free")]
    public void A_model_that_fails_over_further_chains_keeps_no_row(string call)
    {
        var (calls, failures) = (0, new List<Exception>());
        using var runner = new ToyRunner(Vocabulary, 6) { Tiredness = 0.1f, Before = c => { if (c == call && ++calls == 4) throw new InvalidOperationException("no memory"); } };
        using var speculator = Speculator(new ToyRunner(Vocabulary, 6) { Blur = 4, Tiredness = 0.1f }, () => new Always(3, 3));
        var loop = new GenerationLoop(new EngineOptions { Rows = 6, OnFailure = failures.Add }, TimeProvider.System) { Speculator = speculator };
        var sequences = Enumerable.Range(0, 2).Select(seed => Start(new Sample(), new DecodingOptions { MinTokens = 20, MaxTokens = 20, Seed = seed, SpeculationWidth = 3 }, Models.Decoding.Speculation.Draft, [3, 4 + seed], [])).ToArray();
        foreach (var sequence in sequences) loop.Submit(sequence);
        while (loop.Step(runner)) { }

        Assert.Single(failures);
        Assert.All(sequences, sequence => Assert.True(sequence.Output.Completion.IsCompleted || sequence.Output.Count > 0));
        Assert.InRange(runner.Held, 0, call == "free" ? 1 : 0);                             // the row that could not be freed
        Assert.Equal(6, loop.Scheduler.FreeRows.Distinct().Count());
    }

    /// <summary>Guesses what it was told will be said, or something else: wrong from the first token on, or from the second.</summary>
    private sealed class Told(int[] reply, string[] chains) : IDraftProposer
    {
        public void Propose(ReadOnlySpan<DraftRequest> requests)
        {
            foreach (var request in requests)
            {
                request.Guess.Clear();
                request.Others.Clear();
                Assert.Equal(chains.Length - 1, request.SpareRows.Count);
                request.Guess.AddRange(Chain(request, 0));
                for (var i = 1; i < chains.Length; i++) request.Others.Add([.. Chain(request, i)]);
            }
        }

        public void Free(int row) { }
        public void Dispose() { }

        private IEnumerable<int> Chain(DraftRequest request, int number)
        {
            int Wrong(int token) => 2 + (token - 2 + 1 + number) % (Vocabulary - 2);
            int[] ahead = [.. reply.Skip(request.Reply.Count).Take(request.Most)];
            return chains[number] switch
            {
                "right" => ahead,
                "wrong" => ahead.Select(Wrong),
                "half" => ahead.Select((token, i) => i == 0 ? token : Wrong(token)),
                _ => [],
            };
        }
    }
}
