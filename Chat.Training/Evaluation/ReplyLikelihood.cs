using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using Chat.Training.Methods;
using Chat.Training.Tokenization;
using static TorchSharp.torch;

namespace Chat.Training.Evaluation;

/// <summary>A reply to turns, oldest first.</summary>
public sealed record Answered(IReadOnlyList<string> Context, string Reply);

/// <summary>How likely a model finds given replies. Not thread-safe.</summary>
public interface IReplyLikelihood
{
    /// <returns>For each reply the log-probabilities of its tokens, the end token last; a reply that is too long for the model is cut and has no end token.</returns>
    IReadOnlyList<double[]> LogProbabilities(IReadOnlyList<Answered> replies);
}

/// <summary>An encoder-decoder's likelihoods, in batches of replies of like length. The model is not its own.</summary>
public sealed class EncoderDecoderLikelihood(EncoderDecoder model, ITextTokenizer tokenizer) : IReplyLikelihood
{
    private const int BatchTokens = 4096;

    /// <param name="folder">Must have this worker's vocabulary format, whose special ids the batches know.</param>
    /// <exception cref="CheckpointException">Another format.</exception>
    public static ITextTokenizer Tokenizer(ModelFolder folder) => folder.Decoder is null && folder.Tokenizer.Special is { Start: TokenizerFile.Start, Separator: TokenizerFile.Separator, Pad: TokenizerFile.Pad } ? folder.Tokenizer
        : throw new CheckpointException(CheckpointErrors.Unsupported, $"{folder.Path}: likelihoods are computed for encoder-decoders with a vocabulary of this worker.");

    public IReadOnlyList<double[]> LogProbabilities(IReadOnlyList<Answered> replies)
    {
        var samples = replies.Select(r => Pack(r.Context, r.Reply)).ToArray();
        var result = new double[samples.Length][];
        using var gradients = no_grad();
        foreach (var numbers in Batches(samples, BatchTokens))
        {
            using var scope = NewDisposeScope();
            var batch = new Batch([.. numbers.Select(n => samples[n])]);
            var losses = Likelihood.TokenLosses(model, batch).cpu().data<float>().ToArray();                  // [B·T]
            for (var b = 0; b < numbers.Count; b++)
                result[numbers[b]] = [.. losses.AsSpan(b * batch.ReplyLength, samples[numbers[b]].Labels.Length).ToArray().Select(loss => -(double)loss)];
        }
        return result;
    }

    /// <summary>Turns and reply as ids, as serving packs them.</summary>
    public Sample Pack(IReadOnlyList<string> context, string reply) => Pack(context, [.. tokenizer.Encode(reply), TokenizerFile.Separator]);

    /// <param name="labels">The reply's ids, cut to what the model can say.</param>
    public Sample Pack(IReadOnlyList<string> context, IReadOnlyList<int> labels) =>
        new(ContextPacker.Pack([.. context.Select(tokenizer.Encode)], TokenizerFile.Tokens, model.Config.MaxContext), [.. labels.Take(model.Config.MaxReply)]);

    /// <summary>Numbers of samples, those of like length together, so many that a padded batch has at most so many tokens.</summary>
    internal static List<List<int>> Batches(IReadOnlyList<Sample> samples, int tokens) => MixtureStream.Cut(Enumerable.Range(0, samples.Count), n => samples[n], tokens);
}
