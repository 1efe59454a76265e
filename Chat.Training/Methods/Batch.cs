using Chat.Training.Tokenization;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>Samples padded to one length. Arrays only: tensors are made inside the step that uses them.</summary>
public sealed class Batch
{
    private readonly IReadOnlyList<Sample> samples;

    /// <param name="start">The token that a reply begins with.</param>
    public Batch(IReadOnlyList<Sample> samples, int start = TokenizerFile.Start)
    {
        (this.samples, Start) = (samples, start);
        ContextLength = samples.Max(s => s.Context.Length);
        ReplyLength = samples.Max(s => s.Labels.Length);
    }

    public IReadOnlyList<Sample> Samples => samples;
    public int Start { get; }
    public int Size => samples.Count;
    public int ContextLength { get; }
    public int ReplyLength { get; }

    /// <summary>Real tokens of both sides; pads do not count.</summary>
    public int Tokens => samples.Sum(s => s.Context.Length + s.Labels.Length);

    /// <summary>Tokens that are to be predicted.</summary>
    public int LabelCount => samples.Sum(s => s.Labels.Length);

    /// <summary>[B S] ids, padded on the right.</summary>
    public Tensor Contexts() => Padded(ContextLength, s => s.Context, TokenizerFile.Pad);

    /// <summary>[B S] float, 1 where a real token stands.</summary>
    public Tensor Mask()
    {
        var mask = new float[Size * ContextLength];
        for (var b = 0; b < Size; b++) mask.AsSpan(b * ContextLength, samples[b].Context.Length).Fill(1);
        return tensor(mask, [Size, ContextLength]);
    }

    /// <summary>[B T] the start token, then the labels but the last.</summary>
    public Tensor Replies() => Padded(ReplyLength, s => [Start, .. s.Labels.AsSpan(..^1)], TokenizerFile.Pad);

    /// <summary>[B T] ids to predict, −100 on pads.</summary>
    public Tensor Labels() => Padded(ReplyLength, s => s.Labels, -100);

    /// <summary>[N] where in [B·T] the labels stand, reply after reply, pads left out.</summary>
    public Tensor LabelPlaces() => tensor([.. samples.SelectMany((s, b) => Enumerable.Range(0, s.Labels.Length).Select(t => (long)b * ReplyLength + t))]);

    /// <summary>[N] the labels themselves, in that order.</summary>
    public long[] RowLabels() => [.. samples.SelectMany(s => s.Labels.Select(id => (long)id))];

    /// <summary>[B T] float: 1 / (length of the row · rows) on labels, 0 on pads; with it a sum is the mean over samples of their means.</summary>
    public Tensor SampleMeanWeights()
    {
        var weights = new float[Size * ReplyLength];
        for (var b = 0; b < Size; b++) weights.AsSpan(b * ReplyLength, samples[b].Labels.Length).Fill(1f / (samples[b].Labels.Length * Size));
        return tensor(weights, [Size, ReplyLength]);
    }

    private Tensor Padded(int width, Func<Sample, int[]> row, long pad)
    {
        var ids = new long[Size * width];
        Array.Fill(ids, pad);
        for (var b = 0; b < Size; b++)
        {
            var tokens = row(samples[b]);
            for (var t = 0; t < tokens.Length; t++) ids[b * width + t] = tokens[t];
        }
        return tensor(ids, [Size, width]);
    }
}
