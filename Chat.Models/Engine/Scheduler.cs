namespace Chat.Models.Engine;

/// <summary>
/// Who waits, who runs, and which rows belong to whom; plain bookkeeping without tensors. First come, first served: a request whose rows are
/// not free yet holds back those behind it, so wide ones are never starved. All members are thread-safe; only the engine's thread admits and releases.
/// </summary>
public sealed class Scheduler(int rows, int queueLimit)
{
    private readonly Lock gate = new();
    private readonly LinkedList<Sequence> waiting = [];
    private readonly List<Sequence> running = [];
    private readonly Stack<int> free = new(Enumerable.Range(0, rows).Reverse());

    public int Waiting { get { lock (gate) return waiting.Count; } }

    public double Usage { get { lock (gate) return 1 - free.Count / (double)rows; } }

    public IReadOnlyList<Sequence> Running { get { lock (gate) return [.. running]; } }

    /// <returns><c>false</c> when the queue is full.</returns>
    public bool TryEnqueue(Sequence sequence)
    {
        if (sequence.Width > rows) throw new ArgumentException($"A request needs {sequence.Width} rows of {rows}.", nameof(sequence));
        lock (gate)
        {
            // While rows are free and nobody waits, a limit of 0 still lets a request in.
            if (waiting.Count >= queueLimit && (waiting.Count > 0 || free.Count < sequence.Width)) return false;
            waiting.AddLast(sequence);
            return true;
        }
    }

    /// <summary>Takes cancelled requests out of the queue.</summary>
    public IReadOnlyList<Sequence> RemoveCancelled()
    {
        lock (gate)
        {
            var cancelled = waiting.Where(s => s.IsCancelled).ToArray();
            foreach (var sequence in cancelled) waiting.Remove(sequence);
            return cancelled;
        }
    }

    /// <summary>Moves requests from the queue to the rows they need, at most as many.</summary>
    public IReadOnlyList<Sequence> Admit(int most)
    {
        var admitted = new List<Sequence>();
        lock (gate)
            while (admitted.Count < most && waiting.First?.Value is { } next && next.Width <= free.Count)
            {
                waiting.RemoveFirst();
                next.Rows = [.. Enumerable.Range(0, next.Width).Select(_ => free.Pop())];
                running.Add(next);
                admitted.Add(next);
            }
        return admitted;
    }

    /// <summary>Gives a running request's rows back. A request that does not run is left alone.</summary>
    public bool Release(Sequence sequence)
    {
        lock (gate)
        {
            if (!running.Remove(sequence)) return false;
            foreach (var row in sequence.Rows) free.Push(row);
            return true;
        }
    }

    /// <summary>Empties queue and rows and gives everybody who was there.</summary>
    public IReadOnlyList<Sequence> Clear()
    {
        lock (gate)
        {
            Sequence[] all = [.. running, .. waiting];
            waiting.Clear();
            foreach (var sequence in running) foreach (var row in sequence.Rows) free.Push(row);
            running.Clear();
            return all;
        }
    }
}
