using Chat.Domain.Plugins;

namespace Chat.Training.Objectives;

/// <summary>Whose words an update learns from.</summary>
public enum ReplySource
{
    /// <summary>The data's.</summary>
    Data,

    /// <summary>The teacher's, drawn at temperature 1.</summary>
    Teacher,

    /// <summary>The student's own, as it is now.</summary>
    Student,

    /// <summary>Drawn from αp + (1 − α)q: <see cref="BlendLaws.Mixed"/>.</summary>
    Mixed,

    /// <summary>Proposed by the student, filtered by the teacher: <see cref="BlendLaws.Filtered"/>.</summary>
    Filtered,
}

/// <summary>How replies come about.</summary>
public sealed record Trajectories
{
    /// <summary>Each prompt gets one reply of each.</summary>
    public IReadOnlyList<ReplySource> Sources { get; init; } = [ReplySource.Data];

    /// <summary>λ: how often they are written, by chance an update; else the data's own replies are learnt from.</summary>
    public double Share { get; init; } = 1;

    /// <summary>α of <see cref="ReplySource.Mixed"/>.</summary>
    public double TeacherShare { get; init; } = 0.2;

    /// <summary>K of <see cref="ReplySource.Filtered"/>.</summary>
    public int FilterTop { get; init; } = 25;

    /// <summary>Replies written at a time; 0: as many as an update needs.</summary>
    public int AtOnce { get; init; }

    /// <summary>How often each is learnt from before new ones are written.</summary>
    public int Epochs { get; init; } = 1;

    /// <summary>Scores are divided by it when replies are drawn.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>
    /// Replies of the student that are kept and drawn again: DistiLLM's adaptive off-policy scheme (arXiv:2402.03898). Its share of own words φ begins at 0 and grows by 0.1 whenever
    /// validation got worse; within it new ones are written with probability φ(1 − t/T), else old ones serve. 0: no such scheme.
    /// </summary>
    public int Replay { get; init; }
}

/// <summary>
/// One way to distil: where replies come from, what is asked about them, and what is learnt beside them. Every method is a point among these choices; <see cref="IObjective"/>s name some.
/// </summary>
public sealed record DistillationObjective(Trajectories Replies, IDelivery Delivery)
{
    /// <summary>Weight of −log q of plain text (a corpus of its own), one batch an update: MiniLLM's L_PT.</summary>
    public double TextWeight { get; init; }

    /// <summary>Of the divergence; see <see cref="RowLoss"/>.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>Each reply counts the same, whatever its length; else each token does.</summary>
    public bool SampleMean { get; init; }

    public bool NeedsTeacher => Delivery.Needs != SignalKind.None || Delivery.NeedsLogprobs || Replies.Sources.Any(s => s is not (ReplySource.Data or ReplySource.Student));

    /// <exception cref="ArgumentException">The choices do not go together.</exception>
    public void Check(SignalKind signal)
    {
        if (signal < Delivery.Needs) throw new ArgumentException($"This objective needs {Delivery.Needs} word of the teacher, and is given {signal}: with less it would not be what its name says.");
        if (Delivery is PolicyDelivery && (Replies.Share < 1 || Replies.Sources.Contains(ReplySource.Data)))
            throw new ArgumentException("A policy gradient is an expectation over drawn replies: those of the data are none.");
        if (Delivery is ContrastDelivery && Replies.Sources.Count < 2) throw new ArgumentException("A contrast needs replies of the teacher and of the student.");
    }
}

/// <summary>A named objective; its name is what a recipe's stage says as its method. Stateless.</summary>
[PluginKind("objective")]
public interface IObjective
{
    DistillationObjective Default { get; }
}

[Plugin("sft", Summary = "Maximum likelihood of the data's replies; no teacher.")]
public sealed class SupervisedFineTuning : IObjective
{
    public DistillationObjective Default { get; } = new(new(), new LikelihoodDelivery());
}

