using System.Runtime.InteropServices;
using Chat.Training.Methods;

namespace Chat.Training.Objectives;

/// <summary>Where a source of trajectories stands: all that it needs to go on as if it had not been left.</summary>
/// <param name="Prompts">Of the stream of prompts.</param>
/// <param name="Refills">How often replies were fetched.</param>
/// <param name="Used">Batches of <paramref name="Store"/> that were learnt from, all epochs counted.</param>
/// <param name="Store">The replies in use.</param>
/// <param name="Written">Replies written in all.</param>
/// <param name="Replay">Kept replies of the student, the oldest first.</param>
/// <param name="OwnShare">φ of the adaptive scheme, with the validation that it was last compared with.</param>
public sealed record TrajectoryState(
    StreamCursor Prompts, long Refills, int Used, IReadOnlyList<Rollout> Store, long Written, IReadOnlyList<Rollout> Replay, double OwnShare, double? LastValidation);

/// <summary>Writes replies and says what the models think of them: the models' side of <see cref="TrajectorySource"/>.</summary>
public interface IRolloutModels
{
    /// <param name="number">Of the first reply, for its random stream.</param>
    WrittenReply[] Write(ReplySource source, Trajectories how, IReadOnlyList<int[]> contexts, ulong seed, long number);

    /// <summary>The same replies with <see cref="Rollout.Old"/> and <see cref="Rollout.Teacher"/>.</summary>
    IReadOnlyList<Rollout> Score(IReadOnlyList<Rollout> rollouts);
}

/// <summary>
/// Gives each update the replies that it learns from, as batches of like length: takes prompts from a stream, has replies written, keeps and reuses them as the objective says. All
/// chance is drawn from streams named by what they decide, so the state is all there is to save. One thread.
/// </summary>
public sealed class TrajectorySource
{
    private const double OwnShareStep = 0.1, ValidationSlack = 0.1;

    private readonly Trajectories how;
    private readonly bool scored;
    private readonly IRolloutModels models;
    private readonly MixtureStream prompts;
    private readonly int batchTokens, batchesPerUpdate;
    private readonly ulong seed;
    private readonly SampleLimits? pack;
    private readonly List<Rollout> replay;
    private List<RolloutBatch> queue = [];
    private IReadOnlyList<Rollout> store;
    private long refills, written;
    private int used;
    private double ownShare;
    private double? lastValidation;

    /// <param name="scored">Whether replies carry both models' log-probabilities.</param>
    /// <param name="prompts">Opens the stream of prompts at a cursor.</param>
    /// <param name="pack">As <paramref name="models"/> have it.</param>
    public TrajectorySource(Trajectories how, bool scored, IRolloutModels models, Func<StreamCursor?, MixtureStream> prompts, int batchTokens, int batchesPerUpdate, ulong seed, TrajectoryState? state, SampleLimits? pack = null)
    {
        (this.how, this.scored, this.models, this.batchTokens, this.batchesPerUpdate, this.seed, this.pack) = (how, scored, models, batchTokens, batchesPerUpdate, seed, pack);
        this.prompts = prompts(state?.Prompts);
        (store, refills, used, written, replay) = (state?.Store ?? [], state?.Refills ?? 0, state?.Used ?? 0, state?.Written ?? 0, [.. state?.Replay ?? []]);
        (ownShare, lastValidation) = (state?.OwnShare ?? 0, state?.LastValidation);
        queue = Order();
    }

    public TrajectoryState State => new(prompts.Cursor, refills, used, store, written, [.. replay], ownShare, lastValidation);

    /// <summary>Replies written so far; they cost time that others do not.</summary>
    public long Written => written;

    /// <summary>Batches of the next update, at least one.</summary>
    /// <param name="progress">Share of the stage that is done.</param>
    public IReadOnlyList<RolloutBatch> Next(double progress)
    {
        if (used == queue.Count)
        {
            store = Fetch(progress);
            if (scored) store = models.Score(store);
            refills++;
            used = 0;
            queue = Order();
        }
        var update = queue.Skip(used).Take(batchesPerUpdate).ToArray();
        used += update.Length;
        return update;
    }

    /// <summary>The adaptive scheme learns that validation was made.</summary>
    public void Validated(double loss)
    {
        if (!double.IsFinite(loss)) return;                                                // nothing was held out
        if (lastValidation is { } last && loss >= last + ValidationSlack) ownShare = Math.Min(1, ownShare + OwnShareStep);
        lastValidation = loss;
    }

    private List<Rollout> Fetch(double progress)
    {
        var samples = Prompts();
        var chance = RandomStream.Of(seed, "author", refills);
        if (how.Replay == 0) return chance.Unit() < how.Share ? Write(samples) : Data(samples);

        if (chance.Unit() >= ownShare) return Data(samples);
        if (replay.Count == 0 || chance.Unit() < ownShare * (1 - progress))
        {
            var fresh = Write(samples);
            replay.AddRange(fresh);
            replay.RemoveRange(0, Math.Max(0, replay.Count - how.Replay));
            return fresh;
        }
        return [.. samples.Select(_ => replay[chance.Below(replay.Count)])];
    }

    private List<Sample> Prompts()
    {
        var samples = new List<Sample>();
        for (var batches = 0; how.AtOnce > 0 ? samples.Count < how.AtOnce : batches < batchesPerUpdate; batches++) samples.AddRange(prompts.Next().Samples);
        return samples;
    }

    private static List<Rollout> Data(List<Sample> samples) => [.. samples.Select(s => new Rollout(s, Author.Data))];

    private List<Rollout> Write(List<Sample> samples)
    {
        var rollouts = new List<Rollout>();
        int[][] contexts = [.. samples.Select(s => s.Context)];
        foreach (var source in how.Sources)
        {
            if (source == ReplySource.Data)
            {
                rollouts.AddRange(Data(samples));
                continue;
            }
            var author = source switch { ReplySource.Teacher => Author.Teacher, ReplySource.Student => Author.Student, _ => Author.Both };
            var replies = models.Write(source, how, contexts, seed, written);
            written += replies.Length;
            rollouts.AddRange(replies.Select((reply, i) => new Rollout(new(contexts[i], reply.Labels), author) { Drawn = reply.Logprobs }));
        }
        return rollouts;
    }

    /// <summary>The store as batches, once for each epoch, each time in an order of its own.</summary>
    private List<RolloutBatch> Order()
    {
        var batches = RolloutBatch.Cut(store, batchTokens, pack);
        var all = new List<RolloutBatch>();
        for (var epoch = 0; epoch < how.Epochs; epoch++)
        {
            RandomStream.Of(seed, $"rollouts {refills}", epoch).Shuffle(CollectionsMarshal.AsSpan(batches));
            all.AddRange(batches);
        }
        return all;
    }
}
