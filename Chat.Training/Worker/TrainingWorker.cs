using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Domain.Training;
using Chat.Models.Checkpoints;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Chat.Training.Worker;

/// <summary>
/// Takes jobs, one after the other. A job's lease is renewed as long as it runs; who loses it stops with the step that it is at. A worker that is asked to end gives its job back with a checkpoint,
/// and one that dies leaves it to whoever comes when the lease is over: the run goes on from its newest checkpoint, bit for bit.
/// </summary>
public sealed class TrainingWorker(JobQueue queue, WorkerFolders folders, TimeSpan lease, PluginCatalog plugins, TimeProvider time, ILogger<TrainingWorker> logger) : BackgroundService
{
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(1), LastWords = TimeSpan.FromSeconds(30);

    /// <summary>How a job ended here, if it did: nothing of both = it was stopped.</summary>
    private sealed record Outcome(bool Finished = false, ModelRecord? Model = null, string? Error = null, bool Held = false);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await queue.TellPluginsAsync(plugins, stoppingToken);
            logger.LogInformation("Waiting for jobs");
            while (true)
            {
                if (await queue.TakeAsync(stoppingToken) is not { } taken || await WorkAsync(taken, stoppingToken)) await Task.Delay(Poll, time, stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested) { }
    }

    /// <returns>Whether to wait before the next one.</returns>
    private async Task<bool> WorkAsync(TakenJob taken, CancellationToken stopping)
    {
        var job = taken.Job;
        using var span = TrainingMeter.Spans.StartActivity("job")?.SetTag("job", job.Id).SetTag("run", job.Name);
        logger.LogInformation("Took job {Job}, {Name}", job.Id, job.Name);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(stopping);
        var run = new JobRun(job, folders, plugins, time);
        var work = Task.Factory.StartNew(() => Do(run, job, stop.Token), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

        var said = BeatAnswer.Ok;
        while (await Task.WhenAny(work, Task.Delay(lease / 10, time, CancellationToken.None)) != work)
        {
            if (await queue.BeatAsync(taken, run.Progress) is var answer && answer != BeatAnswer.Ok && said != BeatAnswer.Lost) said = answer;
            if (said != BeatAnswer.Ok) await stop.CancelAsync();
        }
        var outcome = await work;
        span?.SetTag("outcome", said == BeatAnswer.Lost ? "lost" : outcome.Finished ? "finished" : outcome.Error is null ? "stopped" : "failed");
        if (said == BeatAnswer.Lost)
        {
            logger.LogWarning("Job {Job} is no longer this worker's", job.Id);
            return true;
        }

        var state = outcome.Finished ? JobState.Finished : outcome.Error is not null ? JobState.Failed : said == BeatAnswer.Cancel ? JobState.Cancelled : JobState.Queued;
        using var patience = new CancellationTokenSource();
        await using var _ = stopping.Register(() => patience.CancelAfter(LastWords));
        try
        {
            var end = state == JobState.Queued ? null : new JobEnd(time.GetUtcNow(), outcome.Error, outcome.Model?.Model.Hash);
            if (await queue.EndAsync(taken, state, run.Progress, end, outcome.Model, patience.Token)) logger.LogInformation("Job {Job} is {State}: {Reason}", job.Id, state, outcome.Error ?? outcome.Model?.Model.Hash ?? "checkpoint kept");
            else logger.LogWarning("Job {Job} is no longer this worker's; whoever has it comes to the same end", job.Id);
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested)
        {
            logger.LogWarning("Redis stays away; job {Job} is left to the next worker, which finds its checkpoint", job.Id);
        }
        return outcome.Held;
    }

    private Outcome Do(JobRun run, TrainingJob job, CancellationToken stop)
    {
        try
        {
            return new(Finished: true, run.Do(stop));
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return new();
        }
        catch (RunHeldException held)
        {
            logger.LogWarning("{Reason} Job {Job} waits for it.", held.Message, job.Id);
            return new(Held: true);
        }
        catch (Exception error) when (error is RecipeException or DivergedException or CheckpointException or IOException or UnauthorizedAccessException or InvalidDataException or InvalidOperationException or ArgumentException or UnknownPluginException or GenerationException)
        {
            return new(Error: error.Message);
        }
        catch (Exception error)
        {
            logger.LogError(error, "Job {Job} failed", job.Id);
            return new(Error: $"{error.GetType().Name}: {error.Message} The worker's log has more.");
        }
    }
}
