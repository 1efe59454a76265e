namespace Chat.IntegrationTests;

/// <summary>Keeps a reply from getting past a token until it is let go, or fails. Thread-safe.</summary>
public sealed class Hold(int token)
{
    private readonly Lock sync = new();
    private int limit = token;
    private Exception? failure;
    private TaskCompletionSource changed = NewSignal();

    public void LetGo() => LetPast(int.MaxValue);

    /// <summary>Lets the reply go on up to another token.</summary>
    public void LetPast(int next) => Change(() => limit = next);

    public void Fail(Exception error) => Change(() => failure = error);

    internal async Task WaitAsync(int at, CancellationToken cancellation)
    {
        for (; ; )
        {
            Task wait;
            lock (sync)
            {
                if (at < limit) return;
                if (failure is not null) throw failure;
                wait = changed.Task;
            }
            await wait.WaitAsync(cancellation);
        }
    }

    private void Change(Action change)
    {
        TaskCompletionSource signal;
        lock (sync)
        {
            change();
            (signal, changed) = (changed, NewSignal());
        }
        signal.SetResult();
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
