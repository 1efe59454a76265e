using Chat.Domain.Generation;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Grpc.Core;

namespace Chat.Api.Hosts;

/// <summary>Loads models into this process by the content of their folders. Thread-safe; one load at a time.</summary>
internal sealed class HostFolders(InProcessChatModels models, ModelsOptions options, ModelServing serving) : IDisposable
{
    private const int HashLength = 64;
    private readonly SemaphoreSlim loading = new(1);

    /// <summary>Serves the model with this content hash; returns when it can answer. Nothing happens where it is served.</summary>
    /// <exception cref="GenerationException">No such folder.</exception>
    /// <exception cref="RpcException">The folder is damaged, or its id is served with other content.</exception>
    public async Task<ModelDescription> LoadAsync(string hash, CancellationToken cancellation)
    {
        if (hash.Length != HashLength || !hash.All(char.IsAsciiHexDigitLower))
            throw new GenerationException(GenerationError.InvalidOption, $"hash must be {HashLength} lower-case hex digits.", "hash");
        await loading.WaitAsync(cancellation);
        try
        {
            if (models.Models.FirstOrDefault(m => m.Hash == hash) is { } served) return served;
            var path = ModelServing.Folders(options.Folder).FirstOrDefault(f => ModelFolder.Hash(f) == hash)
                ?? throw new GenerationException(GenerationError.UnknownModel, $"No model folder here has the content {hash}.", "hash");
            var folder = ModelFolder.Open(path);
            if (models.Models.FirstOrDefault(m => m.Id == folder.Description.Id) is { } other)
                throw new RpcException(new(StatusCode.FailedPrecondition, $"The model '{other.Id}' is served here with the content {other.Hash}; unload it first."));
            await models.LoadAsync(serving.Serve(folder));
            return folder.Description;
        }
        catch (CheckpointException e)
        {
            throw new RpcException(new(StatusCode.DataLoss, e.Message));
        }
        finally
        {
            loading.Release();
        }
    }

    public void Dispose() => loading.Dispose();
}
