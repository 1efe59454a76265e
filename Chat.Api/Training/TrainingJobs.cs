using Chat.Api.Conversations;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using Chat.Domain.Training;
using StackExchange.Redis;

namespace Chat.Api.Training;

/// <summary>The gateway's side of <see cref="TrainingStore"/>. A tenant's operators see their tenant's jobs; another's is unknown. Thread-safe.</summary>
internal sealed class TrainingJobs(StoreConnection store, TrainingSettings settings)
{
    /// <summary>Of all tenants together: every worker looks through them.</summary>
    public const int MostJobs = 1000;

    private static readonly RedisKey[] Keys = [.. TrainingStore.Keys.Select(key => (RedisKey)key)];

    /// <exception cref="ChatException"><c>conflict</c>: there are too many, of this tenant or of all.</exception>
    public async Task SubmitAsync(TrainingJob job)
    {
        var most = settings.JobsPerTenant;
        switch (await RunAsync(TrainingStore.Submit, job.Id, ConversationStore.Write(job, StoreJson.Default.TrainingJob), MostJobs, job.Tenant, most))
        {
            case "tenant": throw new ChatException(ChatError.Conflict, $"Your tenant has {most} training jobs, as many as it may have (Training:JobsPerTenant); delete some that have ended.");
            case "full": throw new ChatException(ChatError.Conflict, $"There are {MostJobs} training jobs of all tenants together, as many as there may be; delete some of yours that have ended.");
        }
        await store.CommitAsync();
    }

    /// <exception cref="ChatException"><c>not_found</c>: no such job of this tenant.</exception>
    public async Task<TrainingJobInfo> ReadAsync(string tenant, string id) => (await ReadAsync([id])).SingleOrDefault(j => j.Job.Tenant == tenant).Info ?? throw Unknown();

    /// <summary>The tenant's jobs, the one last queued first, without their recipes.</summary>
    public async Task<IReadOnlyList<TrainingJobInfo>> ListAsync(string tenant, int most)
    {
        var ids = await store.CallAsync(db => db.SortedSetRangeByRankAsync(TrainingStore.Order, order: Order.Descending));
        return [.. (await ReadAsync(ids)).Where(j => j.Job.Tenant == tenant).Take(most).Select(j => j.Info with { Recipe = null })];
    }

    /// <exception cref="ChatException"><c>not_found</c>; <c>conflict</c>: it has ended.</exception>
    public async Task CancelAsync(string tenant, string id)
    {
        await ReadAsync(tenant, id);
        if (Found(await RunAsync(TrainingStore.Cancel, id)) == "over") throw new ChatException(ChatError.Conflict, "The job has ended; there is nothing to cancel.");
        await store.CommitAsync();
    }

    /// <exception cref="ChatException"><c>not_found</c>; <c>conflict</c>: it is finished, or not yet cancelled.</exception>
    public async Task ResumeAsync(string tenant, string id)
    {
        await ReadAsync(tenant, id);
        switch (Found(await RunAsync(TrainingStore.Resume, id)))
        {
            case "over": throw new ChatException(ChatError.Conflict, "The job is finished; there is nothing to resume.");
            case "cancelling": throw new ChatException(ChatError.Conflict, "The job is still being cancelled; resume it when it is.");
        }
        await store.CommitAsync();
    }

    /// <exception cref="ChatException"><c>not_found</c>; <c>conflict</c>: a worker is at it.</exception>
    public async Task DeleteAsync(string tenant, string id)
    {
        await ReadAsync(tenant, id);
        if (await RunAsync(TrainingStore.Delete, id) == "busy") throw new ChatException(ChatError.Conflict, "A worker is at the job; cancel it first.");
        await store.CommitAsync();
    }

    /// <summary>What recipes can name, as the newest worker said; none where no worker has come yet.</summary>
    public async Task<IReadOnlyList<WorkerPlugin>> PluginsAsync() =>
        await store.CallAsync(db => db.StringGetAsync(TrainingStore.Plugins)) is { IsNull: false } json ? ConversationStore.Read(json, StoreJson.Default.WorkerPluginArray) : [];

    public static ChatException Unknown() => new(ChatError.NotFound, "No such training job.");

    private async Task<IReadOnlyList<(TrainingJob Job, TrainingJobInfo Info)>> ReadAsync(RedisValue[] ids)
    {
        if (ids.Length == 0) return [];
        var (jobs, states, leases, progress, ends) = await store.CallAsync(async db =>
        {
            var reads = new[] { TrainingStore.Jobs, TrainingStore.States, TrainingStore.Leases, TrainingStore.Progress, TrainingStore.Ends }.Select(key => db.HashGetAsync(key, ids)).ToArray();
            var read = await Task.WhenAll(reads);
            return (read[0], read[1], read[2], read[3], read[4]);
        });
        var infos = new List<(TrainingJob, TrainingJobInfo)>();
        for (var i = 0; i < ids.Length; i++)
        {
            if (jobs[i].IsNull || states[i].IsNull || !Enum.TryParse<JobState>(states[i], ignoreCase: true, out var state)) continue;     // deleted in between
            var job = ConversationStore.Read(jobs[i], StoreJson.Default.TrainingJob);
            string[] lease = leases[i].IsNull ? [] : ((string)leases[i]!).Split('|');
            var end = ends[i].IsNull ? null : ConversationStore.Read(ends[i], StoreJson.Default.JobEnd);
            infos.Add((job, new(job.Id, job.Name, state, job.SubmittedBy, job.SubmittedAt, job.Evaluate, job.Register, lease is [_, _, var worker, _] ? worker : null, lease is [_, _, _, var device] ? device : null,
                progress[i].IsNull ? null : ConversationStore.Read(progress[i], StoreJson.Default.JobProgress), end?.At, end?.Error, end?.Model, job.Recipe)));
        }
        return infos;
    }

    private static string Found(string answer) => answer == "gone" ? throw Unknown() : answer;     // deleted in between

    private async Task<string> RunAsync(string script, params RedisValue[] arguments) => (string)(await store.CallAsync(db => db.ScriptEvaluateAsync(script, Keys, arguments)))!;
}
