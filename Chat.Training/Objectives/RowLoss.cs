using Chat.Models.Modules;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Objectives;

/// <summary>
/// The one loss of all objectives: goes over the rows of a batch in chunks, so that of [N V] only [chunk V] stands in memory, and leaves the gradient in the student's
/// parameters. Every term is a sum over rows with weights known beforehand, which is what makes chunks, batches and shards add up.
/// </summary>
public static class RowLoss
{
    /// <summary>Rows of scores computed together on a CPU.</summary>
    public const int ChunkRows = 512;

    /// <summary>A GPU needs more at once to be busy.</summary>
    public static int ChunkRowsOn(Device device) => device.type == DeviceType.CPU ? ChunkRows : 2048;

    /// <param name="terms">One for each reply of the batch.</param>
    /// <param name="teacher">Needed where a term measures a divergence.</param>
    /// <param name="normaliser">The loss is divided by it: tokens, or replies, of the whole update.</param>
    /// <param name="temperature">Both sides' scores are divided by it before a divergence is measured, which then counts T²-fold so that its gradient keeps its size (Hinton et al., arXiv:1503.02531).</param>
    /// <exception cref="ArgumentException">A divergence and no teacher, or one that says too little.</exception>
    public static LossParts Backward(
        IReplyScorer student, RolloutBatch batch, IReadOnlyList<ReplyTerms> terms, ITeacherRows? teacher, double normaliser, double temperature = 1, int? chunkRows = null)
    {
        foreach (var term in terms)
            if (term.Measure is { } measure && (teacher is null || !measure.Supports(teacher.Kind)))
                throw new ArgumentException($"{measure.GetType().Name} cannot be measured from {teacher?.Kind ?? SignalKind.None} word of the teacher.");

        using var scope = NewDisposeScope();
        var hidden = student.Hidden(batch.Batch);                                                       // [N C]
        var leaf = hidden.detach().requires_grad_();
        var parts = default(LossParts);
        var labels = batch.Batch.RowLabels();
        var rows = terms.SelectMany((term, i) => Enumerable.Range(0, batch.Rollouts[i].Length).Select(t => (Reply: i, Place: t))).ToArray();
        var most = chunkRows ?? ChunkRowsOn(leaf.device);
        for (int from = 0, count; from < rows.Length; from += count)
        {
            using var chunk = NewDisposeScope();
            count = Math.Min(most, rows.Length - from);
            count = teacher?.Together(from, count) ?? count;
            var scores = student.Scores(leaf.narrow(0, from, count));                                   // [n V]
            var logprobs = Logprobs(scores);
            List<Tensor> losses = [];
            parts += Tokens(batch, terms, rows.AsSpan(from, count), logprobs, labels.AsSpan(from, count), normaliser, losses)
                + Measured(terms, rows, from, count, temperature == 1 ? logprobs : Logprobs(scores, temperature), teacher, normaliser, temperature, losses);
            if (losses.Count > 0) losses.Aggregate(Numbers.Plus).backward();
        }
        if (leaf.grad is { } gradient && hidden.requires_grad) hidden.backward([gradient]);
        return parts;
    }

    /// <summary>log softmax of scores over T, in float32 at least.</summary>
    internal static Tensor Logprobs(Tensor scores, double temperature = 1)
    {
        using var scope = NewDisposeScope();
        var wide = scores.dtype == ScalarType.Float64 ? scores : scores.to_type(ScalarType.Float32);
        return (temperature == 1 ? wide : wide.Over(temperature)).log_softmax(-1).MoveToOuterDisposeScope();
    }

    /// <summary>Each row's log-probability of its label: [n V] → [n].</summary>
    internal static Tensor Chosen(Tensor logprobs, ReadOnlySpan<long> labels) => logprobs.gather(1, tensor(labels.ToArray(), device: logprobs.device).unsqueeze(1)).squeeze(1);

