using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Judges;
using TorchSharp;

namespace Chat.Tests.Training.Evaluation;

public class JudgeTests
{
    private static readonly PluginCatalog Plugins = new(typeof(IJudge).Assembly);

    public static TheoryData<string> Judges => [.. Plugins.OfKind("judge").Select(p => p.Name)];

    private static JudgedPair Pair(string first, string second, params string[] references) => new(["hello"], first, second, "en", references);

    [Theory, MemberData(nameof(Judges))]
    public async Task Every_judge_ties_equal_replies_is_blind_to_places_and_repeats_itself(string name)
    {
        var judge = Plugins.Create<IJudge>(name);
        JudgedPair pair = Pair("well met", "no", "well met, friend"), swapped = Pair("no", "well met", "well met, friend");

        Assert.Equal(Verdict.Tie, await judge.CompareAsync(Pair("same", "same", "same"), new ByLength(), default));
        Assert.Equal(Verdict.First, await judge.CompareAsync(pair, new ByLength(), default));
        Assert.Equal(Verdict.Second, await judge.CompareAsync(swapped, new ByLength(), default));
        Assert.Equal(Verdict.First, await judge.CompareAsync(pair, new ByLength(), default));
    }

    [Fact]
    public async Task The_teachers_judgement_is_by_token()
    {
        var judge = new TeacherLikelihoodJudge();
        var teacher = new Fixed(new() { ["short"] = [-2.0], ["long"] = [-1.0, -1.0, -1.0], ["near"] = [-1.005] });

        Assert.Equal(Verdict.Second, await judge.CompareAsync(Pair("short", "long"), teacher, default));
        Assert.Equal(Verdict.Tie, await judge.CompareAsync(Pair("near", "long"), teacher, default));
    }

    [Fact]
    public async Task A_judge_who_prefers_a_place_decides_nothing()
    {
        JudgedPair[] pairs = [Pair("a", "b"), Pair("c", "d")];

        var preference = await PairwisePreference.OfFirstAsync(new First(), pairs, new ByLength(), default);

        Assert.Equal((0, 2, 0, 1.0), (preference.Wins, preference.Ties, preference.Losses, preference.PValue));
        Assert.Equal((0.0, 1.0), (preference.Share.Low, preference.Share.High));
    }

    [Fact]
    public async Task Wins_ties_and_losses_are_the_first_models()
    {
        JudgedPair[] pairs = [Pair("well met", "no", "well met"), Pair("no", "well met", "well met"), Pair("x", "y", "z"), Pair("well met", "no", "well met")];

        var preference = await PairwisePreference.OfFirstAsync(new ReferenceJudge(), pairs, new ByLength(), default);

        Assert.Equal((2, 1, 1), (preference.Wins, preference.Ties, preference.Losses));
    }

    [Theory]
    [InlineData(8, 10, 0.4439045, 0.9747893), InlineData(0, 10, 0, 0.3084971), InlineData(10, 10, 0.6915029, 1), InlineData(5, 10, 0.1870860, 0.8129140)]
    public void The_exact_interval_is_Clopper_and_Pearsons(int hits, int trials, double low, double high)
    {
        var interval = PairwisePreference.Exact(hits, trials);

        Assert.Equal(low, interval.Low, 1e-6);
        Assert.Equal(high, interval.High, 1e-6);
    }

    [Fact]
    public void The_sign_test_by_hand()
    {
        Assert.Equal(2.0 / 32, PairwisePreference.Of(5, 7, 0).PValue, 12);
        Assert.Equal(1, PairwisePreference.Of(3, 0, 3).PValue, 12);
        Assert.Equal(2 * (1 + 8 + 28) / 256.0, PairwisePreference.Of(2, 0, 6).PValue, 12);
    }

    [Fact]
    public void Likelihoods_in_batches_are_each_replys_own()
    {
        var folder = ModelFolder.Open(Path.Combine(AppContext.BaseDirectory, "Shipped", "chat-student"));
        using var model = folder.LoadModel(dtype: torch.ScalarType.Float32);
        var likelihood = new EncoderDecoderLikelihood(model, EncoderDecoderLikelihood.Tokenizer(folder));
        Answered[] replies = [new(["Thank you!"], "You are welcome!"), new(["你好！", "你好！", "再见"], "再见！"), new(["Thank you!"], "门"), new(["a"], string.Join(' ', Enumerable.Repeat("gate", 200)))];

        var together = likelihood.LogProbabilities(replies);

        for (var i = 0; i < replies.Length; i++)
        {
            var alone = likelihood.LogProbabilities([replies[i]])[0];
            Assert.Equal(alone.Length, together[i].Length);
            Assert.All(alone.Zip(together[i]), p => Assert.Equal(p.First, p.Second, 1e-3));
        }
        Assert.Equal(folder.Config.MaxReply, together[3].Length);
        Assert.True(together[0].Average() > together[2].Average());
    }

    private sealed class First : IJudge
    {
        public ValueTask<Verdict> CompareAsync(JudgedPair pair, IReplyLikelihood teacher, CancellationToken cancel) => ValueTask.FromResult(Verdict.First);
    }

    /// <summary>Likes long replies.</summary>
    private sealed class ByLength : IReplyLikelihood
    {
        public IReadOnlyList<double[]> LogProbabilities(IReadOnlyList<Answered> replies) => [.. replies.Select(r => new[] { -1.0 / r.Reply.Length })];
    }

    private sealed class Fixed(Dictionary<string, double[]> values) : IReplyLikelihood
    {
        public IReadOnlyList<double[]> LogProbabilities(IReadOnlyList<Answered> replies) => [.. replies.Select(r => values[r.Reply])];
    }
}
