using StackExchange.Redis;

namespace Chat.Api.Store;

/// <summary>
/// Takes erased conversations off the disk. Garnet's append-only file keeps what was written, erased or not, so some seconds after an erasure a
/// checkpoint is taken, which holds what is there now, and every file written before it is deleted. A mark in the folder remembers over a restart
/// that this is still to be done. Thread-safe.
/// </summary>
/// <param name="wait">From an erasure to the sweep, so that many erasures make one.</param>
internal sealed class ErasedText(EmbeddedGarnet garnet, TimeSpan wait, TimeProvider time, ILogger<ErasedText> logger) : BackgroundService
{
    private const int PadBytes = 512 << 10;
    private static readonly TimeSpan CheckpointLimit = TimeSpan.FromMinutes(10), Look = TimeSpan.FromMilliseconds(100);
    private static readonly RedisKey Pad = "chat:pad";

    private readonly string mark = Path.Combine(garnet.Folder, "erased");
    private readonly Lock sync = new();
    private readonly SemaphoreSlim wanted = new(0, 1);
    private int noted;

    /// <summary>To be called before anything is deleted, so that no crash in between forgets it.</summary>
    public void Note()
    {
        lock (sync)
        {
            noted++;
            if (!File.Exists(mark)) File.WriteAllBytes(mark, []);
            if (wanted.CurrentCount == 0) wanted.Release();
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (File.Exists(mark)) Note();
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await wanted.WaitAsync(stoppingToken);
                await Task.Delay(wait, time, stoppingToken);
                await SweepAsync(stoppingToken);
            }
            catch (Exception e) when (!stoppingToken.IsCancellationRequested)
            {
                logger.LogError(e, "Erased text could not be taken off the disk yet; this is tried again.");
                Note();
            }
            catch (Exception) when (stoppingToken.IsCancellationRequested) { }     // the mark tells the next start
        }
    }

    private async Task SweepAsync(CancellationToken cancellation)
    {
        int before;
        lock (sync) before = noted;
        var options = ConfigurationOptions.Parse(garnet.Configuration);
        options.AllowAdmin = true;     // BGSAVE is an administrator's command
        await using var connection = await ConnectionMultiplexer.ConnectAsync(options);
        var database = connection.GetDatabase();
        await database.ExecuteAsync("COMMITAOF");
        var last = garnet.NewestAofFile();
        // Only whole files can go, so the one that is being written is filled.
        for (var bytes = 0; bytes <= EmbeddedGarnet.AofFileBytes; bytes += PadBytes) await database.StringSetAsync(Pad, new byte[PadBytes]);
        await database.KeyDeleteAsync(Pad);
        await database.ExecuteAsync("BGSAVE");
        var begun = time.GetTimestamp();
        while (File.Exists(last))     // files go with the first commit behind the checkpoint
        {
            if (time.GetElapsedTime(begun) > CheckpointLimit) throw new TimeoutException($"{last} is still there.");
            await Task.Delay(Look, time, cancellation);
            await database.ExecuteAsync("COMMITAOF");
        }
        lock (sync)
        {
            if (noted == before) File.Delete(mark);
        }
    }
}
