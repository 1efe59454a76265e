using Chat.Training.Tokenization;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>
/// Samples padded to one length, one a row, or several a row behind each other («packed»), which then do not see each other. Arrays only: tensors are made inside the step that uses them, on the device that it computes on.
/// </summary>
public sealed class Batch
{
    private readonly IReadOnlyList<IReadOnlyList<Sample>> rows;
    private readonly IReadOnlyList<Sample> samples;

    /// <param name="start">The token that a reply begins with.</param>
    public Batch(IReadOnlyList<Sample> samples, int start = TokenizerFile.Start) : this([.. samples.Select(s => (IReadOnlyList<Sample>)[s])], start) { }

    /// <summary>Rows of one sample or more.</summary>
    public static Batch Packed(IReadOnlyList<IReadOnlyList<Sample>> rows) => new(rows, TokenizerFile.Start);

    private Batch(IReadOnlyList<IReadOnlyList<Sample>> rows, int start)
    {
        (this.rows, Start) = (rows, start);
        samples = [.. rows.SelectMany(r => r)];
        ContextLength = rows.Max(r => r.Sum(s => s.Context.Length));
        ReplyLength = rows.Max(r => r.Sum(s => s.Labels.Length));
    }

    /// <summary>Row after row.</summary>
    public IReadOnlyList<Sample> Samples => samples;

    /// <summary>The token that a reply begins with.</summary>
    public int Start { get; }

    /// <summary>Samples.</summary>
    public int Size => samples.Count;

    /// <summary>B.</summary>
    public int Rows => rows.Count;

    public int ContextLength { get; }
    public int ReplyLength { get; }

    /// <summary>Real tokens of both sides; pads do not count.</summary>
    public int Tokens => samples.Sum(s => s.Context.Length + s.Labels.Length);

    /// <summary>Tokens that are to be predicted.</summary>
    public int LabelCount => samples.Sum(s => s.Labels.Length);

    /// <summary>[B S] ids, padded on the right.</summary>
    public Tensor Contexts(Device? device = null) => Padded(device, ContextLength, s => s.Context.Length, s => s.Context, TokenizerFile.Pad);

    /// <summary>[B S] float, 1 where a real token stands; in packed rows the number of its sample, from 1.</summary>
    public Tensor Mask(Device? device = null) => Numbers(device, ContextLength, s => s.Context.Length);

    /// <summary>[B T] the same of replies; <c>null</c> where no row has several.</summary>
    public Tensor? ReplySegments(Device? device = null) => Rows == Size ? null : Numbers(device, ReplyLength, s => s.Labels.Length);

    /// <summary>[B T] the start token, then the labels but the last.</summary>
    public Tensor Replies(Device? device = null) => Padded(device, ReplyLength, s => s.Labels.Length, s => [Start, .. s.Labels.AsSpan(..^1)], TokenizerFile.Pad);

    /// <summary>[B T] ids to predict, −100 on pads.</summary>
    public Tensor Labels(Device? device = null) => Padded(device, ReplyLength, s => s.Labels.Length, s => s.Labels, -100);

    /// <summary>[N] where in [B·T] the labels stand, reply after reply, pads left out.</summary>
    public Tensor LabelPlaces(Device? device = null) => tensor([.. Places(ReplyLength, s => s.Labels.Length).SelectMany(p => Enumerable.Range(p.Start, p.Length).Select(at => (long)at))], device: device);

    /// <summary>[N] the labels themselves, in that order.</summary>
    public long[] RowLabels() => [.. samples.SelectMany(s => s.Labels.Select(id => (long)id))];

    /// <summary>[B T] float: 1 / (length of the reply · samples) on labels, 0 on pads; with it a sum is the mean over samples of their means.</summary>
    public Tensor SampleMeanWeights(Device? device = null)
    {
        var weights = new float[Rows * ReplyLength];
        foreach (var (start, length, _) in Places(ReplyLength, s => s.Labels.Length)) weights.AsSpan(start, length).Fill(1f / (length * Size));
        return tensor(weights, [Rows, ReplyLength], device: device);
    }

    private Tensor Numbers(Device? device, int width, Func<Sample, int> lengthOf)
    {
        var numbers = new float[Rows * width];
        foreach (var (start, length, number) in Places(width, lengthOf)) numbers.AsSpan(start, length).Fill(number);
        return tensor(numbers, [Rows, width], device: device);
    }

    private Tensor Padded(Device? device, int width, Func<Sample, int> lengthOf, Func<Sample, int[]> row, long pad)
    {
        var ids = new long[Rows * width];
        Array.Fill(ids, pad);
        foreach (var ((start, _, _), sample) in Places(width, lengthOf).Zip(samples))
        {
            var tokens = row(sample);
            for (var t = 0; t < tokens.Length; t++) ids[start + t] = tokens[t];
        }
        return tensor(ids, [Rows, width], device: device);
    }

    /// <summary>Where each sample stands in [B·width], how long it is there, and its number in its row, from 1.</summary>
    private IEnumerable<(int Start, int Length, int Number)> Places(int width, Func<Sample, int> lengthOf)
    {
        for (var b = 0; b < rows.Count; b++)
            for (int i = 0, at = b * width; i < rows[b].Count; at += lengthOf(rows[b][i++]))
                yield return (at, lengthOf(rows[b][i]), i + 1);
    }
}
