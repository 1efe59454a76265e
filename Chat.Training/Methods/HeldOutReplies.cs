using Chat.Models.Architectures;
using Chat.Models.Decoding;
using Chat.Models.Tokenizers;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Objectives;
using Chat.Training.Tokenization;

namespace Chat.Training.Methods;

/// <summary>
/// Held-out prompts that a model under training answers, through the engine that serves: always the best token, so the figures are a function of the weights. Evenly spread over the corpora. One thread.
/// </summary>
public sealed class HeldOutReplies : IDisposable
{
    private readonly HuggingFaceTokenizer tokenizer;
    private readonly RolloutModels models;
    private readonly (int[] Context, Response Expected)[] prompts;

    /// <param name="corpora">The held-out documents of each.</param>
    /// <param name="most">Prompts of all corpora together.</param>
    /// <param name="scratch">A folder for the weights on their way from torch to the kernels.</param>
    /// <exception cref="InvalidDataException">A corpus without a held-out reply.</exception>
    public HeldOutReplies(EncoderDecoder model, IReadOnlyList<(string Name, IReadOnlyList<Document> Documents)> corpora, int most, HuggingFaceTokenizer tokenizer, SampleLimits limits, int threads, string scratch)
    {
        this.tokenizer = tokenizer;
        models = new(model, null, TokenTable.From(tokenizer, model.Config.VocabularySize), limits.MaxReply, limits.MaxContext + limits.MaxReply, threads, scratch);
        prompts = [.. corpora.SelectMany(corpus =>
        {
            var found = Evaluator.References(corpus.Name, corpus.Documents, Math.Max(1, most / corpora.Count)).ToArray();
            return found.Length > 0 ? found : throw new InvalidDataException($"Validation corpus '{corpus.Name}' has no held-out reply.");
        }).Select(reference =>
        {
            var before = reference.Document.Turns.Take(reference.Turn).ToArray();
            return (ContextPacker.Pack([.. before.Select(tokenizer.Encode)], TokenizerFile.Tokens, limits.MaxContext), new Response("", [reference.Document.Turns[reference.Turn]], reference.Document.Language, before));
        })];
    }

    public ReplyFigures Score()
    {
        var replies = models.Write(ReplySource.Student, new() { Temperature = 0 }, [.. prompts.Select(p => p.Context)], 0, 0);
        return Figures([.. prompts.Zip(replies, (prompt, reply) => prompt.Expected with { Text = tokenizer.Decode(reply.Labels, skipSpecial: true) })]);
    }

    public static ReplyFigures Figures(IReadOnlyList<Response> responses)
    {
        var all = Bootstrap.All(responses.Count);
        return new(new RougeL().Prepare(responses)[0].Value(all), new Distinct().Prepare(responses)[3].Value(all), new Length().Prepare(responses)[0].Value(all));
    }

    public void Dispose() => models.Dispose();
}
