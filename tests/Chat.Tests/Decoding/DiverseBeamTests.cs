using Chat.Models.Decoding;
using CsCheck;

namespace Chat.Tests.Decoding;

public sealed class DiverseBeamTests
{
    private static readonly DecodingCatalog Catalog = StrategyConformanceTests.Catalog;
    private static readonly DiverseBeamOptions Plain = new() { MinTokens = 1, MaxTokens = 7, LengthPenalty = 1 };

    [Fact]
    public void One_group_is_beam_search()
    {
        Gen.Select(Gen.Int[0, 10_000], Gen.Int[1, 6], Gen.Double[0, 9]).Sample((seed, beams, strength) =>
        {
            var model = new ToyModel(seed, 8);
            var beam = model.Run(new Beam(), new BeamOptions { MinTokens = 1, MaxTokens = 7, LengthPenalty = 1, NumBeams = beams }, Catalog);

            Assert.Equal(beam.Ids, model.Run(new DiverseBeam(), Plain with { NumBeams = beams, NumGroups = 1, DiversityStrength = strength }, Catalog).Ids);
        }, iter: 200);
    }

    [Fact]
    public void Every_choice_is_the_slow_forms_reply()
    {
        Gen.Select(Gen.Int[0, 10_000], Gen.Int[1, 7], Gen.Int[1, 8], Gen.OneOf(Gen.Const(0.0), Gen.Double[0, 3], Gen.Const(50.0)), Gen.Bool).Sample((seed, beams, groups, strength, early) =>
        {
            var model = new ToyModel(seed, 7);
            var options = Plain with { NumBeams = beams, NumGroups = groups, DiversityStrength = strength, EarlyStopping = early };
            var slow = Slow(model, options);

            for (var choice = 0; choice < slow.Count; choice++)
            {
                var search = new DiverseBeam().Start(options, new() { Tokens = model.Tokens, Random = new(1, 0), Choice = choice, Rules = Catalog.StartRules(options, model.Tokens, default) });
                Assert.Equal(slow[choice], model.Run(search, beams, []).Ids);
            }
        }, iter: 400);
    }

    [Fact]
    public void Strong_diversity_gives_each_group_words_of_its_own()
    {
        for (var seed = 0; seed < 30; seed++)
        {
            var model = new ToyModel(seed, 14);
            var options = Plain with { NumBeams = 3, NumGroups = 3, DiversityStrength = 100, MinTokens = 7 };
            var replies = Enumerable.Range(0, 3).Select(choice => model.Run(
                new DiverseBeam().Start(options, new() { Tokens = model.Tokens, Random = new(1, 0), Choice = choice, Rules = Catalog.StartRules(options, model.Tokens, default) }), 3, []).Ids).ToArray();

            for (var at = 0; at < 7; at++) Assert.Equal(3, replies.Select(ids => ids[at]).Distinct().Count());
        }
    }

    /// <summary>The algorithm as it is written down: whole lists, sorted. The best group's best reply first.</summary>
    private static List<int[]> Slow(ToyModel model, DiverseBeamOptions options)
    {
        var count = Math.Min(options.NumGroups, options.NumBeams);
        var groups = Enumerable.Range(0, count).Select(g => new Group(options.NumBeams / count + (g < options.NumBeams % count ? 1 : 0))).ToArray();
        for (var length = 0; length < options.MaxTokens; length++)
        {
            var chosen = new List<int>();
            foreach (var group in groups.Where(g => !g.Done))
            {
                var ranked = group.Live.SelectMany((live, beam) => Row(live.Ids).Select((logprob, id) => (Beam: beam, Id: id, Sum: live.Sum + logprob)))
                    .Where(c => !double.IsNegativeInfinity(c.Sum))
                    .OrderByDescending(c => (float)(c.Sum - options.DiversityStrength * chosen.Count(id => id == c.Id))).ThenBy(c => c.Beam).ThenBy(c => c.Id).Take(2 * group.Size).ToList();
                List<(int[] Ids, float Sum)> next = [];
                for (var rank = 0; rank < ranked.Count && next.Count < group.Size; rank++)
                {
                    var (beam, id, sum) = ranked[rank];
                    if (id != ToyModel.Separator) next.Add(([.. group.Live[beam].Ids, id], sum));
                    else if (rank < group.Size) group.Finish(group.Live[beam].Ids, sum / Math.Pow(Math.Max(1, length), options.LengthPenalty));
                }
                chosen.AddRange(next.Select(n => n.Ids[^1]));
                group.Live = next;
                var best = ranked.Max(c => c.Sum) / Math.Pow(Math.Max(1, length), options.LengthPenalty);
                group.Done = group.Finished.Count >= group.Size && (options.EarlyStopping || group.Finished[^1].Rank >= best);
                if (group.Done || (next.Count > 0 && length + 1 < options.MaxTokens)) continue;
                foreach (var (ids, sum) in next) group.Finish(ids, sum / Math.Pow(ids.Length, options.LengthPenalty));
                group.Done = true;
            }
        }
        return [.. groups.Select(g => g.Finished[0]).OrderByDescending(f => f.Rank).Select(f => f.Ids)];

        float[] Row(int[] ids)
        {
            var row = model.Logits(ids);
            row[0] = float.NegativeInfinity;
            if (ids.Length < options.MinTokens) row[ToyModel.Separator] = float.NegativeInfinity;
            Scores.LogSoftmax(row);
            return row;
        }
    }

    private sealed class Group(int size)
    {
        public int Size => size;
        public List<(int[] Ids, float Sum)> Live { get; set; } = [([], 0)];
        public List<(int[] Ids, double Rank)> Finished { get; private set; } = [];
        public bool Done { get; set; }

        public void Finish(int[] ids, double rank) => Finished = [.. Finished.Append((ids, rank)).OrderByDescending(f => f.Item2).Take(size)];
    }
}