    /// <summary>Likelihood and policy gradient: what looks at the reply's own tokens.</summary>
    private static LossParts Tokens(RolloutBatch batch, IReadOnlyList<ReplyTerms> terms, ReadOnlySpan<(int Reply, int Place)> rows, Tensor logprobs, ReadOnlySpan<long> labels, double normaliser, List<Tensor> losses)
    {
        var likely = new double[rows.Length];
        double[] advantage = new double[rows.Length], importance = new double[rows.Length], old = new double[rows.Length], clip = new double[rows.Length];
        var surrogates = new Surrogate[rows.Length];
        for (var n = 0; n < rows.Length; n++)
        {
            var (term, place) = (terms[rows[n].Reply], rows[n].Place);
            likely[n] = term.Likelihood * term.Weight / normaliser;
            if (term.Advantages.Length == 0) continue;
            (advantage[n], importance[n]) = (term.Advantages[place] * term.Weight / normaliser, term.Importance[place]);
            (old[n], clip[n], surrogates[n]) = (batch.Rollouts[rows[n].Reply].Old[place], term.Clip, term.Surrogate);
        }
        var anyLikely = Array.Exists(likely, w => w != 0);
        var anyPolicy = Array.Exists(advantage, a => a != 0);
        if (!anyLikely && !anyPolicy) return default;

        var chosen = Chosen(logprobs, labels);                                                   // [n]
        Tensor Row(double[] values) => tensor(values, dtype: chosen.dtype, device: chosen.device);
        var parts = default(LossParts);
        if (anyLikely)
        {
            var loss = -(chosen * Row(likely)).sum();
            losses.Add(loss);
            parts = parts with { Likelihood = loss.ToDouble() };
        }
        if (anyPolicy)
        {
            var ratio = (chosen - Row(old)).exp() * Row(importance);
            Tensor a = Row(advantage), low = Row([.. clip.Select(c => 1 - c)]), high = Row([.. clip.Select(c => 1 + c)]);
            var clipped = ratio.clamp(low, high);
            bool Has(Surrogate kind) => Array.Exists(surrogates, s => s == kind);
            Tensor Where(Surrogate kind, Tensor value) => where(tensor(Array.ConvertAll(surrogates, s => s == kind), device: chosen.device), value, zeros_like(value));
            List<Tensor> kinds = [];
            if (Has(Surrogate.Plain)) kinds.Add(Where(Surrogate.Plain, -(ratio * a)));
            if (Has(Surrogate.Clipped)) kinds.Add(Where(Surrogate.Clipped, -(ratio.minimum(clipped) * a)));
            if (Has(Surrogate.Pessimistic)) kinds.Add(Where(Surrogate.Pessimistic, (-(ratio * a)).maximum(-(clipped * a))));
            var loss = kinds.Aggregate(Numbers.Plus).sum();
            losses.Add(loss);
            parts = parts with { Policy = loss.ToDouble() };
        }
        return parts;
    }

    private static LossParts Measured(
        IReadOnlyList<ReplyTerms> terms, (int Reply, int Place)[] rows, int from, int count, Tensor logprobs, ITeacherRows? teacher, double normaliser, double temperature, List<Tensor> losses)
    {
        var weighted = Enumerable.Range(0, count)
            .Select(n => (Row: n, Term: terms[rows[from + n].Reply], rows[from + n].Place))
            .Where(r => r.Term.Measure is not null && r.Term.MeasureWeights[r.Place] != 0).ToArray();
        if (weighted.Length == 0) return default;

        var (p, q) = teacher!.Align(from, count, logprobs);
        var sum = 0.0;
        foreach (var group in weighted.GroupBy(r => r.Term.Measure!))
        {
            var members = group.ToArray();
            var all = members.Length == count;
            var places = tensor(Array.ConvertAll(members, m => (long)m.Row), device: q.device);
            var parameter = Array.Exists(members, m => m.Term.Parameter is not null)
                ? tensor(Array.ConvertAll(members, m => m.Term.Parameter ?? group.Key.Parameter), dtype: q.dtype, device: q.device).unsqueeze(1) : null;
            var weights = tensor(Array.ConvertAll(members, m => m.Term.MeasureWeights[m.Place] * m.Term.Weight * temperature * temperature / normaliser), dtype: q.dtype, device: q.device);
            var loss = (group.Key.Rows(all ? p : p.index_select(0, places), all ? q : q.index_select(0, places), parameter) * weights).sum();
            losses.Add(loss);
            sum += loss.ToDouble();
        }
        return new(sum, 0, 0);
    }
}
