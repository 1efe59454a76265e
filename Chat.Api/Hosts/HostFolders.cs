using Chat.Api.Registry;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;

namespace Chat.Api.Hosts;

/// <summary>Loads models into this process by the content of their folders, which are pulled where they are not here. Thread-safe; one load at a time.</summary>
internal sealed class HostFolders(InProcessChatModels models, ModelShelf shelf, ModelPull pull, ModelServing serving) : IDisposable
{
    private readonly SemaphoreSlim loading = new(1);

    /// <summary>Serves the model with this content hash; returns when it can answer. Nothing happens where it is served.</summary>
    /// <exception cref="GenerationException">Nobody has such a folder.</exception>
    /// <exception cref="CheckpointException">The folder is damaged.</exception>
    /// <exception cref="ArgumentException">Its id is served with other content.</exception>
    public async Task<ModelDescription> LoadAsync(string hash, CancellationToken cancellation)
    {
        if (!ModelShelf.IsHash(hash)) throw new GenerationException(GenerationError.InvalidOption, $"hash must be {ModelShelf.HashLength} lower-case hex digits.", "hash");
        await loading.WaitAsync(cancellation);
        try
        {
            if (models.Models.FirstOrDefault(m => m.Hash == hash) is { } served) return served;
            var path = shelf.Find(hash)?.Folder ?? await pull.PullAsync(hash, cancellation);
            var folder = ModelFolder.Open(path);
            if (folder.Description.Hash != hash) throw new CheckpointException(CheckpointErrors.BadConfig, $"{path} has changed: its content is {folder.Description.Hash}.");
            if (models.Models.FirstOrDefault(m => m.Id == folder.Description.Id) is { } other)
                throw new ArgumentException($"The model '{other.Id}' is served here with the content {other.Hash}; unload it first.");
            await models.LoadAsync(serving.Serve(folder));
            return folder.Description;
        }
        finally
        {
            loading.Release();
        }
    }

    /// <summary><see cref="LoadAsync"/> for whoever reads what went wrong.</summary>
    /// <exception cref="ChatException"><c>conflict</c>: damaged, or its id is served with other content.</exception>
    public async Task<ModelDescription> LoadHereAsync(string hash, CancellationToken cancellation)
    {
        try { return await LoadAsync(hash, cancellation); }
        catch (Exception e) when (e is CheckpointException or ArgumentException) { throw new ChatException(ChatError.Conflict, e.Message, e); }
    }

    /// <summary>Serves a model no more; its running replies break off.</summary>
    /// <exception cref="ChatException">It is not served, or the last one.</exception>
    public async Task UnloadHereAsync(string model)
    {
        if (models.Models.All(m => m.Id != model)) throw new ChatException(ChatError.NotFound, $"No model '{model}' is served. Known: {string.Join(", ", models.Models.Select(m => m.Id))}.");
        if (models.Models.Count == 1) throw new ChatException(ChatError.Conflict, $"'{model}' is the only model that is served; load another one first.");
        await models.UnloadAsync(model);
    }

    public void Dispose() => loading.Dispose();
}

/// <summary>Loads what <c>Models:Load</c> names while the process starts.</summary>
internal sealed class LoadAtStart(HostFolders folders, ModelsOptions models) : IHostedService
{
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        foreach (var hash in models.Load) await folders.LoadAsync(hash, cancellationToken);
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
