namespace Chat.Models.Engine;

/// <summary>
/// Who waits, who runs, and which rows belong to whom; plain bookkeeping without tensors, deterministic in its calls. Order: higher priority first, then the tenant that
/// was served least, then first come, first served. A request whose turn it is holds back those behind it until its rows are free, so wide ones are never starved.
/// All members are thread-safe; only the engine's thread admits, sets back and releases.
/// <para>
/// Fairness between tenants is the virtual token counter of Sheng et al., «Fairness in Serving Large Language Models», arXiv 2401.00588, Algorithm 2: every token
/// served is charged to its tenant, and a tenant that comes back from idleness starts from the least that an active one has had, so that nobody saves up. We count a
/// tenant as active while it runs as well as while it waits.
/// </para>
/// </summary>
public sealed class Scheduler(int rows, int queueLimit)
{
    private readonly Lock gate = new();
    private readonly List<Sequence> waiting = [];
    private volatile Sequence[] running = [];               // replaced, never changed
    private readonly Stack<int> free = new(Enumerable.Range(0, rows).Reverse());
    private readonly Dictionary<string, double> served = [];
    private double least;
    private long arrivals;

    public int Waiting { get { lock (gate) return waiting.Count; } }

    /// <summary>Rows that no request holds. They stay free until the engine's thread admits somebody.</summary>
    public IReadOnlyList<int> FreeRows { get { lock (gate) return [.. free]; } }

    /// <summary>Share of the rows that requests hold.</summary>
    public double Usage { get { lock (gate) return 1 - free.Count / (double)rows; } }

    /// <summary>In the order in which they were admitted.</summary>
    public IReadOnlyList<Sequence> Running => running;

    /// <returns><c>false</c> when the queue is full.</returns>
    public bool TryEnqueue(Sequence sequence)
    {
        if (sequence.Width > rows) throw new ArgumentException($"A request needs {sequence.Width} rows of {rows}.", nameof(sequence));
        lock (gate)
        {
            // While rows are free and nobody waits, a limit of 0 still lets a request in.
            if (waiting.Count >= queueLimit && (waiting.Count > 0 || free.Count < sequence.Width)) return false;
            if (!IsActive(sequence.Tenant))
            {
                if (waiting.Count + running.Length > 0) least = waiting.Concat(running).Min(s => served[s.Tenant]);
                served[sequence.Tenant] = Math.Max(least, served.GetValueOrDefault(sequence.Tenant));
            }
            sequence.Arrival = arrivals++;
            waiting.Add(sequence);
            return true;
        }
    }

    /// <summary>Takes cancelled requests out of the queue.</summary>
    public IReadOnlyList<Sequence> RemoveCancelled()
    {
        lock (gate)
        {
            var cancelled = waiting.Where(s => s.IsCancelled).ToArray();
            foreach (var sequence in cancelled)
            {
                waiting.Remove(sequence);
                Leave(sequence);
            }
            return cancelled;
        }
    }

    /// <summary>Whose turn it is among those that wait and could go on, rows or not.</summary>
    public Sequence? Next(Func<Sequence, bool> canGoOn)
    {
        lock (gate) return waiting.Where(canGoOn).OrderByDescending(s => s.Priority).ThenBy(s => served[s.Tenant]).ThenBy(s => s.Arrival).FirstOrDefault();
    }

    /// <summary>Moves a request from the queue to rows of its own.</summary>
    /// <returns><c>false</c> when there are too few.</returns>
    public bool TryAdmit(Sequence sequence)
    {
        lock (gate)
        {
            if (free.Count < sequence.Width) return false;
            waiting.Remove(sequence);
            sequence.Rows = [.. Enumerable.Range(0, sequence.Width).Select(_ => free.Pop())];
            running = [.. running, sequence];
            return true;
        }
    }

    /// <summary>
    /// Who makes room for a request, in this order and as far as needed: those with lower priority, and those of the same one whose readers keep them waiting; the
    /// lowest first, of them the paused ones, then the newest. All are named at once, because readers change who is paused.
    /// </summary>
    /// <returns><c>null</c> when even without all of them the request would have too few rows.</returns>
    public Queue<Sequence>? VictimsFor(Sequence sequence)
    {
        lock (gate)
        {
            Sequence[] weaker = [.. WeakestFirst(running.Where(s => s.Priority < sequence.Priority || (s.Priority == sequence.Priority && s.IsPaused)))];
            return free.Count + weaker.Sum(s => s.Width) >= sequence.Width ? new(weaker) : null;
        }
    }

    /// <summary>Who has to make room when those that run need more memory than there is; nobody when only one runs.</summary>
    public Sequence? Victim()
    {
        lock (gate) return running.Length > 1 ? WeakestFirst(running).First() : null;
    }

    /// <summary>Puts a running request back into the queue, at the place that its arrival gives it.</summary>
    public void SetBack(Sequence sequence)
    {
        lock (gate)
        {
            GiveBack(sequence);
            sequence.Rows = [];
            waiting.Add(sequence);
        }
    }

    /// <summary>Counts what a request has been served, in tokens or what costs as much.</summary>
    public void Charge(Sequence sequence, double tokens)
    {
        lock (gate) served[sequence.Tenant] += tokens;
    }

    /// <summary>Ends a running request, whose rows are free then. A request that does not run is left alone.</summary>
    public bool Release(Sequence sequence)
    {
        lock (gate)
        {
            if (!running.Contains(sequence)) return false;
            GiveBack(sequence);
            Leave(sequence);
            return true;
        }
    }

    /// <summary>Empties queue and rows and gives everybody who was there.</summary>
    public IReadOnlyList<Sequence> Clear()
    {
        lock (gate)
        {
            Sequence[] all = [.. running, .. waiting];
            foreach (var sequence in running) GiveBack(sequence);
            waiting.Clear();
            served.Clear();
            least = 0;
            return all;
        }
    }

    private static IEnumerable<Sequence> WeakestFirst(IEnumerable<Sequence> running) => running.OrderBy(s => s.Priority).ThenByDescending(s => s.IsPaused).ThenByDescending(s => s.Arrival);

    private void GiveBack(Sequence sequence)
    {
        running = [.. running.Where(s => s != sequence)];
        foreach (var row in sequence.Rows) free.Push(row);
    }

    /// <summary>What is remembered of the tenant of a request that is neither here nor there any more.</summary>
    private void Leave(Sequence sequence)
    {
        if (IsActive(sequence.Tenant)) return;
        // Who comes back is lifted to at least this, so those below need not be remembered.
        if (waiting.Count + running.Length == 0) least = Math.Max(least, served[sequence.Tenant]);
        foreach (var tenant in served.Keys.Where(tenant => served[tenant] <= least && !IsActive(tenant)).ToArray()) served.Remove(tenant);
    }

    private bool IsActive(string tenant) => waiting.Exists(s => s.Tenant == tenant) || Array.Exists(running, s => s.Tenant == tenant);
}
