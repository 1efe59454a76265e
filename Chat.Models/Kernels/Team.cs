using System.Diagnostics;

namespace Chat.Models.Kernels;

/// <summary>
/// The caller and its workers, who share out the chunks of one run at a time. Workers spin between runs, because the next one comes within
/// microseconds while a token is computed, and park when none comes. A run ends when its chunks are done, not when every worker has looked:
/// one that sleeps delays nobody. Nothing is allocated by a run. Several threads may call <see cref="Run"/>; who finds the workers busy works alone.
/// </summary>
public sealed class Team : IDisposable
{
    // A worker who was sent away in the middle of a chunk keeps everybody waiting until the system lets him back: then we work alone for a while.
    private static readonly long Patience = Stopwatch.Frequency / 5_000, Rest = Stopwatch.Frequency / 20;
    private const int SpinsBeforeParking = 4_000, SpinsBeforeYielding = 2_000;
    private readonly Lock callers = new();
    private readonly object parking = new();
    private readonly Thread[] workers;
    private Action<int, int> body = (_, _) => { };
    private long ticket;                    // generation << 32 | chunks << 16 | next chunk: one word, so that a claim can be made only on the run that was read
    private int done, parked;
    private long restUntil;
    private volatile bool isStopping;

    /// <param name="size">Threads that compute, the caller counted.</param>
    public Team(int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        workers = new Thread[size - 1];
        for (var i = 0; i < workers.Length; i++)
        {
            var number = i + 1;
            workers[i] = new(() => Work(number)) { IsBackground = true, Name = $"kernels {number}" };
            workers[i].Start();
        }
    }

    public const int MostChunks = ushort.MaxValue;

    /// <summary>The process's own team, as large as the machine.</summary>
    public static Team Shared { get; } = new(Environment.ProcessorCount);

    public int Size => workers.Length + 1;

    /// <summary>Calls <paramref name="work"/> once for each chunk from 0, with the number of the thread that computes it (0 is the caller). Chunks must not throw.</summary>
    public void Run(int chunks, Action<int, int> work)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(chunks, MostChunks);
        if (chunks > 1 && workers.Length > 0 && Stopwatch.GetTimestamp() >= Volatile.Read(ref restUntil) && callers.TryEnter())
        {
            try { RunTogether(chunks, work); }
            finally { callers.Exit(); }
            return;
        }
        for (var chunk = 0; chunk < chunks; chunk++) work(chunk, 0);
    }

    /// <summary>Ends the workers. No run may be under way.</summary>
    public void Dispose()
    {
        isStopping = true;
        WakeParked();
        foreach (var worker in workers) worker.Join();
    }

    private void RunTogether(int chunks, Action<int, int> work)
    {
        body = work;
        Volatile.Write(ref done, 0);
        var generation = (uint)(ticket >> 32) + 1;
        Interlocked.Exchange(ref ticket, (long)((ulong)generation << 32 | (uint)chunks << 16));
        if (Volatile.Read(ref parked) > 0) WakeParked();
        ClaimAll(0);
        if (Volatile.Read(ref done) == chunks) return;
        var waiting = Stopwatch.GetTimestamp();
        for (var spins = 0; Volatile.Read(ref done) < chunks; spins++)
        {
            if (spins < SpinsBeforeYielding) Thread.SpinWait(1);
            else Thread.Yield();
        }
        var now = Stopwatch.GetTimestamp();
        if (now - waiting > Patience) Volatile.Write(ref restUntil, now + Rest);
    }

    private void ClaimAll(int number)
    {
        while (true)
        {
            var seen = Volatile.Read(ref ticket);
            if (IsExhausted(seen)) return;
            if (Interlocked.CompareExchange(ref ticket, seen + 1, seen) != seen) continue;
            body((int)(seen & 0xffff), number);
            Interlocked.Increment(ref done);
        }
    }

    private static bool IsExhausted(long seen) => (seen & 0xffff) >= (seen >> 16 & 0xffff);

    private void Work(int number)
    {
        var spins = 0;
        while (!isStopping)
        {
            if (!IsExhausted(Volatile.Read(ref ticket)))
            {
                ClaimAll(number);
                spins = 0;
            }
            else if (++spins < SpinsBeforeParking)
            {
                Thread.SpinWait(1);
            }
            else
            {
                Park();
                spins = 0;
            }
        }
    }

    private void Park()
    {
        lock (parking)
        {
            Interlocked.Increment(ref parked);
            while (!isStopping && IsExhausted(Volatile.Read(ref ticket))) Monitor.Wait(parking);
            Interlocked.Decrement(ref parked);
        }
    }

    private void WakeParked()
    {
        lock (parking) Monitor.PulseAll(parking);
    }
}
