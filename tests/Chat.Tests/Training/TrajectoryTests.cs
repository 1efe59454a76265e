using System.Text.Json;
using Chat.Training.Methods;
using Chat.Training.Objectives;

namespace Chat.Tests.Training;

public sealed class TrajectoryTests
{
    private readonly Models models = new();

    public static TheoryData<string> Kinds { get; } = ["data", "student", "half", "pair", "kept", "adaptive"];

    private static Trajectories How(string kind) => kind switch
    {
        "data" => new(),
        "student" => new() { Sources = [ReplySource.Student] },
        "half" => new() { Sources = [ReplySource.Student], Share = 0.5 },
        "pair" => new() { Sources = [ReplySource.Teacher, ReplySource.Student] },
        "kept" => new() { Sources = [ReplySource.Mixed], AtOnce = 20, Epochs = 3 },
        _ => new() { Sources = [ReplySource.Student], Replay = 15 },
    };

    [Theory, MemberData(nameof(Kinds))]
    public void A_source_that_is_opened_where_another_stood_goes_on_like_it(string kind)
    {
        var whole = Open(How(kind), null);
        var seen = new List<string>();
        var states = new List<TrajectoryState>();
        for (var i = 0; i < 12; i++)
        {
            states.Add(whole.State);
            seen.Add(Text(whole.Next(i / 12.0)));
            whole.Validated(1 + i);                                                         // ever worse: φ grows
        }
        for (var from = 0; from < 12; from += 3)
        {
            var saved = JsonSerializer.Deserialize<TrajectoryState>(JsonSerializer.Serialize(states[from], RunFolder.Json), RunFolder.Json);
            var resumed = Open(How(kind), saved);
            for (var i = from; i < 12; i++)
            {
                Assert.Equal(seen[i], Text(resumed.Next(i / 12.0)));
                resumed.Validated(1 + i);
            }
        }
    }

    [Fact]
    public void Data_gives_the_streams_own_replies()
    {
        var source = Open(How("data"), null);
        var batch = Assert.Single(source.Next(0));
        Assert.All(batch.Rollouts, r => Assert.Equal(Author.Data, r.Author));
        Assert.Equal(0, source.Written);
    }

    [Fact]
    public void A_share_of_the_updates_has_written_replies()
    {
        var source = Open(How("half"), null);
        var authors = Enumerable.Range(0, 200).Select(i => source.Next(i / 200.0)[0].Rollouts[0].Author).ToArray();
        Assert.InRange(authors.Count(a => a == Author.Student), 70, 130);                   // 5σ
        Assert.Equal(200, authors.Count(a => a is Author.Student or Author.Data));
    }

    [Fact]
    public void Each_prompt_of_a_pair_is_answered_by_both()
    {
        var source = Open(How("pair"), null);
        var rollouts = source.Next(0).Concat(source.Next(0)).SelectMany(b => b.Rollouts).ToArray();
        foreach (var group in rollouts.GroupBy(r => string.Join(' ', r.Sample.Context)))
            Assert.Equal(group.Count(r => r.Author == Author.Teacher), group.Count(r => r.Author == Author.Student));
    }

    [Fact]
    public void Kept_replies_are_learnt_from_so_many_times_before_new_ones_are_written()
    {
        var source = Open(How("kept"), null);
        var first = source.Next(0)[0];
        var written = source.Written;
        Assert.True(written >= 20);
        var counts = first.Rollouts.ToDictionary(r => r.Sample.Labels[1], _ => 1);               // its number
        for (var batch = source.Next(0); source.Written == written; batch = source.Next(0))
            foreach (var rollout in batch.SelectMany(b => b.Rollouts)) counts[rollout.Sample.Labels[1]] = counts.GetValueOrDefault(rollout.Sample.Labels[1]) + 1;

        Assert.Equal(written, counts.Count);
        Assert.All(counts.Values, count => Assert.Equal(3, count));
    }

    [Fact]
    public void The_adaptive_scheme_uses_own_words_more_the_worse_validation_gets_and_reuses_old_ones_late()
    {
        var source = Open(How("adaptive"), null);
        Assert.All(Enumerable.Range(0, 20), _ => Assert.Equal(Author.Data, source.Next(0)[0].Rollouts[0].Author));
        source.Validated(1);
        source.Validated(1.05);                                                             // within the slack
        Assert.Equal(0, source.State.OwnShare);
        for (var i = 0; i < 20; i++) source.Validated(2 + i);
        Assert.Equal(1, source.State.OwnShare, 1e-12);                                      // at most all

        Assert.All(Enumerable.Range(0, 20), _ => Assert.Equal(Author.Student, source.Next(0)[0].Rollouts[0].Author));
        var written = source.Written;
        for (var i = 0; i < 20; i++) source.Next(1);                                        // at the end nothing new is written
        Assert.Equal(written, source.Written);
        Assert.Equal(15, source.State.Replay.Count);
    }

    private TrajectorySource Open(Trajectories how, TrajectoryState? state) => new(how, scored: true, models, at => StreamTests.Open(3, at), batchTokens: 400, batchesPerUpdate: 1, seed: 3, state);

    private static string Text(IReadOnlyList<RolloutBatch> update) => JsonSerializer.Serialize(update.Select(b => b.Rollouts), RunFolder.Json);

    /// <summary>Replies that say by whom and as which they were written.</summary>
    private sealed class Models : IRolloutModels
    {
        public WrittenReply[] Write(ReplySource source, Trajectories how, IReadOnlyList<int[]> contexts, ulong seed, long number) =>
            [.. contexts.Select((c, i) => new WrittenReply([100 + (int)source, (int)(number + i), 2], [-0.1, -0.2, -0.3]))];

        public IReadOnlyList<Rollout> Score(IReadOnlyList<Rollout> rollouts) =>
            [.. rollouts.Select(r => r with { Old = [.. r.Sample.Labels.Select(l => -1.0 / (l + 1))], Teacher = [.. r.Sample.Labels.Select(l => -2.0 / (l + 3))] })];
    }
}
