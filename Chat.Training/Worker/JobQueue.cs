using System.Text.Json;
using System.Text.Json.Serialization;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Domain.Training;
using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;
using StackExchange.Redis;

namespace Chat.Training.Worker;

/// <summary>A job that this worker has, for as long as <paramref name="Fence"/> is the newest.</summary>
public sealed record TakenJob(TrainingJob Job, long Fence);

/// <summary>What the queue says to a sign of life.</summary>
public enum BeatAnswer
{
    Ok,
    Cancel,
    /// <summary>Another worker has the job, or nobody may have it any more.</summary>
    Lost,
}

/// <summary>
/// The worker's side of <see cref="TrainingStore"/>. While Redis is away calls wait for it, since every script may be sent twice; only a sign of life is left out, as the next one says more.
/// Thread-safe.
/// </summary>
public sealed class JobQueue : IAsyncDisposable
{
    private static readonly RedisKey[] Keys = [.. TrainingStore.Keys.Select(key => (RedisKey)key)];
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    private readonly ConnectionMultiplexer multiplexer;
    private readonly ResiliencePipeline endurance;
    private readonly TimeProvider time;
    private readonly string worker, device;
    private readonly TimeSpan lease;
    private readonly ILogger logger;
    private int away;

    private JobQueue(ConnectionMultiplexer multiplexer, string worker, string device, TimeSpan lease, TimeProvider time, ILogger logger)
    {
        (this.multiplexer, this.worker, this.device, this.lease, this.time, this.logger) = (multiplexer, worker, device, lease, time, logger);
        endurance = new ResiliencePipelineBuilder { TimeProvider = time }.AddRetry(new RetryStrategyOptions
        {
            ShouldHandle = new PredicateBuilder().Handle<Exception>(IsAbsence),
            MaxRetryAttempts = int.MaxValue,
            BackoffType = DelayBackoffType.Exponential,
            Delay = TimeSpan.FromMilliseconds(100),
            MaxDelay = TimeSpan.FromSeconds(2),
        }).Build();
    }

    /// <param name="lease">A worker that gives no sign of life for so long has its job taken from it.</param>
    /// <exception cref="ArgumentException">A configuration that cannot be read.</exception>
    public static JobQueue Open(string configuration, string worker, string device, TimeSpan lease, TimeProvider time, ILogger logger)
    {
        var options = ConfigurationOptions.Parse(configuration);
        options.AbortOnConnectFail = false;
        options.ClientName ??= "chat-training";
        return new(ConnectionMultiplexer.Connect(options), worker, device, lease, time, logger);
    }

    /// <summary>Tells the gateways what recipes can name.</summary>
    public Task TellPluginsAsync(PluginCatalog plugins, CancellationToken cancel) => EndureAsync(
        db => db.StringSetAsync(TrainingStore.Plugins, JsonSerializer.Serialize(plugins.All.Select(p => new WorkerPlugin(p.Kind, p.Name, p.Summary, p.Paper)), Json)), cancel);

    /// <returns>The first job that waits or whose worker is gone; <c>null</c> where there is none, or the device is taken.</returns>
    public async Task<TakenJob?> TakeAsync(CancellationToken cancel)
    {
        var given = new JobEnd(time.GetUtcNow(), $"{TrainingStore.MostAttempts} workers ended at it without a new checkpoint, the last time without a word: look at their logs and at the machine's memory, then resume it.");
        var taken = (string[]?)await EndureAsync(db => db.ScriptEvaluateAsync(TrainingStore.Take, Keys,
            [worker, device, (long)lease.TotalMilliseconds, TrainingStore.MostAttempts, JsonSerializer.Serialize(given, Json)]), cancel);
        return taken is [_, var fence, var job] ? new(JsonSerializer.Deserialize<TrainingJob>(job, Json)!, long.Parse(fence, System.Globalization.CultureInfo.InvariantCulture)) : null;
    }

    /// <summary>A sign of life; one attempt. While Redis is away the answer is that all is well: nobody else can take the job then.</summary>
    public async Task<BeatAnswer> BeatAsync(TakenJob taken, JobProgress progress)
    {
        try
        {
            var answer = (string?)await multiplexer.GetDatabase().ScriptEvaluateAsync(TrainingStore.Beat, Keys,
                [taken.Job.Id, taken.Fence, (long)lease.TotalMilliseconds, JsonSerializer.Serialize(progress, Json), progress.Checkpoint]);
            Answers();
            return answer switch { "ok" => BeatAnswer.Ok, "cancel" => BeatAnswer.Cancel, _ => BeatAnswer.Lost };
        }
        catch (Exception error) when (IsAbsence(error))
        {
            Stays(error);
            return BeatAnswer.Ok;
        }
    }

    /// <summary>Gives a job back.</summary>
    /// <param name="end"><c>null</c> where it only goes back to the queue.</param>
    /// <returns>Whether it was still this worker's.</returns>
    public async Task<bool> EndAsync(TakenJob taken, JobState state, JobProgress progress, JobEnd? end, ModelRecord? model, CancellationToken cancel) => (string?)await EndureAsync(db => db.ScriptEvaluateAsync(TrainingStore.End, Keys,
    [
        taken.Job.Id, taken.Fence, JsonSerializer.Serialize(state, Json).Trim('"'), JsonSerializer.Serialize(progress, Json), end is null ? "" : JsonSerializer.Serialize(end, Json),
        model?.Model.Hash ?? "", model is null ? "" : JsonSerializer.Serialize(model, Json),
    ]), cancel) == "ok";

    public ValueTask DisposeAsync() => multiplexer.DisposeAsync();

    private async Task<T> EndureAsync<T>(Func<IDatabase, Task<T>> call, CancellationToken cancel)
    {
        var answer = await endurance.ExecuteAsync(async token =>
        {
            try { return await call(multiplexer.GetDatabase()).WaitAsync(token); }
            catch (Exception error) when (IsAbsence(error))
            {
                Stays(error);
                throw;
            }
        }, cancel);
        Answers();
        return answer;
    }

    private void Stays(Exception error)
    {
        if (Interlocked.Exchange(ref away, 1) == 0) logger.LogWarning("Redis does not answer; what is trained goes on, and the worker waits for it: {Reason}", error.Message);
    }

    private void Answers()
    {
        if (Interlocked.Exchange(ref away, 0) == 1) logger.LogInformation("Redis answers again");
    }

    private static bool IsAbsence(Exception e) => e is RedisConnectionException or RedisTimeoutException
        || (e is RedisServerException && (e.Message.StartsWith("LOADING", StringComparison.Ordinal) || e.Message.StartsWith("MASTERDOWN", StringComparison.Ordinal)));
}
