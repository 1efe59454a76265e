using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using Chat.Tests.Plugins;
using CsCheck;

namespace Chat.Tests.Decoding;

/// <summary>What holds for every plugin of the kinds decoding and rule; a new one is found in the catalog.</summary>
public sealed class StrategyConformanceTests
{
    // An external plugin keeps the same promises.
    private static readonly PluginCatalog Plugins = new([typeof(IDecodingStrategy).Assembly, .. PluginFolder.Load(PluginFolderTests.Sample, [typeof(PluginCatalog).Assembly, typeof(IDecodingStrategy).Assembly])]);
    public static DecodingCatalog Catalog { get; } = new(Plugins);

    public static TheoryData<string> Strategies => [.. Plugins.OfKind("decoding").Select(p => p.Name)];
    public static TheoryData<string> Rules => [.. Plugins.OfKind("rule").Select(p => p.Name)];

    [Fact]
    public void The_catalog_holds_the_presets()
    {
        Assert.Equal(["beam", "beam-ctl", "beam-sample", "contrastive", "diverse-beam", "eva2", "eva2-compat", "greedy", "sample", "sample-epsilon", "sample-steady", "top-a", "typical"], Plugins.OfKind("decoding").Select(p => p.Name));
    }

    [Theory]
    [MemberData(nameof(Strategies))]
    public void Strategy_keeps_its_promises(string name)
    {
        var strategy = Catalog.Strategies[name];
        for (var seed = 0; seed < 25; seed++)
        {
            var model = new ToyModel(seed, 12);
            var options = strategy.Defaults with { Seed = seed, MaxTokens = 8, Antonyms = false };
            var reply = model.Run(strategy, options, Catalog, dialogue: [2, 3, 4, 1]);

            Assert.All(reply.Ids, id => Assert.InRange(id, 2, model.Size - 1));
            Assert.InRange(reply.Ids.Length, options.MinTokens, options.MaxTokens);
            Assert.True(reply.Ended || reply.Ids.Length == options.MaxTokens);
            Assert.InRange(reply.Widest, 1, strategy.Width(options));
            Assert.Equal(reply.Ids, model.Run(strategy, options, Catalog, dialogue: [2, 3, 4, 1]).Ids);
            Assert.All(reply.Tokens, t => Assert.InRange(t.Logprob, -1e6f, 1e-5f));
        }
    }

    [Theory]
    [MemberData(nameof(Strategies))]
    public void Strategy_goes_on_behind_an_emitted_prefix(string name)
    {
        var strategy = Catalog.Strategies[name];
        for (var seed = 0; seed < 10; seed++)
        {
            var model = new ToyModel(seed, 12);
            var options = strategy.Defaults with { Seed = seed, MaxTokens = 8, MinTokens = 5, Antonyms = false };
            var whole = model.Run(strategy, options, Catalog, dialogue: [2, 3, 4, 1]).Ids;

            var rest = model.Run(strategy, options, Catalog, dialogue: [2, 3, 4, 1], emitted: whole[..3]).Ids;

            if (strategy.IsPure) Assert.Equal(whole[3..], rest);
            else Assert.InRange(rest.Length, options.MinTokens - 3, options.MaxTokens - 3);
        }
    }

