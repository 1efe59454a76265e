using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Kernels;
using Chat.Training.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Objectives;

/// <summary>
/// A student under training and its teacher as the engine that serves runs them: on a CPU weights on the kernels, lossless, the student's packed anew whenever it is to write; on a GPU the weights
/// where they are. Log-probabilities that losses use are torch's, so that before the first update q/q_old is 1. One thread.
/// </summary>
/// <param name="teacher">Who writes in this process; <c>null</c> where none does.</param>
/// <param name="longest">Tokens of a reply at most, the end token counted.</param>
/// <param name="batchTokens">Tokens scored together, both sides with their pads.</param>
/// <param name="scratch">A folder for the weights on their way from torch to the kernels.</param>
/// <param name="judge">Who says what the teacher thinks of each token, at temperature 1; <c>null</c> where nobody asks.</param>
/// <param name="bridge">Makes the teacher's runner one of the student's vocabulary.</param>
/// <param name="clock">Hears how long it takes.</param>
/// <param name="host">Who writes whole replies instead of <paramref name="teacher"/>; not disposed of.</param>
/// <param name="texts">Where the teacher writes tokens of its own, makes the student's of its replies.</param>
/// <param name="kept">What <paramref name="judge"/> reads when replies are scored, for who asks about them next; forgotten when others are.</param>
/// <param name="pack">Scored in the very batches that are learnt from: of a <see cref="RolloutBatch"/>.</param>
public sealed class RolloutModels(
    EncoderDecoder student, EncoderDecoder? teacher, TokenTable tokens, int longest, int batchTokens, int threads, string scratch,
    ITeacher? judge = null, Func<IRunner, IRunner>? bridge = null, WorkClock? clock = null, KeptRows? kept = null, TeacherHost? host = null, TextBridge? texts = null, SampleLimits? pack = null) : IRolloutModels, IDisposable
{
    private const long CacheBytes = 256L << 20;
    private readonly Team team = new(threads);
    private readonly RolloutWriter writer = new(tokens, RowsOn(student));
    private IRunner? teacherRunner;

    public WrittenReply[] Write(ReplySource source, Trajectories how, IReadOnlyList<int[]> contexts, ulong seed, long number)
    {
        using var timed = clock?.Sampling();
        if (source == ReplySource.Mixed && how.TeacherShare == 0) source = ReplySource.Student;
        if (source == ReplySource.Teacher && host is not null) return host.Write(contexts, longest, how.Temperature, seed, number);
        if (source != ReplySource.Student) teacherRunner ??= Bridged(Open(teacher ?? throw new InvalidOperationException($"Replies of {source} need a teacher.")));
        var training = student.training;
        using var own = source == ReplySource.Teacher ? null : Open(student);
        WrittenReply[] Write(IRunner runner) => writer.Write(runner, contexts, longest, how.Temperature, seed, number);
        try
        {
            return source switch
            {
                ReplySource.Teacher => texts is null ? Write(teacherRunner!) : Translated(texts, contexts, how.Temperature, seed, number),
                ReplySource.Student => Write(own!),
                ReplySource.Mixed => Write(new BlendRunner(own!, teacherRunner!, BlendLaws.Mixed(how.TeacherShare))),
                _ => Write(new BlendRunner(own!, teacherRunner!, BlendLaws.Filtered(how.FilterTop))),
            };
        }
        catch (InvalidOperationException error)
        {
            // Nothing can be drawn from NaN: the teacher is broken, or else the student has diverged.
            if (source != ReplySource.Student) TeacherNumbers.Require(Labels(judge!, new Batch([new Methods.Sample(contexts[0], [tokens.Separator])])));
            throw new DivergedException(error.Message.TrimEnd('.'));
        }
        finally
        {
            student.train(training);
        }
    }

    /// <summary>Replies by their texts. One that is longer in the student's tokens is cut as its own would be; one of which nothing can be read is an end. Drawn were other tokens, so no log-probabilities of these are told.</summary>
    private WrittenReply[] Translated(TextBridge texts, IReadOnlyList<int[]> contexts, double temperature, ulong seed, long number) =>
        [.. new RolloutWriter(texts.Tokens, RowsOn(student)).Write(teacherRunner!, [.. contexts.Select(texts.Context)], longest, temperature, seed, number).Select(reply =>
        {
            var labels = texts.Reply(reply.Labels);
            return new WrittenReply(labels.Length == 0 ? [tokens.Separator] : labels[..Math.Min(longest, labels.Length)], []);
        })];

    public IReadOnlyList<Rollout> Score(IReadOnlyList<Rollout> rollouts)
    {
        student.eval();
        kept?.Forget();
        var q = new ModelTeacher(new EncoderDecoderScorer(student));
        var scored = new Dictionary<Rollout, Rollout>(ReferenceEqualityComparer.Instance);
        foreach (var batch in RolloutBatch.Cut(rollouts, batchTokens, pack))
        {
            var own = Labels(q, batch.Batch);
            double[] others;
            using (clock?.Teacher()) others = Labels(judge!, batch.Batch);
            var at = 0;
            foreach (var rollout in batch.Rollouts)
            {
                scored[rollout] = rollout with { Old = own[at..(at + rollout.Length)], Teacher = others[at..(at + rollout.Length)] };
                at += rollout.Length;
            }
        }
        student.train();
        return [.. rollouts.Select(rollout => scored[rollout])];
    }

    public void Dispose()
    {
        teacherRunner?.Dispose();
        team.Dispose();
    }

    private IRunner Bridged(IRunner runner) => bridge is null || texts is not null ? runner : bridge(runner);

    private static double[] Labels(ITeacher model, Batch batch)
    {
        using var rows = model.Score(batch);
        return rows.Labels();
    }

    private IRunner Open(EncoderDecoder model) => model.WeightDevice.type == DeviceType.CPU ? OnKernels(model) : new TorchRunner(model, RowsOn(model));

    /// <summary>Replies written side by side. A step of a small model takes a GPU about as long for one row as for hundreds.</summary>
    private static int RowsOn(EncoderDecoder model) => model.WeightDevice.type == DeviceType.CPU ? 64 : 256;

    private CpuRunner OnKernels(EncoderDecoder model)
    {
        var path = Path.Combine(scratch, "writing.part");
        try
        {
            EvaWeights.Save(model, path, dtype: model.WeightType);
            using var checkpoint = Checkpoint.OpenFile(path);
            return new CpuRunner(model.Config, checkpoint, RowsOn(model), WeightFormat.Exact, team, cacheBytes: CacheBytes);
        }
        catch (CheckpointException error) when (error.Kind == CheckpointErrors.NonFinite)
        {
            throw new DivergedException("The weights hold NaN or infinity");
        }
        finally
        {
            File.Delete(path);
        }
    }
}
