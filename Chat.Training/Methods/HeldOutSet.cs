using Chat.Models.Architectures;
using Chat.Training.Data;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.Training.Methods;

/// <summary>What a model makes of held-out dialogue, in nats a token, by corpus.</summary>
/// <param name="Loss">With the reply's own context.</param>
/// <param name="ContextGain">How much higher the loss is with another reply's context: 0 for a model that does not look at what it answers.</param>
public sealed record HeldOutLosses(IReadOnlyDictionary<string, double> Loss, IReadOnlyDictionary<string, double> ContextGain);

/// <summary>Held-out dialogue, corpus by corpus, as fixed batches: whole context, every reply that fits.</summary>
public sealed class HeldOutSet
{
    /// <summary>Evenly spread samples a corpus gives at most, to hold validation to a few seconds.</summary>
    private const int MostSamples = 200;

    private readonly (string Name, IReadOnlyList<Batch> Batches)[] sets;

    public HeldOutSet(IEnumerable<(string Name, TokenizedCorpus Corpus)> corpora, SampleLimits limits, int batchTokens, int mostSamples = MostSamples)
    {
        sets = [.. corpora.Select(c => (c.Name, (IReadOnlyList<Batch>)MixtureStream.Cut(Replies(c.Corpus, limits, mostSamples), batchTokens)))];
        foreach (var (name, batches) in sets)
            if (batches.Count == 0) throw new InvalidDataException($"Validation corpus '{name}' has no held-out reply that fits {limits.MaxContext} + {limits.MaxReply} tokens.");
    }

    public int Samples => sets.Sum(s => s.Batches.Sum(b => b.Size));

    /// <summary>Losses by corpus. Leaves the model in evaluation mode.</summary>
    public HeldOutLosses Losses(EncoderDecoder model)
    {
        model.eval();
        using var gradients = no_grad();
        var (losses, gains) = (new Dictionary<string, double>(), new Dictionary<string, double>());
        foreach (var (name, batches) in sets)
        {
            losses[name] = Mean(model, batches);
            gains[name] = Mean(model, batches.Select(Misled)) - losses[name];
        }
        return new HeldOutLosses(losses, gains);
    }

    private static double Mean(EncoderDecoder model, IEnumerable<Batch> batches)
    {
        var (sum, tokens) = (0.0, 0L);
        foreach (var batch in batches)
        {
            using var scope = NewDisposeScope();
            sum += Likelihood.TokenLosses(model, batch).sum().item<float>();
            tokens += batch.LabelCount;
        }
        return sum / tokens;
    }

    /// <summary>Every reply with its neighbour's context, which is of like length.</summary>
    private static Batch Misled(Batch batch) => new([.. batch.Samples.Select((s, i) => s with { Context = batch.Samples[(i + 1) % batch.Size].Context })]);

    private static IEnumerable<Sample> Replies(TokenizedCorpus corpus, SampleLimits limits, int most)
    {
        var places = new DialogueSampler().Places(corpus, limits);
        var stride = Math.Max(1, (places.Count + most - 1) / most);
        return places.Where((_, i) => i % stride == 0).Select(place =>
        {
            var reply = corpus.Turn(place.Position);
            var labels = new int[reply.Length + 1];
            for (var t = 0; t < reply.Length; t++) labels[t] = reply[t];
            labels[^1] = Tokenization.TokenizerFile.Separator;
            return new Sample(DialogueSampler.Pack(corpus, corpus.Turns(place.Document).First, place.Position, limits.MaxContext), labels);
        });
    }
}
