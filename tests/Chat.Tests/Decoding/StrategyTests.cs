using Chat.Domain.Plugins;
using Chat.Models.Decoding;

namespace Chat.Tests.Decoding;

public sealed class StrategyTests
{
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));

    private static readonly BeamOptions PlainBeam = new() { MinTokens = 0, MaxTokens = 12, LengthPenalty = 1 };

    [Fact]
    public void Beam_of_one_is_greedy_for_any_length_penalty()
    {
        for (var seed = 0; seed < 50; seed++)
        {
            var model = new ToyModel(seed, 6);
            var greedy = model.Run(new Greedy(), new DecodingOptions { MaxTokens = 12, MinTokens = 1 }, Catalog);
            foreach (var length in new[] { 0, 0.6, 1, 1.6 })
                Assert.Equal(greedy.Ids, model.Run(new Beam(), PlainBeam with { NumBeams = 1, LengthPenalty = length, MinTokens = 1 }, Catalog).Ids);
        }
    }

    [Fact]
    public void Compat_beams_without_sampling_stay_equal_and_are_greedy_over_processed_log_probabilities()
    {
        var different = 0;
        for (var seed = 0; seed < 50; seed++)
        {
            var model = new ToyModel(seed, 8);
            var options = new BeamOptions { NumBeams = 4, TopP = 1, MaxTokens = 10, RepetitionPenalty = 1.6, NoRepeatNgram = 3 };
            var four = model.Run(new Eva2Compat(), options, Catalog);

            Assert.Equal(model.Run(new Eva2Compat(), options with { NumBeams = 1 }, Catalog).Ids, four.Ids);
            Assert.Equal(GreedyOverChain(model, options), four.Ids);
            if (!four.Ids.SequenceEqual(model.Run(new Beam(), options, Catalog).Ids)) different++;
        }
        Assert.InRange(different, 10, 50);
    }

    [Fact]
    public void Beam_as_wide_as_the_tree_finds_the_best_reply_of_all()
    {
        for (var seed = 0; seed < 30; seed++)
        {
            var model = new ToyModel(seed, 4);
            foreach (var length in new[] { 0.0, 1, 1.6 })
            {
                var options = PlainBeam with { NumBeams = 9, MaxTokens = 2, MinTokens = 1, LengthPenalty = length };

                Assert.Equal(Exhaustive(model, options), model.Run(new Beam(), options, Catalog).Ids);
            }
        }
    }

    [Fact]
    public void Length_penalty_0_ranks_by_sum_and_1_by_mean()
    {
        var start = new Hypothesis([], 0, RowRules.None);
        foreach (var (penalty, winner) in new[] { (0.0, 1), (1.0, 2) })
        {
            var core = new BeamCore(2, penalty, false, ToyModel.Separator, 2, start);
            var next = new List<Continuation>();
            core.Advance([new(-1f, 0, 2), new(-1.2f, 0, 3)], Token, next);
            core.Advance([new(-1.5f, 0, ToyModel.Separator), new(-2f, 1, 2), new(-2.5f, 0, 3)], Token, next);

            Assert.Equal(winner, core.Pool[0].Hypothesis.Length);
        }
    }

    [Fact]
    public void Compat_divides_by_the_temperature_once_more_at_every_step()
    {
        var row = new[] { -1f, -2f };
        var sum = 0f;
        for (var step = 0; step < 3; step++)
        {
            var a = row.ToArray();
            EvaSearch.Accumulate(a, sum, new BeamOptions { Temperature = 0.5, TopP = 1, TopK = 2 }, sample: true);
            sum = a[0];
        }

        Assert.Equal(-1 * (2 + 4 + 8), sum, 4);
    }

    [Fact]
    public void Temperature_zero_and_tiny_top_p_are_greedy()
    {
        foreach (var strategy in new IDecodingStrategy[] { new Sample(), new Typical(), new TopA(), new Beam(), new BeamSample(), new Contrastive() })
            for (var seed = 0; seed < 20; seed++)
            {
                var model = new ToyModel(seed, 9);
                var plain = strategy.Defaults with { RepetitionPenalty = 1, NoRepeatNgram = 0, Antonyms = false, MaxTokens = 9, Seed = seed };
                var greedy = model.Run(new Greedy(), new DecodingOptions { MaxTokens = 9 }, Catalog).Ids;

                Assert.Equal(greedy, model.Run(strategy, plain with { Temperature = 0 }, Catalog).Ids);
                if (strategy is Sample) Assert.Equal(greedy, model.Run(strategy, plain with { TopP = 1e-6, TopK = 0 }, Catalog).Ids);
            }
    }

    [Fact]
    public void Sampling_frequencies_are_the_softmax()
    {
        var model = new ToyModel(5, 6);
        var expected = model.Logits([]);
        expected[0] = float.NegativeInfinity;
        Scores.LogSoftmax(expected);
        var counts = new double[6];
        const int runs = 20_000;
        for (var seed = 0; seed < runs; seed++)
        {
            var reply = model.Run(new Sample(), new DecodingOptions { MinTokens = 0, MaxTokens = 1, Seed = seed }, Catalog);
            counts[reply.Ids.Length == 0 ? ToyModel.Separator : reply.Ids[0]]++;
        }

        var chiSquare = counts.Skip(1).Zip(expected.Skip(1)).Select(x => Math.Pow(x.First - runs * Math.Exp(x.Second), 2) / (runs * Math.Exp(x.Second))).Sum();
        Assert.InRange(chiSquare, 0, 18.5);                                                // 99.9 % of χ² with 4 degrees
    }

    /// <summary>What speculation lives on: P = Σᵢ 1 / Σⱼ max(pⱼ/pᵢ, qⱼ/qᵢ) (Daliri, Musco and Suresh, arXiv 2408.07978), never below (1 − δ) / (1 + δ).</summary>
    [Theory]
    [InlineData(1, 2), InlineData(3, 4), InlineData(5, 6), InlineData(7, 7)]
    public void Two_models_under_one_stream_draw_the_same_token_as_often_as_the_paper_says(int one, int other)
    {
        int Draw(int model, long seed) => new ToyModel(model, 7).Run(new Sample(), new DecodingOptions { MinTokens = 0, MaxTokens = 1, Seed = seed }, Catalog).Ids is [var id] ? id : ToyModel.Separator;
        double[] Law(int model)
        {
            var logits = new ToyModel(model, 7).Logits([]);
            logits[0] = float.NegativeInfinity;
            Scores.LogSoftmax(logits);
            return [.. logits.Skip(1).Select(z => Math.Exp(z))];
        }
        var (p, q) = (Law(one), Law(other));
        var expected = Enumerable.Range(0, p.Length).Sum(i => 1 / Enumerable.Range(0, p.Length).Sum(j => Math.Max(p[j] / p[i], q[j] / q[i])));
        const int runs = 20_000;

        var same = Enumerable.Range(0, runs).Count(seed => Draw(one, seed) == Draw(other, seed)) / (double)runs;

        Assert.Equal(expected, same, 5 * Math.Sqrt(expected * (1 - expected) / runs) + 1e-12);
        var distance = p.Zip(q, (a, b) => Math.Abs(a - b)).Sum() / 2;
        Assert.InRange(expected, (1 - distance) / (1 + distance) - 1e-12, 1 - distance + 1e-12);
    }

    [Fact]
    public void Drawing_without_replacement_draws_each_once_and_by_weight()
    {
        List<Candidate> candidates = [new(MathF.Log(0.6f), 0, 0), new(MathF.Log(0.3f), 0, 1), new(MathF.Log(0.1f), 0, 2)];
        var first = 0;
        var pair = 0;
        const int runs = 20_000;
        for (var seed = 0; seed < runs; seed++)
        {
            var drawn = Sampling.WithoutReplacement(candidates, 2, new RandomStream(seed, 0).At(0));
            Assert.Equal(2, drawn.Select(c => c.Token).Distinct().Count());
            if (drawn[0].Token == 0) first++;
            if (drawn.All(c => c.Token != 2)) pair++;
        }

        Assert.InRange(first / (double)runs, 0.585, 0.615);
        Assert.InRange(pair / (double)runs, 0.6 * 0.3 / 0.4 + 0.3 * 0.6 / 0.7 - 0.015, 0.6 * 0.3 / 0.4 + 0.3 * 0.6 / 0.7 + 0.015);
    }

    [Fact]
    public void Beams_deliver_what_is_certain_before_the_end_and_the_same_in_all()
    {
        var early = 0;
        for (var seed = 0; seed < 40; seed++)
        {
            var model = new ToyModel(seed, 6) { Scale = 4 };
            var options = PlainBeam with { NumBeams = 3, MinTokens = 4 };
            var search = new Beam().Start(options, new() { Tokens = model.Tokens, Random = new(1, 0), Rules = Catalog.StartRules(options, model.Tokens, default) });
            var live = new List<int[]> { Array.Empty<int>() };
            var step = new SearchStep();
            var certain = new List<int>();
            do
            {
                search.Step(live.SelectMany(ids => model.Logits(ids)).ToArray(), step);
                certain.AddRange(step.Certain.Select(c => c.Id));
                if (!step.IsDone && step.Certain.Count > 0) early++;
                live = [.. step.Next.Select(n => live[n.Parent].Append(n.Token).ToArray())];
                Assert.All(live, ids => Assert.Equal(certain, ids.Take(certain.Count)));
            }
            while (!step.IsDone);
        }
        Assert.InRange(early, 10, 400);
    }

    [Theory]
    [InlineData("beam", ""), InlineData("beam-ctl", ""), InlineData("beam-sample", ""), InlineData("eva2", ""), InlineData("eva2-compat", ""), InlineData("beam", "(a|b)cd(ef|g)*"), InlineData("eva2", "abc.*")]
    public void Beams_deliver_all_that_is_certain_and_nothing_else(string name, string expression)
    {
        var early = 0;
        for (var seed = 0; seed < 40; seed++)
        {
            var model = new ToyModel(seed, 9) { Scale = 4 };
            var options = (BeamOptions)Catalog.Strategies[name].Defaults with { NumBeams = 3, MinTokens = 0, MaxTokens = 12, Seed = seed, Antonyms = false, GuidedRegex = expression.Length == 0 ? null : expression };
            var search = Catalog.Strategies[name].Start(options, new() { Tokens = model.Tokens, Random = new(seed, 0), Rules = Catalog.StartRules(options, model.Tokens, default) });
            var live = new List<int[]> { Array.Empty<int>() };
            var step = new SearchStep();
            var certain = new List<int>();
            while (true)
            {
                search.Step(live.SelectMany(ids => model.Logits(ids)).ToArray(), step);
                certain.AddRange(step.Certain.Select(c => c.Id));
                if (step.IsDone) break;
                early += step.Certain.Count;
                live = [.. step.Next.Select(n => live[n.Parent].Append(n.Token).ToArray())];
                int[][] possible = [.. live, .. (search is EvaSearch eva ? eva.Pool : ((BeamSearch)search).Core.Pool).Select(p => p.Hypothesis.Ids.ToArray())];
                var common = Enumerable.Range(0, possible.Min(ids => ids.Length)).TakeWhile(at => possible.All(ids => ids[at] == possible[0][at])).Select(at => possible[0][at]);
                Assert.Equal(common, certain);
            }
        }
        Assert.InRange(early, 20, 480);
    }

    [Fact]
    public void Log_probabilities_are_of_the_distribution_before_the_tail_is_cut()
    {
        var model = new ToyModel(2, 6);
        var options = new DecodingOptions { Temperature = 0.5, TopK = 1, MinTokens = 0, MaxTokens = 1 };
        var search = new Sample().Start(options, new() { Tokens = model.Tokens, Random = new(1, 0), TopLogprobs = 3, Rules = RowRules.None });
        var step = new SearchStep();
        var row = model.Logits([]);
        row[ToyModel.Separator] = -9;
        var expected = row.Select(z => z / 0.5f).ToArray();
        Scores.LogSoftmax(expected);

        search.Step(row, step);

        var token = Assert.Single(step.Certain);
        Assert.Equal(expected[token.Id], token.Logprob, 4);
        Assert.Equal(expected.OrderDescending().Take(3), token.Top.Select(t => t.Logprob), (a, b) => Math.Abs(a - b) < 1e-4);
    }

    private static ChosenToken Token(Candidate c) => new(c.Token, 0, []);

    private static int[] GreedyOverChain(ToyModel model, BeamOptions options)
    {
        var chain = new EvaChain(new() { RepetitionPenalty = 1.6, NoRepeatNgram = 3, MinTokens = options.MinTokens, LogProbabilities = true }, model.Tokens, default, []);
        var ids = new List<int>();
        while (ids.Count < options.MaxTokens)
        {
            var row = model.Logits(ids.ToArray());
            chain.Apply(row, ids.ToArray());
            var best = Scores.ArgMax(row);
            if (best == ToyModel.Separator) break;
            ids.Add(best);
            chain.Append(best);
        }
        return [.. ids];
    }

    private static int[] Exhaustive(ToyModel model, BeamOptions options)
    {
        var best = (Rank: double.NegativeInfinity, Ids: Array.Empty<int>());
        void Walk(int[] ids, double sum)
        {
            var row = model.Logits(ids);
            row[0] = float.NegativeInfinity;
            if (ids.Length < options.MinTokens) row[ToyModel.Separator] = float.NegativeInfinity;
            Scores.LogSoftmax(row);
            for (var id = 0; id < model.Size; id++)
            {
                if (float.IsNegativeInfinity(row[id])) continue;
                var next = id == ToyModel.Separator ? ids : [.. ids, id];
                var rank = (sum + row[id]) / Math.Pow(next.Length, options.LengthPenalty);
                if (id != ToyModel.Separator && next.Length < options.MaxTokens) Walk(next, sum + row[id]);
                else if (rank > best.Rank) best = (rank, next);
            }
        }
        Walk([], 0);
        return best.Ids;
    }
}
