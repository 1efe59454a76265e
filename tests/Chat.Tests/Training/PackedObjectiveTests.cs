using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Decoding;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

/// <summary>Objectives whose batches hold several replies a row: an update learns the same as from one reply a row.</summary>
[Collection(nameof(SerialTorch))]
public sealed class PackedObjectiveTests : IDisposable
{
    private const int BatchTokens = 400, Longest = 24;
    private static readonly SampleLimits Row = new(96, 48);                                // room for several of the longest
    private static readonly int Words = new BytePairEncoder(new BytePairs([])).VocabularySize;
    private static readonly TokenTable Tokens = new([.. Enumerable.Range(0, Words).Select(i => $"<{i}>")], [.. Enumerable.Range(0, Words).Select(i => new[] { (byte)i })], TokenizerFile.Separator);
    private static readonly PluginCatalog Plugins = new(typeof(IObjective).Assembly);

    private readonly EncoderDecoder student = Model(1), teacher = Model(2);
    private readonly string scratch = Directory.CreateTempSubdirectory("packed-").FullName;

    public static TheoryData<string> All => [.. Plugins.OfKind("objective").Select(o => o.Name)];

    public void Dispose()
    {
        student.Dispose();
        teacher.Dispose();
        Directory.Delete(scratch, recursive: true);
    }

    [Theory, MemberData(nameof(All))]
    public void An_update_learns_from_the_same_replies_with_the_same_loss_gradient_and_figures(string objective)
    {
        var plain = Learn(objective, null);
        var packed = Learn(objective, Row);

        Assert.All(plain.Batches, b => Assert.Equal(b.Size, b.Rows));
        Assert.True(packed.Batches.Sum(b => b.Rows) * 4 <= packed.Batches.Sum(b => b.Size) * 3, $"{packed.Batches.Sum(b => b.Size)} replies in {packed.Batches.Sum(b => b.Rows)} rows.");
        Assert.Equal(plain.Batches.Select(Content), packed.Batches.Select(Content));
        foreach (var (one, other) in plain.Updates.Zip(packed.Updates))
        {
            Assert.Equal(one.Report.Loss, other.Report.Loss, 2e-5);
            Assert.Equal(one.Report.Tokens, other.Report.Tokens);
            Assert.Equal(one.Report.Parts!.Keys.Order(), other.Report.Parts!.Keys.Order());
            Assert.All(one.Report.Parts, part => Assert.Equal(part.Value, other.Report.Parts[part.Key], 2e-5));
            Assert.Contains(one.Gradient, g => Math.Abs(g) > 1e-3);
            Assert.InRange(one.Gradient.Zip(other.Gradient).Max(g => Math.Abs(g.First - g.Second)), 0, 2e-5);
        }
    }

    [Fact]
    public void Rows_are_few_within_their_limits_and_no_larger_than_one_reply_a_row()
    {
        var random = new Random(1);
        Rollout[] replies = [.. Enumerable.Range(0, 600).Select(_ => new Rollout(new(new int[random.Next(1, 24)], new int[random.Next(1, 12)]), Author.Data))];
        SampleLimits longest = new(48, 24);

        var (plain, packed) = (RolloutBatch.Cut(replies, BatchTokens, null), RolloutBatch.Cut(replies, BatchTokens, longest));

        Assert.Equal(replies.ToHashSet(), packed.SelectMany(b => b.Rollouts).ToHashSet());
        foreach (var (one, other) in plain.Zip(packed))
        {
            Assert.Equal(one.Rollouts.ToHashSet(), other.Rollouts.ToHashSet());
            Assert.Equal(other.Rollouts.Select(r => r.Sample), other.Batch.Samples);
            Assert.True(other.Batch.ContextLength <= longest.MaxContext && other.Batch.ReplyLength <= longest.MaxReply);
            Assert.InRange(other.Batch.Rows * (other.Batch.ContextLength + other.Batch.ReplyLength), 1, one.Batch.Rows * (one.Batch.ContextLength + one.Batch.ReplyLength));
        }
        Assert.True(packed.Sum(b => b.Batch.Rows) * 5 < plain.Sum(b => b.Batch.Rows) * 4, $"{plain.Sum(b => b.Batch.Rows)} replies in {packed.Sum(b => b.Batch.Rows)} rows.");
    }

    [Fact]
    public void The_teacher_reads_packed_replies_once_for_rewards_and_two_epochs()
    {
        var learnt = Learn("minillm", Row);

        // Each batch is learnt from twice at most, and those read were read once.
        Assert.Equal(learnt.Read.Select(Content).Distinct().Count(), learnt.Read.Count);
        Assert.Contains(learnt.Read, b => b.Rows < b.Size);
        Assert.Contains(learnt.Read, b => learnt.Batches.Count(l => Content(l) == Content(b)) == 2);
        Assert.All(learnt.Batches.Where(b => Content(b) is var one && learnt.Batches.Count(l => Content(l) == one) == 2), b => Assert.Contains(learnt.Read, r => r.Samples.SequenceEqual(b.Samples)));
    }

