using System.Text;
using System.Text.Json;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Engine.Speculation;
using Chat.Models.Kernels;
using Chat.Tests.Architectures;
using CsCheck;
using static Chat.Tests.Engine.Speculation.Guessing;

namespace Chat.Tests.Engine.Speculation;

/// <summary>Whoever guesses, and however far, a reply is what it would have been.</summary>
public sealed class SpeculationTests
{
    private static readonly Models.Decoding.Speculation[] Kinds = Enum.GetValues<Models.Decoding.Speculation>();
    private static readonly string[] Strategies = ["greedy", "sample", "sample-steady", "beam"];

    private sealed record Job(int Strategy, Models.Decoding.Speculation Kind, int Width, int Arrives, int CancelsAfter, int ReadsEvery, int MaxTokens, int Emitted);

    private static readonly Gen<Job> Jobs = Gen.Select(Gen.Int[0, 3], Gen.Select(Gen.Int[0, 2], Gen.Int[1, 4]), Gen.Int[0, 8], Gen.OneOf(Gen.Const(int.MaxValue), Gen.Int[0, 12]), Gen.OneOf(Gen.Const(1), Gen.Int[2, 5]), Gen.Int[1, 20], Gen.Int[0, 4])
        .Select((strategy, guessing, arrives, cancels, reads, most, emitted) => new Job(strategy, Kinds[guessing.Item1], guessing.Item2, arrives, cancels, reads, most, emitted));

    [Fact]
    public void Replies_are_the_same_with_and_without_guesses_in_any_company()
    {
        var confirmed = 0;
        Gen.Select(Jobs.Array[1, 8], Gen.Int).Sample((jobs, seed) =>
        {
            using var runner = Toy(8);
            using var speculator = Speculator(new ToyRunner(Vocabulary, 8) { Blur = 3, Tiredness = 0.1f }, () => new Whim(seed));
            var loop = new GenerationLoop(new EngineOptions { Rows = 8, OutputChunks = 3 }, TimeProvider.System) { Speculator = speculator };
            var sequences = jobs.Select((job, i) => Begin(i, job, job.Kind)).ToArray();
            var heard = Company.Hear(loop, runner, [.. jobs.Select((job, i) => new Visit(sequences[i], job.Arrives, job.CancelsAfter, job.ReadsEvery))], longest: 1000);
            Assert.Equal(0, runner.Held);
            for (var i = 0; i < jobs.Length; i++)
            {
                var alone = Alone(runner, Begin(i, jobs[i], Models.Decoding.Speculation.None));
                var ids = Ids(heard[i]);
                if (sequences[i].IsCancelled && heard[i].LastOrDefault()?.End is null) Assert.Equal(Ids(alone).Take(ids.Length), ids);
                else
                {
                    Assert.Equal(Ids(alone), ids);
                    Assert.Equal(Text(alone), Text(heard[i]));
                    Assert.Equal(alone[^1].End, heard[i][^1].End! with { Speculation = null });
                    Assert.Equal(Logprobs(alone), Logprobs(heard[i]));
                    confirmed += heard[i][^1].End!.Speculation?.Confirmed ?? 0;
                }
            }
        }, iter: 150, threads: 1);
        Assert.InRange(confirmed, 50, int.MaxValue);
    }

