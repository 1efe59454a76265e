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
        return Likelihood.Hidden(model, batch).flatten(0, 1).index_select(0, batch.LabelPlaces(model.WeightDevice)).MoveToOuterDisposeScope();     // [N C]
    }

    public Tensor Scores(Tensor hidden) => model.Score(hidden);
}

/// <summary>
/// A teacher's hidden rows, kept from the moment its rewards are asked for until new replies are: MiniLLM asks about the same batches again in every epoch. The head is read anew, since its rows are as wide as
/// the vocabulary. A batch of other replies, or the same ones in another order, is computed; what is kept has the same bits as what would be.
/// </summary>
public sealed class KeptRows(IReplyScorer model) : IReplyScorer, IDisposable
{
    private readonly Dictionary<Sample, (IReadOnlyList<Sample> Batch, Tensor Hidden)> kept = [];        // by a batch's first sample

    public int VocabularySize => model.VocabularySize;

    public Tensor Hidden(Batch batch)
    {
        if (kept.TryGetValue(batch.Samples[0], out var found) && found.Batch.SequenceEqual(batch.Samples)) return found.Hidden.alias();
        var hidden = model.Hidden(batch);
        if (kept.Remove(batch.Samples[0], out var other)) other.Hidden.Dispose();
        kept[batch.Samples[0]] = (batch.Samples, hidden.alias().DetachFromDisposeScope());
        return hidden;
    }

    public Tensor Scores(Tensor hidden) => model.Scores(hidden);

    /// <summary>New replies: what was kept is of no more use.</summary>
    public void Forget()
    {
        foreach (var (_, hidden) in kept.Values) hidden.Dispose();
        kept.Clear();
    }

    public void Dispose() => Forget();
}
