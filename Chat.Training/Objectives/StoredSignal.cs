using Chat.Training.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Objectives;

/// <summary>What a teacher said about one reply, as numbers that can be kept or sent.</summary>
/// <param name="Width">Log-probabilities a place: the vocabulary of a full signal, k of the best, 0 where only the reply's own tokens were asked for.</param>
/// <param name="Ids">[T k], the best first; empty in a full signal, whose places are the ids.</param>
/// <param name="Logprobs">[T Width]</param>
/// <param name="Tails">[T] log of the probability outside the best; empty in a full signal.</param>
/// <param name="Labels">[T] of the reply's own tokens.</param>
public sealed record StoredSignal(SignalKind Kind, int Width, int[] Ids, float[] Logprobs, float[] Tails, float[] Labels)
{
    /// <summary>Takes a batch's rows apart into replies.</summary>
    /// <param name="full">A full signal's rows, or stored ones of the very kind that is wanted.</param>
    /// <param name="k">The best so many are kept; 0: all.</param>
    public static StoredSignal[] Of(ITeacherRows full, Batch batch, int vocabulary, int k)
    {
        if (full is StoredRows { Signals: var said } && said.All(s => s.Kind == (k > 0 ? SignalKind.TopK : SignalKind.Full) && s.Width == (k > 0 ? k : vocabulary))) return [.. said];
        var labels = full.Labels();
        var signals = new StoredSignal[batch.Size];
        var at = 0;
        for (var b = 0; b < signals.Length; b++)
        {
            using var scope = NewDisposeScope();
            using var gradients = no_grad();
            var length = batch.Samples[b].Labels.Length;
            var (p, _) = full.Align(at, length, empty(length, vocabulary));
            var own = Array.ConvertAll(labels[at..(at + length)], l => (float)l);
            at += length;
            if (k <= 0 || k >= vocabulary)
            {
                signals[b] = new(SignalKind.Full, vocabulary, [], Floats(p), [], own);
                continue;
            }
            var (best, ids) = p.topk(k, -1);
            signals[b] = new(SignalKind.TopK, k, [.. ids.flatten().cpu().data<long>().ToArray().Select(id => (int)id)], Floats(best), Floats(TopKTeacher.Rest(p, ids)), own);
        }
        return signals;
    }

    private static float[] Floats(Tensor x) => x.to_type(ScalarType.Float32).contiguous().cpu().data<float>().ToArray();
}

/// <summary>Rows of a batch put together from what was said about each of its replies. All of one kind and width.</summary>
public sealed class StoredRows(IReadOnlyList<StoredSignal> signals) : ITeacherRows
{
    private readonly int width = signals[0].Width;
    private readonly int[] ids = [.. signals.SelectMany(s => s.Ids)];
    private readonly float[] logprobs = [.. signals.SelectMany(s => s.Logprobs)], tails = [.. signals.SelectMany(s => s.Tails)];

    public SignalKind Kind => signals[0].Kind;

    /// <summary>One a reply.</summary>
    public IReadOnlyList<StoredSignal> Signals => signals;

    public (Tensor P, Tensor Q) Align(int from, int count, Tensor q)
    {
        var p = tensor(logprobs.AsSpan(from * width, count * width).ToArray(), [count, width], device: q.device);
        if (Kind == SignalKind.Full) return (p, q);
        var best = tensor(Array.ConvertAll(ids.AsSpan(from * width, count * width).ToArray(), id => (long)id), [count, width], device: q.device);
        return (cat([p, tensor(tails.AsSpan(from, count).ToArray(), device: q.device).unsqueeze(1)], 1), cat([q.gather(1, best), TopKTeacher.Rest(q, best)], 1));
    }

    public double[] Labels() => [.. signals.SelectMany(s => s.Labels).Select(l => (double)l)];

    public void Dispose() { }
}