    /// <summary>The joint law of three tokens under γ = 2 against the target's, enumerated; χ² with 124 degrees stays below 184 in 99.9 % of runs.</summary>
    [Theory, InlineData(0.0f, 1.0, 1), InlineData(3.0f, 1.0, 1), InlineData(3.0f, 0.7, 1), InlineData(3.0f, 1.0, 3)]
    public void Sampled_replies_follow_the_models_law(float blur, double topP, int width)
    {
        const int size = 7, runs = 20_000;
        var options = new DecodingOptions { Temperature = 0.8, TopP = topP, MinTokens = 3, MaxTokens = 3, SpeculationWidth = width };
        using var runner = new ToyRunner(size, width);
        using var speculator = new Speculator(new Dictionary<Models.Decoding.Speculation, IDraftProposer> { [Models.Decoding.Speculation.Draft] = new ModelDraft(new ToyRunner(size, width) { Blur = blur }, End) }, () => new Always(2, width), TimeProvider.System);
        var loop = new GenerationLoop(new EngineOptions { Rows = width }, TimeProvider.System) { Speculator = speculator };
        var counts = new Dictionary<(int, int, int), int>();
        for (var seed = 0; seed < runs; seed++)
        {
            int[] ids = Ids(Hear(loop, runner, Start(new Sample(), options with { Seed = seed }, Models.Decoding.Speculation.Draft, [3, 4], [], size)));
            counts[(ids[0], ids[1], ids[2])] = counts.GetValueOrDefault((ids[0], ids[1], ids[2])) + 1;
        }

        var (chiSquare, cells, rest) = (0.0, 0, (Expected: 0.0, Seen: 0));
        var law = (from a in Law([]) from b in Law([a.Id]) from c in Law([a.Id, b.Id]) select ((a.Id, b.Id, c.Id), a.P * b.P * c.P)).ToArray();
        Assert.Equal(1, law.Sum(each => each.Item2), 1e-6);
        Assert.Empty(counts.Keys.Except(law.Select(each => each.Item1)));
        foreach (var (ids, p) in law)
        {
            var (expected, seen) = (p * runs, counts.GetValueOrDefault(ids));
            if (expected < 5) rest = (rest.Expected + expected, rest.Seen + seen);
            else (chiSquare, cells) = (chiSquare + (seen - expected) * (seen - expected) / expected, cells + 1);
        }
        if (rest.Expected >= 5) (chiSquare, cells) = (chiSquare + (rest.Seen - rest.Expected) * (rest.Seen - rest.Expected) / rest.Expected, cells + 1);
        // Wilson and Hilferty: the 99.9th percentile.
        var degrees = cells - 1.0;
        Assert.InRange(chiSquare, 0, degrees * Math.Pow(1 - 2 / (9 * degrees) + 3.0902 * Math.Sqrt(2 / (9 * degrees)), 3));

        (int Id, double P)[] Law(int[] before)
        {
            using var fresh = new ToyRunner(size, 1);
            var scores = fresh.Prefill([new(0, new[] { 3, 4 }, before)]).ToArray();
            scores[End] = float.NegativeInfinity;                           // three tokens at least
            scores[0] = float.NegativeInfinity;                             // never said
            using var left = new Truncation(scores, options);
            var all = new (int, double)[left.Count];
            for (var rank = 0; rank < all.Length; rank++) all[rank] = (left.Id(rank), left.Weight(rank) / left.Mass());
            return all;
        }
    }

