using System.Collections.Concurrent;
using Chat.Domain.Generation;
using Chat.Models.Engine.Speculation;

namespace Chat.Models.Engine;

/// <summary>
/// One model's thread: it makes the runner, steps the <see cref="GenerationLoop"/> while there is work, and disposes of the runner. A failing model
/// fails requests, never the process. Thread-safe.
/// </summary>
public sealed class GenerationEngine : IDisposable
{
    private readonly GenerationLoop loop;
    private readonly Func<IRunner> createRunner;
    private readonly Func<Speculator>? createSpeculator;
    private readonly EngineOptions options;
    private readonly TaskCompletionSource ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly AutoResetEvent wake = new(false);
    private readonly ConcurrentQueue<Action<IRunner?>> errands = [];
    private readonly Thread thread;
    private Speculator? speculator;
    private volatile bool isStopping;
    private volatile string? gone;

    /// <param name="createRunner">Called once, on the engine's thread; may take seconds.</param>
    /// <param name="createSpeculator">Likewise; <c>null</c> where nobody guesses ahead.</param>
    public GenerationEngine(string name, Func<IRunner> createRunner, EngineOptions options, TimeProvider time, Func<Speculator>? createSpeculator = null)
    {
        this.createSpeculator = createSpeculator;
        this.createRunner = createRunner;
        this.options = options;
        loop = new(options, time);
        thread = new(Run) { IsBackground = true, Name = $"model {name}" };
        thread.Start();
    }

    /// <summary>Completes when the model can answer, or fails with the reason why it cannot.</summary>
    public Task Ready => ready.Task;

    public Scheduler Scheduler => loop.Scheduler;

    /// <summary>What it is at, and what it has found in the prefix cache since it began. The share of the cache is told to <see cref="EngineOptions.OnUsage"/>.</summary>
    public EngineLoad Load => loop.Load;

    /// <summary>The runner, for what is called on the engine's thread.</summary>
    internal IRunner? Runner { get; private set; }

    /// <summary>Has the engine's thread do something between two steps.</summary>
    /// <exception cref="GenerationException">The model is gone, and nothing was done.</exception>
    public Task<T> BetweenStepsAsync<T>(Func<IRunner, T> errand)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        errands.Enqueue(runner =>
        {
            try { done.SetResult(errand(runner ?? throw new GenerationException(GenerationError.Unavailable, gone!))); }
            catch (Exception error) { done.SetException(error); }
        });
        if (gone is not null) DoErrands(null);
        Wake();
        return done.Task;
    }

    /// <summary>Lets another draft guess ahead from the next step on, or none: replies under way go on with it, or without. An engine without a speculator knows no drafts.</summary>
    /// <param name="draft">Owned by the engine once it is taken.</param>
    /// <exception cref="GenerationException">The model is gone, and the draft was not taken.</exception>
    public Task UseDraftAsync(IDraftProposer? draft) => BetweenStepsAsync(_ =>
    {
        loop.Speculator = speculator;                                                      // a draft that failed ended guessing
        speculator!.Use(Decoding.Speculation.Draft, draft);
        return draft;
    });

    /// <exception cref="GenerationException">The queue is full, or the model is gone.</exception>
    public void Submit(Sequence sequence)
    {
        if (gone is null) loop.Submit(sequence);
        if (gone is { } reason)
        {
            // The thread may have ended between the two looks; then nobody else would complete the request.
            loop.FailAll(reason);
            throw new GenerationException(GenerationError.Unavailable, reason);
        }
        Wake();
    }

    /// <summary>Makes the engine look again: something was cancelled, or read.</summary>
    public void Wake()
    {
        try { wake.Set(); }
        catch (ObjectDisposedException) { }                                                // the engine went before its readers
    }

    public void Dispose()
    {
        isStopping = true;
        Wake();
        thread.Join();
        wake.Dispose();
    }

    private void Run()
    {
        try
        {
            using var runner = createRunner();
            if (runner.Rows < options.Rows) throw new InvalidOperationException($"The runner has {runner.Rows} rows, the engine needs {options.Rows}.");
            using var guessing = createSpeculator?.Invoke();
            (Runner, speculator, loop.Speculator) = (runner, guessing, guessing);
            ready.SetResult();
            while (!isStopping)
            {
                DoErrands(runner);
                if (!TryStep(runner)) wake.WaitOne();
            }
            End("The model is being shut down.");
        }
        catch (Exception error)
        {
            options.OnFailure(error);
            End("The model could not be started.");
            ready.TrySetException(error);
        }
    }

    // What the loop does not expect fails those who are there; the next request finds the engine at work.
    private bool TryStep(IRunner runner)
    {
        try { return loop.Step(runner); }
        catch (Exception error)
        {
            options.OnFailure(error);
            loop.FailAll("The model failed while it answered.", runner);
            return true;
        }
    }

    private void DoErrands(IRunner? runner)
    {
        while (errands.TryDequeue(out var errand)) errand(runner);
    }

    private void End(string reason)
    {
        gone = reason;
        loop.FailAll(reason);
        DoErrands(null);
    }
}