    [Theory]
    [MemberData(nameof(Strategies))]
    public void Strategy_bears_every_option_within_its_range(string name)
    {
        var strategy = Catalog.Strategies[name];
        var temperatures = Gen.OneOf(Gen.Const(0.0), Gen.Const(1e-300), Gen.Const(1e-9), Gen.Double[0.01, 2], Gen.Const(2.0));
        Gen.Select(Gen.Int[0, 10_000], temperatures, Gen.OneOf(Gen.Const(1.0), Gen.Const(1e-12), Gen.Double[0.01, 1]), Gen.Int[0, 15], Gen.Double[0, 1], Gen.Int[0, 4], Gen.OneOf(Gen.Const(1.0), Gen.Double[0.01, 10]), Gen.Int[1, 60])
            .Sample((seed, temperature, topP, topK, minP, ngram, theta, maxTokens) =>
        {
            var model = new ToyModel(seed, 12);
            var options = strategy.Defaults with
            {
                Seed = seed, Temperature = temperature, TopP = topP, TopK = topK, MinP = seed % 2 == 0 ? 0 : minP, NoRepeatNgram = ngram, RepetitionPenalty = theta,
                MaxTokens = maxTokens, MinTokens = Math.Min(maxTokens, seed % 7), Antonyms = false, BadWords = seed % 3 == 0 ? ["ab", "c"] : [],
                LogitBias = new Dictionary<int, double> { [5] = seed % 5 == 0 ? -100 : 100 }, FrequencyPenalty = seed % 11 == 0 ? 2 : -2, PresencePenalty = 1,
            };
            if (options is BeamOptions beams) options = beams with { NumBeams = 1 + seed % 9, LengthPenalty = seed % 6, EarlyStopping = seed % 2 == 0 };
            options = options with { TopA = seed % 4 == 0 ? minP : 0 };
            options = options switch
            {
                DiverseBeamOptions diverse => diverse with { NumGroups = 1 + seed % 5, DiversityStrength = 100 * minP },
                TypicalOptions typical => typical with { TypicalP = Math.Max(1e-9, minP) },
                ContrastiveOptions contrastive => contrastive with { Candidates = 1 + seed % 9, DegenerationPenalty = minP },
                _ => options,
            };

            var reply = model.Run(strategy, options, Catalog, dialogue: [2, 3, 4, 1]);

            Assert.InRange(reply.Ids.Length, 0, maxTokens);
            Assert.InRange(reply.Widest, 1, strategy.Width(options));
            Assert.DoesNotContain("ab", seed % 3 == 0 ? string.Concat(reply.Ids.Select(model.Tokens.Text)) : "", StringComparison.Ordinal);
            Assert.All(reply.Tokens, t => Assert.False(float.IsNaN(t.Logprob)));
        }, iter: 400);
    }

    [Theory]
    [MemberData(nameof(Strategies))]
    public void Strategy_refuses_scores_that_are_no_numbers(string name)
    {
        var strategy = Catalog.Strategies[name];
        var model = new ToyModel(1, 12);
        var search = strategy.Start(strategy.Defaults, new() { Tokens = model.Tokens, Random = new(1, 0), Rules = RowRules.None });
        var row = model.Logits([]);
        row[3] = float.NaN;

        Assert.Throws<ScoreException>(() => search.Step(row, new()));
    }

    [Theory]
    [MemberData(nameof(Strategies))]
    public void Strategy_survives_a_vocabulary_that_is_banned_whole(string name)
    {
        var strategy = Catalog.Strategies[name];
        var model = new ToyModel(3, 6);
        var options = strategy.Defaults with { BadWords = ["a", "b", "c", "d"], MaxTokens = 6, Antonyms = false };

        Assert.Empty(model.Run(strategy, options, Catalog).Ids);
    }

    [Theory]
    [MemberData(nameof(Rules))]
    public void Rule_is_pure_keeps_the_length_and_leaves_a_score(string name)
    {
        var plugin = Plugins.Get("rule", name);
        var rule = (ILogitsRule)Activator.CreateInstance(plugin.Type)!;
        var options = new DecodingOptions
        {
            RepetitionPenalty = 1.3, NoRepeatNgram = 1, MinTokens = 100, FrequencyPenalty = 1, PresencePenalty = 1, Antonyms = true,
            LogitBias = new Dictionary<int, double> { [13] = -100, [4] = 3 }, BadWords = ["你", "好吗", "a"], EqualLines = true, GuidedRegex = "[^x]*",
        };
        var tokens = EvaGoldenTests.Tokens;
        // Every entry seen: n = 1 bans them all. The last utterance is a line of five characters.
        int[] dialogue = [.. Enumerable.Range(0, 64).Reverse(), tokens.Separator, 13, 14, 15, 13, 14], reply = [31, 50, 14, 15];
        var row = new float[64];
        foreach (ref var z in row.AsSpan()) z = 1;
        var again = row.ToArray();

        var state = rule.Start(options, tokens, dialogue)!;
        foreach (var id in reply) state.Append(id);
        var fork = state.Fork();
        new RowRules([state]).Apply(row, reply);
        state.Append(17);
        new RowRules([fork]).Apply(again, reply);

        Assert.Equal(again, row);
        Assert.Contains(row, float.IsFinite);
        Assert.DoesNotContain(row, float.IsNaN);
        Assert.Null(name is "special-tokens" ? null : rule.Start(new() { MinTokens = 0 }, tokens, dialogue));
    }

    [Fact]
    public void Random_stream_is_pinned()
    {
        var draws = new RandomStream(42, 1).At(3);
        var other = new RandomStream(42, 2).At(3);
        var first = draws.Next();

        Assert.Equal(first, new RandomStream(42, 1).At(3).Next());
        Assert.NotEqual(first, other.Next());
        Assert.Equal(0.5967294908864365, first);                                            // computed apart, from the formula in RandomStream's summary
    }
}
