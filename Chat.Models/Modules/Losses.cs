using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Chat.Models.Modules;

/// <summary>Losses as functions of logits and labels: −log p of the labels, in float32 whatever the logits are in.</summary>
public static class Losses
{
    /// <summary>A label that is not counted: pads, or what the loss shall not see.</summary>
    public const long Ignored = -100;

    /// <summary>Mean over all labels of the batch: long samples weigh more. What one reports.</summary>
    /// <param name="logits">[B T V]</param>
    /// <param name="labels">[B T] (int64)</param>
    /// <returns>A scalar.</returns>
    public static Tensor TokenMean(Tensor logits, Tensor labels) =>
        functional.cross_entropy(logits.to_type(ScalarType.Float32).flatten(0, 1), labels.Is(logits.shape[0], logits.shape[1]).flatten(), ignore_index: Ignored);

    /// <summary>Mean over each sample's own labels; EVA trains on the mean of this over the batch, so a short reply weighs as much as a long one.</summary>
    /// <returns>[B]; a sample without labels is 0.</returns>
    public static Tensor SampleMeans(Tensor logits, Tensor labels)
    {
        using var scope = NewDisposeScope();
        var tokens = functional.cross_entropy(logits.to_type(ScalarType.Float32).flatten(0, 1), labels.Is(logits.shape[0], logits.shape[1]).flatten(), ignore_index: Ignored, reduction: Reduction.None)
            .view_as(labels);                                                       // [B T], 0 where ignored
        using var ignored = Ignored.ToScalar();
        var counts = labels.ne(ignored).sum(1).AtLeast(1);                          // [B]
        return (tokens.sum(1) / counts).MoveToOuterDisposeScope();
    }

    /// <summary>The mean of <see cref="SampleMeans"/>.</summary>
    /// <returns>A scalar.</returns>
    public static Tensor SampleMean(Tensor logits, Tensor labels)
    {
        using var scope = NewDisposeScope();
        return SampleMeans(logits, labels).mean().MoveToOuterDisposeScope();
    }
}
