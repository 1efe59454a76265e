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
    private static readonly TimeSpan CheckpointLimit = TimeSpan.FromMinutes(10);
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
                await SweepAsync();
            }
            catch (Exception e) when (!stoppingToken.IsCancellationRequested)
            {
                logger.LogError(e, "Erased text could not be taken off the disk yet; this is tried again.");
                Note();
            }
            catch (Exception) when (stoppingToken.IsCancellationRequested) { }     // the mark tells the next start
        }
    }

    private async Task SweepAsync()
    {
        int before;
        lock (sync) before = noted;
        // A connection of its own: a checkpoint holds up whatever waits behind it.
        var options = ConfigurationOptions.Parse(garnet.Configuration);
        (options.AllowAdmin, options.AsyncTimeout) = (true, (int)CheckpointLimit.TotalMilliseconds);     // SAVE is an administrator's command
        await using var connection = await ConnectionMultiplexer.ConnectAsync(options);
        var database = connection.GetDatabase();
        // Only whole files can go, so the one that is being written is filled.
        for (var bytes = 0; bytes <= EmbeddedGarnet.AofFileBytes; bytes += PadBytes) await database.StringSetAsync(Pad, new byte[PadBytes]);
        await database.KeyDeleteAsync(Pad);
        await database.ExecuteAsync("SAVE");
        await database.ExecuteAsync("COMMITAOF");
        lock (sync)
        {
            if (noted == before) File.Delete(mark);
        }
    }
}