    /// <summary>The search that looks ahead follows the form as well: its guesses fit, so that a draft which is like its model is often right.</summary>
    [Theory]
    [InlineData("greedy", """{"guidedRegex":"([a-f]{2,4} )+[a-f]"}"""), InlineData("sample", """{"guidedRegex":"([a-f]{2,4} )+[a-f]"}""")]
    [InlineData("greedy", """{"guidedJson":{"type":"array","items":{"type":"object","properties":{"a":{"enum":["ab","b",1]},"b":{"type":"integer"}},"required":["a","b"]},"minItems":2}}""")]
    [InlineData("sample", """{"guidedJson":{"type":"array","items":{"type":"object","properties":{"a":{"enum":["ab","b",1]},"b":{"type":"integer"}},"required":["a","b"]},"minItems":2}}""")]
    public void Replies_of_a_given_form_are_the_same_with_and_without_guesses(string strategy, string form)
    {
        string[] words = ["", "", .. "[]{}\":, 0123456789-abcdefn".Select(c => $"{c}"), "{\"a\"", "\":", "b c", "ab", "\", \"b\": ", "}, {"];
        TokenTable tokens = new(words, [.. words.Select(Encoding.UTF8.GetBytes)], End);
        var (given, replies, ended) = (JsonElement.Parse(form), 0, 0);
        Sequence Make(int seed, Models.Decoding.Speculation kind)
        {
            var options = Catalog.Strategies[strategy].Defaults with
            {
                Seed = seed, MaxTokens = 36, SpeculationWidth = 1 + seed % 3, RepetitionPenalty = 1, NoRepeatNgram = 0,
                GuidedRegex = given.TryGetProperty("guidedRegex", out var regex) ? regex.GetString() : null, GuidedJson = given.TryGetProperty("guidedJson", out var json) ? json : null,
            };
            return Start(Catalog.Strategies[strategy], options, kind, [2 + seed % 9, 5], [], tokens);
        }
        foreach (var kind in Kinds.Skip(1))
        {
            var confirmed = 0;
            for (var seed = 0; seed < 12; seed++)
            {
                using var runner = new ToyRunner(words.Length, 4) { Tiredness = 0.2f };
                using var speculator = Speculator(new ToyRunner(words.Length, 4) { Blur = 2, Tiredness = 0.2f }, () => new Whim(seed));
                var heard = Hear(new(new EngineOptions { Rows = 4 }, TimeProvider.System) { Speculator = speculator }, runner, Make(seed, kind));
                var alone = Alone(runner, Make(seed, Models.Decoding.Speculation.None));

                Assert.Equal(Ids(alone), Ids(heard));
                Assert.Equal(Text(alone), Text(heard));
                Assert.Equal(Logprobs(alone), Logprobs(heard));
                confirmed += heard[^1].End!.Speculation!.Confirmed;
                replies++;
                if (heard[^1].End!.Reason == FinishReason.Stop) ended++;
            }
            Assert.InRange(confirmed, kind == Models.Decoding.Speculation.Draft ? 20 : 1, 1000);
        }
        Assert.InRange(ended, 2, replies);
    }

    [Theory, InlineData("greedy"), InlineData("sample")]
    public void A_draft_that_knows_what_the_model_knows_is_always_right(string strategy)
    {
        using var runner = Toy(1);
        using var speculator = Speculator(new ToyRunner(Vocabulary, 1) { Tiredness = 0.1f }, () => new Always(3));
        var loop = new GenerationLoop(new EngineOptions { Rows = 1 }, TimeProvider.System) { Speculator = speculator };
        var end = Hear(loop, runner, Start(Catalog.Strategies[strategy], new DecodingOptions { MinTokens = 21, MaxTokens = 21 }, Models.Decoding.Speculation.Draft, [3, 4], []))[^1].End!;

        Assert.Equal(new SpeculationUse(5, 15, 15), end.Speculation);                       // one token of the prompt's pass, five passes of four
    }

    [Fact]
    public void A_draft_that_never_agrees_costs_passes_nothing_and_changes_nothing()
    {
        using var runner = new ToyRunner(Vocabulary, 1) { Favourites = [4, 5, 6] };
        using var speculator = Speculator(new ToyRunner(Vocabulary, 1) { Favourites = [8, 9, 10] }, () => new Always(3));
        var loop = new GenerationLoop(new EngineOptions { Rows = 1 }, TimeProvider.System) { Speculator = speculator };
        var options = new DecodingOptions { TopP = 0.5, MinTokens = 9, MaxTokens = 9, Seed = 3 };
        var heard = Hear(loop, runner, Start(new Sample(), options, Models.Decoding.Speculation.Draft, [3, 4], []));

        Assert.Equal((8, 0), (heard[^1].End!.Speculation!.Passes, heard[^1].End!.Speculation!.Confirmed));
        Assert.Equal(Ids(Alone(runner, Start(new Sample(), options, Models.Decoding.Speculation.None, [3, 4], []))), Ids(heard));
    }

