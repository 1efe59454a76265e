using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using TorchSharp;

namespace Chat.Training.Evaluation;

/// <summary>A model folder as evaluation needs it: its weights for likelihoods, and the engine that serves it for replies.</summary>
public sealed class EvaluatedModel : IDisposable
{
    private readonly InProcessChatModels models;

    /// <exception cref="CheckpointException">What is wrong with the folder, or that it holds no encoder-decoder of this worker.</exception>
    public EvaluatedModel(string path, TimeProvider time)
    {
        Folder = ModelFolder.Open(path);
        var tokenizer = EncoderDecoderLikelihood.Tokenizer(Folder);
        Weights = Folder.LoadModel(dtype: torch.ScalarType.Float32);
        Likelihood = new EncoderDecoderLikelihood(Weights, tokenizer);
        models = new InProcessChatModels([ServedModel.OnKernels(Folder)], new DecodingCatalog(new PluginCatalog(typeof(DecodingCatalog).Assembly)), null, new EngineOptions(), time, () => 1);
    }

    public ModelFolder Folder { get; }
    public string Id => Folder.Description.Id;
    public EncoderDecoder Weights { get; }
    public EncoderDecoderLikelihood Likelihood { get; }

    public ReplyWriter Writer(int seed) => new(models, Id, seed);

    public void Dispose()
    {
        models.Dispose();
        Weights.Dispose();
    }
}
