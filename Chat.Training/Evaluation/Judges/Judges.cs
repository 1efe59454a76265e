using Chat.Domain.Plugins;
using Chat.Training.Evaluation.Metrics;

namespace Chat.Training.Evaluation.Judges;

/// <summary>
/// The reply that the teacher finds likelier a token, its end included: without the mean, short replies would win. Says how near a student comes to its teacher, not
/// how good either is: a teacher likes dull text.
/// </summary>
[Plugin("teacher-likelihood", Summary = "The reply with the higher mean log-probability a token under the teacher")]
public sealed class TeacherLikelihoodJudge : IJudge
{
    /// <summary>In nats a token: below it nothing is decided.</summary>
    private const double Margin = 0.01;

    public ValueTask<Verdict> CompareAsync(JudgedPair pair, IReplyLikelihood teacher, CancellationToken cancel)
    {
        var means = teacher.LogProbabilities([new(pair.Context, pair.First), new(pair.Context, pair.Second)]).Select(tokens => tokens.Average()).ToArray();
        return ValueTask.FromResult(Judged(means[0] - means[1], Margin));
    }

    internal static Verdict Judged(double lead, double margin) => Math.Abs(lead) <= margin ? Verdict.Tie : lead > 0 ? Verdict.First : Verdict.Second;
}

/// <summary>The reply nearer to a reference by Rouge-L; a tie where there is none.</summary>
[Plugin("reference", Summary = "The reply with the higher Rouge-L against the references")]
public sealed class ReferenceJudge : IJudge
{
    public ValueTask<Verdict> CompareAsync(JudgedPair pair, IReplyLikelihood teacher, CancellationToken cancel) =>
        ValueTask.FromResult(TeacherLikelihoodJudge.Judged((Score(pair, pair.First) ?? 0) - (Score(pair, pair.Second) ?? 0), margin: 0));

    private static double? Score(JudgedPair pair, string reply) => RougeL.Score(new Response(reply, pair.References, pair.Language, pair.Context));
}