    [Theory, InlineData("prefill"), InlineData("decode"), InlineData("verify"), InlineData("truncate"), InlineData("free")]
    public void A_draft_that_fails_is_not_asked_again_and_replies_go_on(string call)
    {
        var failures = new List<Exception>();
        using var runner = Toy(2);
        var draft = new ToyRunner(Vocabulary, 2) { Blur = 4, Before = c => { if (c == call) throw new InvalidOperationException("no memory"); } };
        using var speculator = Speculator(draft, () => new Always(3));
        var loop = new GenerationLoop(new EngineOptions { Rows = 2, OnFailure = failures.Add }, TimeProvider.System) { Speculator = speculator };
        for (var seed = 0; seed < 3; seed++)
        {
            var options = new DecodingOptions { MinTokens = 15, MaxTokens = 15, Seed = seed };
            var heard = Hear(loop, runner, Start(new Sample(), options, Models.Decoding.Speculation.Draft, [3, 4], []));
            Assert.Equal(Ids(Alone(runner, Start(new Sample(), options, Models.Decoding.Speculation.None, [3, 4], []))), Ids(heard));
        }
        Assert.NotEmpty(failures);
        Assert.Equal(0, runner.Held);
    }

    [Theory, InlineData("greedy"), InlineData("sample")]
    public void Encoder_decoders_on_the_kernels_say_the_same_with_a_draft_and_without(string strategy)
    {
        using var model = TinyModel.Build();
        using var folder = new TemporaryFolder();
        EvaWeights.Save(model, folder.At(Checkpoint.SingleFile));
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        Compare(format => new(model.Config, checkpoint, 16, format), strategy, model.Config.VocabularySize, model.Config.MaxReply);
    }

    [Theory, InlineData("llama", "sample"), InlineData("qwen3", "sample"), InlineData("mistral", "sample"), InlineData("gpt2", "greedy")]
    public void Decoders_on_the_kernels_say_the_same_with_a_draft_and_without(string family, string strategy)
    {
        using var model = TinyDecoder.Build(family);
        using var folder = new TemporaryFolder();
        DecoderWeights.Save(model, folder.At(Checkpoint.SingleFile));
        using var checkpoint = Checkpoint.OpenFolder(folder.Path);
        Compare(format => new(model.Config, checkpoint, 16, 14, 14, format), strategy, model.Config.VocabularySize, 14);
    }

    /// <summary>The same weights in four bits are the draft: right often, not always.</summary>
    private static void Compare(Func<WeightFormat, CpuRunner> create, string strategy, int vocabulary, int longest)
    {
        using var runner = create(WeightFormat.Int8);
        using var speculator = new Speculator(new Dictionary<Models.Decoding.Speculation, IDraftProposer>
        {
            [Models.Decoding.Speculation.Ngram] = new NgramDraft(End),
            [Models.Decoding.Speculation.Draft] = new ModelDraft(create(WeightFormat.Int4), End),
        }, () => new Whim(5), TimeProvider.System);
        var loop = new GenerationLoop(new EngineOptions { Rows = runner.Rows }, TimeProvider.System) { Speculator = speculator };
        Sequence Make(int i, Models.Decoding.Speculation kind) =>
            Start(Catalog.Strategies[strategy], new DecodingOptions { MinTokens = 0, MaxTokens = longest - i, Seed = i, SpeculationWidth = 3 }, kind, TinyModel.Ids(3 + 2 * i, i), [], vocabulary);

        var sequences = Enumerable.Range(0, 5).Select(i => Make(i, Kinds[1 + i % 2])).ToArray();
        foreach (var sequence in sequences) loop.Submit(sequence);
        while (loop.Step(runner)) SharedMemoryTests.CheckPages(runner, loop);

        var confirmed = 0;
        for (var i = 0; i < sequences.Length; i++)
        {
            var heard = Read(sequences[i]);
            Assert.Equal(Ids(Alone(runner, Make(i, Models.Decoding.Speculation.None))), Ids(heard));
            confirmed += heard[^1].End!.Speculation?.Confirmed ?? 0;
        }
        Assert.InRange(confirmed, 1, 1000);
    }

    private static Sequence Begin(int seed, Job job, Models.Decoding.Speculation kind)
    {
        var strategy = Catalog.Strategies[Strategies[job.Strategy]];
        return Start(strategy, strategy.Defaults with { SpeculationWidth = job.Width, Seed = seed, MaxTokens = job.MaxTokens + job.Emitted, MinTokens = 0, Antonyms = false }, kind, [2 + seed, 5, 6, 7, 5, 6, 3], [.. Enumerable.Range(4, job.Emitted)]);
    }
}