[Plugin("kd", Paper = "arXiv:1503.02531", Summary = "Half likelihood, half KL(p‖q), on the data's replies.")]
public sealed class WordKd : IObjective
{
    public DistillationObjective Default { get; } = new(new(), new DirectDelivery(new ForwardKl(), LikelihoodShare: 0.5));
}

[Plugin("seqkd", Paper = "arXiv:1606.07947", Summary = "Maximum likelihood of replies that the teacher draws. (The MiniLLM authors' script adds word-level KD under this name.)")]
public sealed class SequenceKd : IObjective
{
    public DistillationObjective Default { get; } = new(new() { Sources = [ReplySource.Teacher] }, new LikelihoodDelivery());
}

[Plugin("gkd", Paper = "arXiv:2306.13649", Summary = "A divergence (JSD ½) on the student's own replies half of the time, else on the data's.")]
public sealed class GeneralizedKd : IObjective
{
    public DistillationObjective Default { get; } = new(new() { Sources = [ReplySource.Student], Share = 0.5 }, new DirectDelivery(new JensenShannon(0.5)));
}

[Plugin("distillm", Paper = "arXiv:2402.03898", Summary = "Skewed KL(p‖0.1p + 0.9q) with adaptive use of the student's kept replies.")]
public sealed class DistiLlm : IObjective
{
    public DistillationObjective Default { get; } = new(new() { Sources = [ReplySource.Student], Replay = 1000 }, new DirectDelivery(new SkewForwardKl(0.1))) { TextWeight = 1 };
}

[Plugin("distillm2", Paper = "arXiv:2503.07067", Summary = "The teacher's reply pulls, the student's own pushes, each with a skewed divergence of its own.")]
public sealed class DistiLlm2 : IObjective
{
    public DistillationObjective Default { get; } = new(new() { Sources = [ReplySource.Teacher, ReplySource.Student], Temperature = 0.8, AtOnce = 256 }, new ContrastDelivery());
}

[Plugin("minillm", Paper = "arXiv:2306.08543", Summary = "Policy gradient of KL(q‖p) of whole replies, drawn with a fifth of the teacher mixed in; single step exact, rewards length-normalised.")]
public sealed class MiniLlm : IObjective
{
    public DistillationObjective Default { get; } = new(new() { Sources = [ReplySource.Mixed], TeacherShare = 0.2, AtOnce = 256, Epochs = 4 }, new PolicyDelivery()) { TextWeight = 1 };
}

[Plugin("opd", Paper = "thinkingmachines.ai/blog/on-policy-distillation", Summary = "On-policy distillation: each own token's log p − log q is its advantage; no future, no clip.")]
public sealed class OnPolicyDistillation : IObjective
{
    public DistillationObjective Default { get; } = new(new() { Sources = [ReplySource.Student] }, new PolicyDelivery
    {
        SingleStep = false, CountCurrent = true, CountFuture = false, LengthNormalise = false, TeacherShare = 0, Weights = ImportanceWeights.None, Surrogate = Surrogate.Plain,
    });
}

[Plugin("skd", Paper = "arXiv:2410.11325", Summary = "KL(p‖q) on replies that the student proposes token by token and the teacher's best 25 filter.")]
public sealed class SpeculativeKd : IObjective
{
    public DistillationObjective Default { get; } = new(new() { Sources = [ReplySource.Filtered] }, new DirectDelivery(new ForwardKl()));
}

[Plugin("dpkd", Paper = "arXiv:2406.19774", Summary = "Half likelihood, half preference of the teacher's best token over the student's, at each place of the data's replies.")]
public sealed class DirectPreferenceKd : IObjective
{
    public DistillationObjective Default { get; } = new(new(), new DirectDelivery(new Preference(1), LikelihoodShare: 0.5)) { TextWeight = 1 };
}

[Plugin("tvd", Paper = "arXiv:2310.08461", Summary = "Total variation on replies that the teacher draws: what a draft for speculative decoding is tuned with.")]
public sealed class DraftTuning : IObjective
{
    public DistillationObjective Default { get; } = new(new() { Sources = [ReplySource.Teacher] }, new DirectDelivery(new TotalVariation()));
}
