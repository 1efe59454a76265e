namespace Chat.Benchmarks.Serving;

/// <summary>When requests are sent.</summary>
/// <param name="Rate">Requests a second of a Poisson process, or ∞ for all at once.</param>
/// <param name="Concurrency">Requests under way at most, or <c>null</c>; with an infinite rate this is a closed loop of so many users.</param>
internal sealed record Load(int Requests, double Rate, int? Concurrency, int Seed)
{
    /// <summary>Seconds after the start at which each request is due: gaps are exponential, and the same for the same seed.</summary>
    public double[] Arrivals()
    {
        var random = new Random(Seed);
        var at = 0.0;
        return [.. Enumerable.Range(0, Requests).Select(_ => double.IsPositiveInfinity(Rate) ? 0 : at += -Math.Log(1 - random.NextDouble()) / Rate)];
    }

    /// <summary>Sends every request when it is due and waits for all replies.</summary>
    /// <param name="ask">Sends the request of a number; must not throw but for cancellation.</param>
    /// <param name="finished">Called after each reply, from any thread.</param>
    /// <returns>The replies in the order of the requests, how long all took in seconds, and how many were under way at most.</returns>
    public async Task<(Exchange[] Exchanges, double Duration, int Peak)> RunAsync(Func<int, Func<double>, Task<Exchange>> ask, Action finished, TimeProvider time, CancellationToken cancellation)
    {
        using var places = Concurrency is { } most ? new SemaphoreSlim(most) : null;
        var (running, peak, gate) = (0, 0, new Lock());
        var start = time.GetTimestamp();
        double Seconds() => time.GetElapsedTime(start).TotalSeconds;
        var tasks = new List<Task<Exchange>>();
        foreach (var (number, due) in Arrivals().Index())
        {
            if (due - Seconds() is > 0 and var wait) await Task.Delay(TimeSpan.FromSeconds(wait), time, cancellation);
            if (places is not null) await places.WaitAsync(cancellation);
            tasks.Add(OneAsync(number));
        }
        var exchanges = await Task.WhenAll(tasks);
        return (exchanges, Seconds(), peak);

        async Task<Exchange> OneAsync(int number)
        {
            lock (gate) peak = Math.Max(peak, ++running);
            try
            {
                return await ask(number, Seconds);
            }
            finally
            {
                lock (gate) running--;
                places?.Release();
                finished();
            }
        }
    }
}
