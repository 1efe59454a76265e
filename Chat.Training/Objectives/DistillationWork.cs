using Chat.Training.Methods;

namespace Chat.Training.Objectives;

/// <summary>
/// One update after another of a distillation: takes replies, says what is asked of each, lets the rows be learnt from, and plain text beside them. Every loss is a sum over the update divided
/// by its tokens (or replies), however it is cut into batches.
/// </summary>
/// <param name="teacher">Needed where <see cref="DistillationObjective.NeedsTeacher"/>.</param>
/// <param name="text">Plain text, where <see cref="DistillationObjective.TextWeight"/> is not 0.</param>
/// <param name="alarm">Stands where <paramref name="source"/> does.</param>
/// <param name="clock">Shared with who writes the replies.</param>
/// <param name="teacherHash">Content of the teacher, for the cursor.</param>
/// <param name="pack">Of the text's <see cref="RolloutBatch"/>es.</param>
public sealed class DistillationWork(
    DistillationObjective objective, IReplyScorer student, ITeacher? teacher, TrajectorySource source, MixtureStream? text, DegenerationAlarm alarm, WorkClock clock, string? teacherHash = null, SampleLimits? pack = null) : IStageWork
{
    private readonly TimedTeacher? teacher = teacher is null ? null : new TimedTeacher(teacher, clock);

    public StageCursor Cursor => new(Trajectories: source.State, Text: text?.Cursor, Alarm: alarm.State, Teacher: teacherHash);

    public UpdateReport Learn(double progress)
    {
        var update = source.Next(progress);
        var terms = objective.Delivery.Terms([.. update.SelectMany(b => b.Rollouts)], progress);
        if (objective.SampleMean) terms = [.. terms.Zip(update.SelectMany(b => b.Rollouts), (term, reply) => term with { Weight = term.Weight / reply.Length })];
        var normaliser = objective.SampleMean ? terms.Length : update.Sum(b => b.Rows);
        var parts = default(LossParts);
        var at = 0;
        foreach (var batch in update)
        {
            var asked = terms.AsSpan(at, batch.Rollouts.Count).ToArray();
            at += asked.Length;
            using var rows = asked.Any(t => t.Measure is not null) ? teacher!.Score(batch.Batch) : null;
            parts += RowLoss.Backward(student, batch, asked, rows, normaliser, objective.Temperature);
            if (double.IsNaN(parts.Total)) TeacherNumbers.Require([.. rows?.Labels() ?? [], .. batch.Rollouts.SelectMany(r => r.Teacher)]);
        }
        var tokens = update.Sum(b => (long)b.Batch.Tokens);
        var textLoss = 0.0;
        if (objective.TextWeight != 0 && text is not null)
        {
            var batch = new RolloutBatch([.. text.Next().Samples.Select(s => new Rollout(s, Author.Data))], pack);
            textLoss = RowLoss.Backward(student, batch, [.. batch.Rollouts.Select(_ => new ReplyTerms { Likelihood = objective.TextWeight })], null, batch.Rows).Likelihood;
            tokens += batch.Batch.Tokens;
        }
        var loss = parts.Total + textLoss;
        if (!double.IsFinite(loss)) throw new DivergedException($"The loss is {loss}");
        var figures = Figures(update, parts, textLoss);
        var own = update.SelectMany(b => b.Rollouts).Where(r => r.Author is Author.Student or Author.Both).ToArray();
        double? divergence = figures.TryGetValue("reward", out var reward) ? -reward : parts.Divergence != 0 ? parts.Divergence : null;
        var heard = own.Length == 0 ? null : alarm.Hear(own.Average(r => r.Length), DegenerationAlarm.Distinct(own.Select(r => r.Sample.Labels)), divergence);
        return new(loss, tokens, figures, heard, clock.Take());
    }

    public void Validated(double loss) => source.Validated(loss);

    private Dictionary<string, double> Figures(IReadOnlyList<RolloutBatch> update, LossParts parts, double textLoss)
    {
        var rollouts = update.SelectMany(b => b.Rollouts).ToArray();
        var figures = new Dictionary<string, double> { ["replyTokens"] = rollouts.Average(r => r.Length) };
        if (parts.Divergence != 0) figures["divergence"] = parts.Divergence;
        if (parts.Likelihood != 0) figures["likelihood"] = parts.Likelihood;
        if (parts.Policy != 0) figures["policy"] = parts.Policy;
        if (textLoss != 0) figures["text"] = textLoss;
        var drawn = rollouts.Where(r => r is { Old.Length: > 0, Teacher.Length: > 0 }).ToArray();
        if (drawn.Length > 0)
        {
            figures["reward"] = drawn.Average(r => Enumerable.Range(0, r.Length).Average(r.Reward));
            figures["teacherNll"] = drawn.Average(r => -r.Teacher.Average());
        }
        return figures;
    }
}
