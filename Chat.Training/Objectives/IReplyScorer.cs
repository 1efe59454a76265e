using Chat.Models.Architectures;
using Chat.Training.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Objectives;

/// <summary>
/// A model as objectives see it: rows of scores at the places of replies, in two steps, so that the head's wide rows need never stand in memory all at once.
/// </summary>
public interface IReplyScorer
{
    int VocabularySize { get; }

    /// <returns>[N C] what the head reads, at each place of each reply in row order; pads left out.</returns>
    Tensor Hidden(Batch batch);

    /// <param name="hidden">[n C], some of those rows.</param>
    /// <returns>[n V] scores of the token at each.</returns>
    Tensor Scores(Tensor hidden);
}

/// <summary>An encoder-decoder, teacher-forced.</summary>
public sealed class EncoderDecoderScorer(EncoderDecoder model) : IReplyScorer
{
    public int VocabularySize => model.Config.VocabularySize;

    public Tensor Hidden(Batch batch)
    {
        using var scope = NewDisposeScope();
        var hidden = model.Hidden(batch.Contexts(), batch.Mask(), batch.Replies());                     // [B T C]
        return hidden.flatten(0, 1).index_select(0, batch.LabelPlaces()).MoveToOuterDisposeScope();     // [N C]
    }

    public Tensor Scores(Tensor hidden) => model.Score(hidden);
}
