using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Modules;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>What a stage minimises. Stateless; called on the loop's thread inside its dispose scope.</summary>
[PluginKind("method")]
public interface ITrainingMethod
{
    /// <returns>A float32 scalar to go backward from; its value is what the journal reports.</returns>
    Tensor Loss(EncoderDecoder model, Batch batch);

    /// <summary>What the batch weighs among those of one update: with shares of it, their losses add up to the loss of all samples in one batch.</summary>
    double Weight(Batch batch);
}

/// <summary>Teacher forcing; every sample counts the same whatever its length: EVA's fine-tuning loss.</summary>
[Plugin("sample-mean", Paper = "arXiv:2108.01547", Summary = "Maximum likelihood, mean over samples of their token means")]
public sealed class SampleMean : ITrainingMethod
{
    public Tensor Loss(EncoderDecoder model, Batch batch) => (Likelihood.TokenLosses(model, batch) * batch.SampleMeanWeights(model.WeightDevice).flatten()).sum();

    public double Weight(Batch batch) => batch.Size;
}

/// <summary>Teacher forcing; every token counts the same: for running text, where a cut says nothing about the text.</summary>
[Plugin("token-mean", Summary = "Maximum likelihood, mean over all tokens of the batch")]
public sealed class TokenMean : ITrainingMethod
{
    public Tensor Loss(EncoderDecoder model, Batch batch) => Likelihood.TokenLosses(model, batch).sum().Over(batch.LabelCount);

    public double Weight(Batch batch) => batch.LabelCount;
}

/// <summary>A teacher-forced pass and its token losses.</summary>
public static class Likelihood
{
    /// <returns>[B T C] what the head reads, on the model's device.</returns>
    public static Tensor Hidden(EncoderDecoder model, Batch batch)
    {
        using var scope = NewDisposeScope();
        var device = model.WeightDevice;
        return model.Hidden(batch.Contexts(device), batch.Mask(device), batch.Replies(device), batch.ReplySegments(device)).MoveToOuterDisposeScope();
    }

    /// <returns>[B·T] float32 negative log-likelihoods in nats, 0 on pads.</returns>
    public static Tensor TokenLosses(EncoderDecoder model, Batch batch)
    {
        using var scope = NewDisposeScope();
        var logits = model.Score(Hidden(model, batch));                                                 // [B T V]
        var rows = logits.flatten(0, 1).to_type(ScalarType.Float32);                                    // [B·T V]
        return nn.functional.cross_entropy(rows, batch.Labels(model.WeightDevice).flatten(), ignore_index: -100, reduction: nn.Reduction.None).MoveToOuterDisposeScope();
    }
}