    [Theory, InlineData(0), InlineData(5)]
    public void A_cached_word_or_that_of_the_best_tokens_is_the_same_of_packed_replies(int k)
    {
        ITeacher Ask(string file) => new TeacherCache(Path.Combine(scratch, file), new("t", "v", Words, k > 0 ? SignalKind.TopK : SignalKind.Full, k > 0 ? k : Words), new ModelTeacher(new EncoderDecoderScorer(teacher)));
        var plain = Learn("kd", null, Ask("plain"));
        var packed = Learn("kd", Row, Ask("packed"));

        Assert.All(plain.Updates.Zip(packed.Updates), u => Assert.InRange(u.First.Gradient.Zip(u.Second.Gradient).Max(g => Math.Abs(g.First - g.Second)), 0, 2e-5));
    }

    [Fact]
    public void Replies_in_a_row_do_not_see_each_other()
    {
        using var kept = new KeptRows(new EncoderDecoderScorer(teacher));
        using var models = Models(Row, kept);
        Rollout[] replies = [.. Enumerable.Range(0, 12).Select(i => new Rollout(new([20 + i, 30, 40 + i, 3], [50 + i, 60, 70 + i, 2]), Author.Both))];
        var before = models.Score(replies);
        replies[4] = new(new([90, 91, 92, 93], [94, 95, 96, 97]), Author.Both);

        var after = models.Score(replies);

        Assert.True(RolloutBatch.Cut(replies, BatchTokens, Row).Sum(b => b.Batch.Rows) <= 2);
        for (var i = 0; i < replies.Length; i++)
        {
            Assert.Equal(i == 4, !before[i].Old.SequenceEqual(after[i].Old));
            Assert.Equal(i == 4, !before[i].Teacher.SequenceEqual(after[i].Teacher));
        }
    }

    private sealed record Learnt(List<(UpdateReport Report, float[] Gradient)> Updates, List<Batch> Batches, List<Batch> Read);

    /// <summary>Eight updates of an objective's preset, its stores small, the weights left as they are.</summary>
    private Learnt Learn(string name, SampleLimits? pack, ITeacher? judge = null)
    {
        var preset = Plugins.Create<IObjective>(name).Default;
        preset = preset with { Replies = preset.Replies with { AtOnce = Math.Min(preset.Replies.AtOnce, 24), Epochs = Math.Min(preset.Replies.Epochs, 2) } };
        var (own, others) = (new Seen(new EncoderDecoderScorer(student)), new Seen(new EncoderDecoderScorer(teacher)));
        using var kept = new KeptRows(others);
        using var models = Models(pack, kept);
        var source = new TrajectorySource(preset.Replies, preset.Delivery.NeedsLogprobs, models, at => StreamTests.Open(3, at), BatchTokens, 2, 3, null, pack);
        for (var i = 0; i < 12; i++) source.Validated(i);                                   // ever worse: DistiLLM writes
        var work = new DistillationWork(preset, own, judge ?? new ModelTeacher(kept), source, preset.TextWeight == 0 ? null : StreamTests.Open(4), new(null), new(TimeProvider.System), pack: pack);
        var updates = new List<(UpdateReport, float[])>();
        for (var i = 0; i < 8; i++)
        {
            student.zero_grad();
            var report = work.Learn(i / 8.0);
            updates.Add((report, [.. student.parameters().Where(w => w.grad is not null).SelectMany(w => w.grad!.data<float>().ToArray())]));
        }
        (judge as IDisposable)?.Dispose();
        return new(updates, own.Batches, others.Batches);
    }

    private RolloutModels Models(SampleLimits? pack, KeptRows kept) => new(student, teacher, Tokens, Longest, BatchTokens, threads: 1, scratch, judge: new ModelTeacher(kept), kept: kept, pack: pack);

    /// <summary>What a batch holds, in whatever order.</summary>
    private static string Content(Batch batch) => string.Join('|', batch.Samples.Select(s => $"{string.Join(' ', s.Context)}: {string.Join(' ', s.Labels)}").Order(StringComparer.Ordinal));

    private static EncoderDecoder Model(ulong seed)
    {
        var model = new EncoderDecoder(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16, InitialDeviation: 0.2), Words, 0), seed);
        model.eval();
        return model;
    }

    private sealed class Seen(IReplyScorer inner) : IReplyScorer
    {
        public List<Batch> Batches { get; } = [];

        public int VocabularySize => inner.VocabularySize;

        public Tensor Hidden(Batch batch)
        {
            Batches.Add(batch);
            return inner.Hidden(batch);
        }

        public Tensor Scores(Tensor hidden) => inner.Scores(hidden);
    }
}
