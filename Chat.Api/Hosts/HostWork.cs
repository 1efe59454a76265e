using Chat.Domain.Generation;

namespace Chat.Api.Hosts;

/// <summary>The requests that this host is at, by model, and whether it takes new ones. Thread-safe.</summary>
internal sealed class HostWork(TimeProvider time)
{
    private readonly Lock sync = new();
    private readonly Dictionary<string, int> active = [];
    private readonly HashSet<string> closed = [];
    private TaskCompletionSource changed = NewSignal();

    public bool IsDraining { get; private set; }

    /// <summary>Dispose it when the request is over.</summary>
    /// <exception cref="GenerationException">The host drains, or the model is being unloaded.</exception>
    public IDisposable Begin(string model)
    {
        lock (sync)
        {
            if (IsDraining) throw new GenerationException(GenerationError.Unavailable, "This model host is being drained.");
            if (closed.Contains(model)) throw new GenerationException(GenerationError.Unavailable, $"The model '{model}' is being unloaded.");
            active[model] = Active(model) + 1;
        }
        return new Request(this, model);
    }

    public int Active(string model)
    {
        lock (sync) return active.GetValueOrDefault(model);
    }

    /// <summary>New requests are refused until <see cref="Undrain"/>.</summary>
    public void Drain()
    {
        lock (sync) IsDraining = true;
    }

    public void Undrain()
    {
        lock (sync) IsDraining = false;
    }

    /// <summary>New requests for the model are refused until <see cref="Open"/>.</summary>
    public void Close(string model)
    {
        lock (sync) closed.Add(model);
    }

    public void Open(string model)
    {
        lock (sync) closed.Remove(model);
    }

    /// <param name="model"><c>null</c> = all models.</param>
    /// <returns>How many requests still ran when the time was over.</returns>
    public async Task<int> IdleAsync(string? model, TimeSpan limit, CancellationToken cancellation)
    {
        // No timer of our own: its callback may still run after it was disposed, and what it throws ends the process.
        using var timeout = new CancellationTokenSource(limit, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellation);
        for (; ; )
        {
            Task wait;
            int left;
            lock (sync)
            {
                left = model is null ? active.Values.Sum() : Active(model);
                wait = changed.Task;
            }
            if (left == 0) return 0;
            try { await wait.WaitAsync(either.Token); }
            catch (OperationCanceledException) when (!cancellation.IsCancellationRequested) { return left; }
        }
    }

    private void End(string model)
    {
        TaskCompletionSource signal;
        lock (sync)
        {
            active[model]--;
            (signal, changed) = (changed, NewSignal());
        }
        signal.SetResult();
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private sealed class Request(HostWork work, string model) : IDisposable
    {
        public void Dispose() => work.End(model);
    }
}
