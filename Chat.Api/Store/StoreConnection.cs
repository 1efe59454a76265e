using Chat.Domain.Conversations;
using Polly;
using Polly.Retry;
using Polly.Timeout;
using StackExchange.Redis;

namespace Chat.Api.Store;

/// <summary>
/// The way to Redis or Garnet. Every call has a time limit and is repeated over short outages (all our calls may be sent twice); when the store
/// stays away the caller gets <c>busy</c> with a sentence, within seconds, and nothing that was acknowledged is lost. Thread-safe.
/// </summary>
internal sealed class StoreConnection : IAsyncDisposable
{
    private static readonly TimeSpan AttemptLimit = TimeSpan.FromSeconds(2);

    private readonly ConnectionMultiplexer multiplexer;
    private readonly bool isEmbedded;
    private readonly ResiliencePipeline patience;
    private readonly ResiliencePipeline endurance;
    private readonly Lock committing = new();
    private Task commit = Task.CompletedTask;
    private Task? nextCommit;

    private StoreConnection(ConnectionMultiplexer multiplexer, bool isEmbedded, TimeProvider time)
    {
        this.multiplexer = multiplexer;
        this.isEmbedded = isEmbedded;
        patience = Pipeline(TimeSpan.FromSeconds(4) - AttemptLimit, time);
        endurance = Pipeline(TimeSpan.FromSeconds(60), time);
    }

    public static StoreConnection Open(string configuration, bool isEmbedded, TimeProvider time)
    {
        ConfigurationOptions options;
        try { options = ConfigurationOptions.Parse(configuration); }
        catch (ArgumentException e) { throw new InvalidOperationException($"ConnectionStrings:Redis cannot be read; it takes the form localhost:6379,password=…: {e.Message}"); }
        options.AbortOnConnectFail = false;
        options.ClientName ??= "chat";
        options.AsyncTimeout = Math.Min(options.AsyncTimeout, (int)AttemptLimit.TotalMilliseconds);
        return new(ConnectionMultiplexer.Connect(options), isEmbedded, time);
    }

    public ISubscriber Subscriber => multiplexer.GetSubscriber();

    /// <summary>The first thing that is asked of a store: answers in seconds whether it is there.</summary>
    /// <exception cref="ChatException"><c>busy</c>: it is not.</exception>
    public async Task<ChannelMessageQueue> FirstSubscriptionAsync(RedisChannel channel)
    {
        try
        {
            return await Subscriber.SubscribeAsync(channel);
        }
        catch (Exception e) when (IsAbsence(e))
        {
            var places = string.Join(", ", multiplexer.GetEndPoints().Select(EndPointCollection.ToString));
            throw new ChatException(ChatError.Busy, $"The conversation store does not answer at {places}{(isEmbedded ? "." : " (ConnectionStrings:Redis). Start a Redis there, name another, or leave the setting out: the embedded store is then used.")}");
        }
    }

    public bool IsConnected => multiplexer.IsConnected;

    /// <summary>For a call that somebody waits for.</summary>
    /// <exception cref="ChatException"><c>busy</c>: the store stayed away.</exception>
    public Task<T> CallAsync<T>(Func<IDatabase, Task<T>> call, CancellationToken cancellation = default) => RunAsync(patience, call, call(multiplexer.GetDatabase()), cancellation);

    /// <summary>For what must be written if at all possible: outlasts a restart of the store.</summary>
    /// <param name="first">The first attempt, where it is under way already.</param>
    /// <exception cref="ChatException"><c>busy</c>: the store stayed away for a minute.</exception>
    public Task<T> EndureAsync<T>(Func<IDatabase, Task<T>> call, Task<T>? first = null) => RunAsync(endurance, call, first ?? call(multiplexer.GetDatabase()), CancellationToken.None);

    /// <summary>Calls that go out together: a pipeline, never a transaction. Each has its own answer, and in a cluster each goes to its own shard.</summary>
    public IBatch Batch() => multiplexer.GetDatabase().CreateBatch();

    /// <summary>
    /// Returns when everything written so far survives the death of the process. Garnet commits in the background unless asked; Redis answers a
    /// write according to its own appendfsync, which its operator chose. Who asks while a commit runs shares the next one.
    /// </summary>
    public Task CommitAsync()
    {
        if (!isEmbedded) return Task.CompletedTask;
        lock (committing) return nextCommit ??= AfterAsync(commit);

        async Task AfterAsync(Task running)
        {
            await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding);
            lock (committing) (commit, nextCommit) = (nextCommit!, null);
            await EndureAsync(db => db.ExecuteAsync("COMMITAOF"));
        }
    }

    public async ValueTask DisposeAsync() => await multiplexer.DisposeAsync();

    // Nearly every call succeeds at once: only those that do not pay for patience.
    private async Task<T> RunAsync<T>(ResiliencePipeline pipeline, Func<IDatabase, Task<T>> call, Task<T> first, CancellationToken cancellation)
    {
        try
        {
            return await (cancellation.CanBeCanceled ? first.WaitAsync(cancellation) : first);
        }
        catch (Exception e) when (IsAbsence(e)) { }
        try
        {
            return await pipeline.ExecuteAsync(static async (state, ct) => await state.call(state.db).WaitAsync(ct), (call, db: multiplexer.GetDatabase()), cancellation);
        }
        catch (Exception e) when (IsAbsence(e))
        {
            throw new ChatException(ChatError.Busy, "The conversation store does not answer. Nothing that was acknowledged is lost; try again in 5 seconds.", e) { RetryAfter = TimeSpan.FromSeconds(5) };
        }
    }

    private static ResiliencePipeline Pipeline(TimeSpan limit, TimeProvider time) => new ResiliencePipelineBuilder { TimeProvider = time }
        .AddTimeout(limit)
        .AddRetry(new RetryStrategyOptions
        {
            ShouldHandle = new PredicateBuilder().Handle<Exception>(IsAbsence),
            MaxRetryAttempts = int.MaxValue,
            BackoffType = DelayBackoffType.Exponential,
            Delay = TimeSpan.FromMilliseconds(50),
            MaxDelay = TimeSpan.FromSeconds(1),
        })
        .Build();

    private static bool IsAbsence(Exception e) => e is RedisConnectionException or RedisTimeoutException or TimeoutRejectedException
        || (e is RedisServerException && (e.Message.StartsWith("LOADING", StringComparison.Ordinal) || e.Message.StartsWith("MASTERDOWN", StringComparison.Ordinal)));
}
