namespace Chat.Training.Objectives;

/// <summary>
/// Says what the student is asked at each place of the replies of an update. Pure arithmetic on what is known when they were written; thread-safe.
/// </summary>
public interface IDelivery
{
    /// <summary>What it must be told by the teacher.</summary>
    SignalKind Needs { get; }

    /// <summary>Whether rollouts must carry <see cref="Rollout.Old"/> and <see cref="Rollout.Teacher"/>.</summary>
    bool NeedsLogprobs { get; }

    /// <param name="update">All replies of one update.</param>
    /// <param name="progress">Share of the training that is done, 0 to 1.</param>
    ReplyTerms[] Terms(IReadOnlyList<Rollout> update, double progress);
}

/// <summary>Maximum likelihood of the replies: supervised fine-tuning on data, SeqKD (arXiv:1606.07947) on the teacher's words.</summary>
public sealed record LikelihoodDelivery : IDelivery
{
    public SignalKind Needs => SignalKind.None;
    public bool NeedsLogprobs => false;

    public ReplyTerms[] Terms(IReadOnlyList<Rollout> update, double progress) => [.. update.Select(r => new ReplyTerms { Likelihood = 1, Weight = r.Weight })];
}

/// <summary>A divergence, back-propagated at every place, beside a share of likelihood.</summary>
/// <param name="LikelihoodShare">k of (1 − k)·D + k·NLL: word-level KD mixes a half.</param>
public sealed record DirectDelivery(Divergence Measure, double LikelihoodShare = 0) : IDelivery
{
    public SignalKind Needs => Measure.Supports(SignalKind.TopK) ? SignalKind.TopK : SignalKind.Full;
    public bool NeedsLogprobs => false;

    public ReplyTerms[] Terms(IReadOnlyList<Rollout> update, double progress) =>
        [.. update.Select(r => new ReplyTerms { Measure = Measure, MeasureWeights = Filled(r.Length, 1 - LikelihoodShare), Likelihood = LikelihoodShare, Weight = r.Weight })];

    internal static double[] Filled(int length, double value)
    {
        var values = new double[length];
        Array.Fill(values, value);
        return values;
    }
}

/// <summary>
/// DistiLLM-2's contrast (arXiv:2503.07067): the teacher's replies pull with a skewed forward divergence, the student's push with a skewed reverse one. The skew a of a reply
/// shrinks where the models differ less than on the average of the update; the push gains weight over time.
/// </summary>
/// <param name="Adaptive">Fit a to each reply; else <paramref name="Skew"/>.</param>
/// <param name="Curriculum">Let the push's weight b grow from 1 to 1.5 over the first half; else 1. The reference code has both switched off.</param>
public sealed record ContrastDelivery(double Skew = 0.1, bool Adaptive = true, bool Curriculum = true) : IDelivery
{
    private const double LeastSkew = 0.01;

    public SignalKind Needs => SignalKind.Full;
    public bool NeedsLogprobs => Adaptive;

    public ReplyTerms[] Terms(IReadOnlyList<Rollout> update, double progress)
    {
        var push = Curriculum ? 1 + 0.5 * Math.Min(1, 2 * progress) : 1;
        var typical = Adaptive ? update.GroupBy(IsOwn).ToDictionary(group => group.Key, group => group.Average(Gap)) : [];
        return [.. update.Select(r => new ReplyTerms
        {
            Measure = IsOwn(r) ? new SkewReverseKl(Skew) : new SkewForwardKl(Skew),
            Parameter = Adaptive ? Math.Clamp(1 - (1 - Skew) * typical[IsOwn(r)] / (Gap(r) + 1e-5), LeastSkew, Skew) : null,
            MeasureWeights = DirectDelivery.Filled(r.Length, IsOwn(r) ? push : 2 - push),
            Weight = r.Weight,
        })];
    }

    private static bool IsOwn(Rollout reply) => reply.Author == Author.Student;

    /// <summary>Difference of the tokens' geometric mean probabilities: the author's model less the other.</summary>
    private static double Gap(Rollout reply) => (Math.Exp(reply.Teacher.Average()) - Math.Exp(reply.Old.Average())) * (IsOwn(reply) ? -1 : 1);
}
