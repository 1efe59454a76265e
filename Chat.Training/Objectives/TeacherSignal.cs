using Chat.Models.Modules;
using Chat.Training.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Objectives;

/// <summary>
/// What a teacher says about the replies of a batch, row by row. Disposed of by who asked for it; one thread.
/// </summary>
public interface ITeacherRows : IDisposable
{
    SignalKind Kind { get; }

    /// <summary>Rows [from, from + count) side by side: the teacher's log-probabilities, and the student's in the same columns.</summary>
    /// <param name="q">[count V] log-probabilities of the student.</param>
    /// <returns>Two tensors of one shape, [count V] or [count k+1]; the teacher's is constant.</returns>
    (Tensor P, Tensor Q) Align(int from, int count, Tensor q);

    /// <summary>How many rows from <paramref name="from"/> on are read in one <see cref="Align"/>: at most so many, more only where fewer cannot be told.</summary>
    int Together(int from, int most) => most;

    /// <summary>log p of each row's own token, [N].</summary>
    double[] Labels();
}

/// <summary>Where a teacher's word comes from.</summary>
public interface ITeacher
{
    SignalKind Kind { get; }

    ITeacherRows Score(Batch batch);
}

/// <summary>Tells a teacher that is broken from a student that diverged.</summary>
public static class TeacherNumbers
{
    /// <exception cref="InvalidDataException">One is NaN.</exception>
    public static void Require(IEnumerable<double> logprobs)
    {
        if (logprobs.Any(double.IsNaN)) throw new InvalidDataException("The teacher's log-probabilities are NaN: nothing can be learnt from it. See what 'evaluate' says of it, train it anew from an earlier checkpoint, or name another one in distil.teacher.");
    }
}

/// <summary>A teacher in this process, asked for every token. Its gradient is never made.</summary>
/// <param name="temperature">Its scores are divided by it.</param>
public sealed class ModelTeacher(IReplyScorer model, double temperature = 1) : ITeacher
{
    public SignalKind Kind => SignalKind.Full;

    public ITeacherRows Score(Batch batch)
    {
        using var gradients = no_grad();
        return new Rows(model, model.Hidden(batch).DetachFromDisposeScope(), batch, temperature);
    }

    /// <summary>Keeps what the head reads, and lets it read as rows are asked for.</summary>
    private sealed class Rows(IReplyScorer model, Tensor hidden, Batch batch, double temperature) : ITeacherRows
    {
        public SignalKind Kind => SignalKind.Full;

        public (Tensor P, Tensor Q) Align(int from, int count, Tensor q) => (Logprobs(from, count), q);

        public double[] Labels()
        {
            var labels = batch.RowLabels();
            var found = new double[labels.Length];
            for (var from = 0; from < labels.Length; from += RowLoss.ChunkRows)
            {
                using var scope = NewDisposeScope();
                var count = Math.Min(RowLoss.ChunkRows, labels.Length - from);
                RowLoss.Chosen(Logprobs(from, count), labels.AsSpan(from, count)).to_type(ScalarType.Float64).cpu().data<double>().CopyTo(found.AsSpan(from, count));
            }
            return found;
        }

        public void Dispose() => hidden.Dispose();

        private Tensor Logprobs(int from, int count)
        {
            using var gradients = no_grad();
            using var scope = NewDisposeScope();
            return RowLoss.Logprobs(model.Scores(hidden.narrow(0, from, count)), temperature).MoveToOuterDisposeScope();
        }
    }
}

/// <summary>
/// A teacher that is asked for its best <paramref name="k"/> tokens: their log-probabilities and the rest's in one column. Of the three conventions in use (rest in one column,
/// rest left out, the k renormalised) only the first is a bound of the divergence; see methods of other frameworks in DECISIONS.md.
/// </summary>
public sealed class TopKTeacher(ITeacher teacher, int k, int vocabulary) : ITeacher
{
    public SignalKind Kind => SignalKind.TopK;

    public ITeacherRows Score(Batch batch) => new Rows(teacher.Score(batch), Math.Min(k, vocabulary));

    private sealed class Rows(ITeacherRows full, int k) : ITeacherRows
    {
        public SignalKind Kind => SignalKind.TopK;

        public (Tensor P, Tensor Q) Align(int from, int count, Tensor q)
        {
            var (p, _) = full.Align(from, count, q);
            var (best, ids) = p.topk(k, -1);                                                            // [n k]
            return (cat([best, Rest(p, ids)], 1), cat([q.gather(1, ids), Rest(q, ids)], 1));
        }

        public double[] Labels() => full.Labels();

        public void Dispose() => full.Dispose();
    }

    /// <summary>log of the probability outside <paramref name="ids"/>, [N 1]; summed over what is left, not taken from 1: a small rest would drown in rounding.</summary>
    internal static Tensor Rest(Tensor logprobs, Tensor ids)
    {
        using var none = double.NegativeInfinity.ToScalar();
        var inside = zeros_like(logprobs, ScalarType.Bool).scatter(1, ids, ones_like(ids, ScalarType.Bool));
        return ids.shape[1] == logprobs.shape[1] ? zeros([logprobs.shape[0], 1], logprobs.dtype, logprobs.device).fill_(none) : logprobs.masked_fill(inside, none).logsumexp(-1, true);
    }
}
