using Chat.Models.Architectures;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Tests.Engine;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;

namespace Chat.Tests.Training;

[Collection(nameof(SerialTorch))]
public sealed class RolloutTests : IDisposable
{
    private const int Words = 12;
    private static readonly TokenTable Tokens = new([.. Enumerable.Range(0, Words).Select(i => $"{(char)('a' + i)}")], [.. Enumerable.Range(0, Words).Select(i => new[] { (byte)('a' + i) })], separator: 2);
    private readonly string scratch = Directory.CreateTempSubdirectory("rollouts-").FullName;

    public void Dispose() => Directory.Delete(scratch, recursive: true);

    [Fact]
    public void A_mixture_mixes_probabilities()
    {
        var blend = new float[4];
        float[] q = [.. new[] { .1, .2, .3, .4 }.Select(x => (float)Math.Log(x))], p = [.. new[] { .5, .3, .2, 0 }.Select(x => (float)Math.Log(x))];
        BlendLaws.Mixed(0.2)(q, p, blend);

        Assert.Equal([.18f, .22f, .28f, .32f], blend.Select(MathF.Exp), (a, b) => Math.Abs(a - b) < 1e-6);
    }

    [Fact]
    public void A_filter_draws_again_what_the_teacher_does_not_think_of()
    {
        var blend = new float[4];
        float[] q = [.. new[] { .1, .2, .3, .4 }.Select(x => (float)Math.Log(x))], p = [.. new[] { .5, .3, .15, .05 }.Select(x => (float)Math.Log(x))];
        BlendLaws.Filtered(2)(q, p, blend);
        Assert.Equal([.1f + .7f * .5f, .2f + .7f * .3f, .7f * .15f, .7f * .05f], blend.Select(MathF.Exp), (a, b) => Math.Abs(a - b) < 1e-6);

        BlendLaws.Filtered(4)(q, p, blend);
        Assert.Equal(q.Select(MathF.Exp), blend.Select(MathF.Exp), (a, b) => Math.Abs(a - b) < 1e-6);            // all are the teacher's best: the student's own law
    }

    [Fact]
    public void The_engine_writes_from_the_blend_and_says_how_likely_each_token_was()
    {
        var (own, other) = (new ToyRunner(Words, 16) { Tiredness = 0 }, new ToyRunner(Words, 16) { Blur = 3, Tiredness = 0 });
        const int Count = 4000;
        int[] context = [5, 6, 3];
        var law = new float[Words];
        using var blend = new BlendRunner(own, other, BlendLaws.Mixed(0.3));
        blend.Prefill([new(0, context, default)]).CopyTo(law);
        blend.Free(0);

        var replies = new RolloutWriter(Tokens, rows: 16).Write(blend, [.. Enumerable.Repeat(context, Count)], longest: 6, temperature: 1, seed: 4, first: 0);

        // χ² of the first token, 11 degrees: above 31.3 once in a thousand.
        var expected = law.Select(l => Count * Math.Exp(l)).ToArray();
        var found = Enumerable.Range(0, Words).Select(v => (double)replies.Count(r => r.Labels[0] == v)).ToArray();
        Assert.InRange(expected.Zip(found, (e, f) => (f - e) * (f - e) / e).Sum(), 0, 31.3);
        Assert.All(replies, r => Assert.Equal(law[r.Labels[0]], r.Logprobs[0], 1e-4));
        Assert.All(replies, r => Assert.InRange(r.Labels.Length, 1, 6));
        Assert.All(replies, r => Assert.DoesNotContain(2, r.Labels[..^1]));                   // one end, at the end
        Assert.Contains(replies, r => r.Labels[^1] == 2);
        Assert.Contains(replies, r => r.Labels[^1] != 2);                                     // cut
    }

    [Fact]
    public void A_reply_depends_on_its_number_not_on_its_neighbours()
    {
        var writer = new RolloutWriter(Tokens, rows: 4);
        int[][] contexts = [[5, 3], [6, 3], [7, 3], [8, 3], [9, 3], [10, 3]];
        var together = writer.Write(new ToyRunner(Words, 4), contexts, 8, 1, seed: 9, first: 0);
        for (var i = 0; i < contexts.Length; i++)
            Assert.Equal(together[i].Labels, writer.Write(new ToyRunner(Words, 4), [contexts[i]], 8, 1, seed: 9, first: i)[0].Labels);
    }

    [Fact]
    public void Kernels_and_torch_agree_on_what_was_drawn()
    {
        using var student = Model(1);
        using var teacher = Model(2);
        student.eval();
        teacher.eval();
        var tokens = new TokenTable([.. Enumerable.Range(0, 40).Select(i => $"<{i}>")], [.. Enumerable.Range(0, 40).Select(i => new[] { (byte)(60 + i) })], separator: 2);
        using var models = new RolloutModels(student, teacher, tokens, longest: 10, batchTokens: 200, threads: 1, scratch, judge: new ModelTeacher(new EncoderDecoderScorer(teacher)));
        int[][] contexts = [.. Enumerable.Range(0, 30).Select(i => (int[])[20 + i % 15, 21, 3])];
        foreach (var source in new[] { ReplySource.Student, ReplySource.Teacher, ReplySource.Mixed, ReplySource.Filtered })
        {
            var how = new Trajectories { TeacherShare = 0.2, FilterTop = 5 };
            var rollouts = models.Write(source, how, contexts, seed: 5, number: 0)
                .Select((r, i) => new Rollout(new(contexts[i], r.Labels), Author.Both) { Drawn = r.Logprobs }).ToArray();
            foreach (var rollout in models.Score(rollouts))
                for (var t = 0; t < rollout.Length; t++)
                {
                    var expected = source switch
                    {
                        ReplySource.Student => rollout.Old[t],
                        ReplySource.Teacher => rollout.Teacher[t],
                        ReplySource.Mixed => Math.Log(0.2 * Math.Exp(rollout.Teacher[t]) + 0.8 * Math.Exp(rollout.Old[t])),
                        _ => double.NaN,
                    };
                    if (!double.IsNaN(expected)) Assert.Equal(expected, rollout.Drawn[t], 2e-3);
                    else Assert.True(rollout.Drawn[t] >= rollout.Old[t] + Math.Log(0.001) || rollout.Drawn[t] <= 0);
                }
        }
        Assert.Empty(Directory.GetFiles(scratch));
    }

    [Theory, InlineData(false), InlineData(true)]
    public void The_teacher_reads_replies_once_for_rewards_and_all_epochs_to_the_same_bits(bool packed)
    {
        SampleLimits? pack = packed ? new SampleLimits(12, 24) : null;
        using var student = Model(1);
        using var teacher = Model(2);
        student.eval();
        teacher.eval();
        var counted = new Counted(new EncoderDecoderScorer(teacher));
        using var kept = new KeptRows(counted);
        using var models = new RolloutModels(student, teacher, Tokens, longest: 10, batchTokens: 60, threads: 1, scratch, judge: new ModelTeacher(kept), kept: kept, pack: pack);
        var random = new Random(3);
        Rollout[] rollouts = [.. Enumerable.Range(0, 30).Select(i => new Rollout(new([20 + i % 15, 21, 3], [.. Enumerable.Range(0, random.Next(1, 9)).Select(_ => random.Next(20, 40)), 2]), Author.Both))];

        var scored = models.Score(rollouts);
        var passes = counted.Passes;
        var batches = RolloutBatch.Cut(scored, 60, pack);
        Assert.Equal(packed, batches.Exists(b => b.Batch.Rows < b.Batch.Size));
        Assert.Equal(batches.Count, passes);
        foreach (var batch in batches.Concat(batches).Append(batches[0]).Select(b => b.Batch))
        {
            using var scope = TorchSharp.torch.NewDisposeScope();
            using var gradients = TorchSharp.torch.no_grad();
            Assert.Equal(new EncoderDecoderScorer(teacher).Hidden(batch).data<float>().ToArray(), kept.Hidden(batch).data<float>().ToArray());
        }
        Assert.Equal(passes, counted.Passes);

        using (TorchSharp.torch.NewDisposeScope()) kept.Hidden(new([.. batches[0].Batch.Samples.Reverse()]));      // others, or in another order: computed
        Assert.Equal(passes + 1, counted.Passes);
        models.Score(rollouts);                                                                             // new replies: nothing is kept of the old ones
        Assert.Equal(2 * passes + 1, counted.Passes);
    }

    private sealed class Counted(IReplyScorer inner) : IReplyScorer
    {
        public int Passes { get; private set; }
        public int VocabularySize => inner.VocabularySize;

        public TorchSharp.torch.Tensor Hidden(Batch batch)
        {
            Passes++;
            return inner.Hidden(batch);
        }

        public TorchSharp.torch.Tensor Scores(TorchSharp.torch.Tensor hidden) => inner.Scores(hidden);
    }

    private static EncoderDecoder Model(ulong seed) => new(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16, InitialDeviation: 0.2), 40, 0), seed);
}
