using System.Diagnostics;
using StackExchange.Redis;

namespace Chat.IntegrationTests;

/// <summary>A real redis-server of our own: on a Unix socket in a temporary folder, append-only file written at every command.</summary>
public sealed class RedisServer : IAsyncDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("chat-redis-").FullName;
    private Process? process;

    private string Socket => Path.Combine(folder, "redis.sock");

    /// <summary>A connection string for <c>ConnectionStrings:Redis</c>.</summary>
    public string Configuration => $"!{Socket},connectRetry=20,connectTimeout=500";

    public static async Task<RedisServer> StartAsync()
    {
        var redis = new RedisServer();
        await redis.RestartAsync();
        return redis;
    }

    /// <summary>Starts the server, again after <see cref="Kill"/> with what was on disk.</summary>
    public async Task RestartAsync()
    {
        process = Process.Start(new ProcessStartInfo("redis-server", ["--port", "0", "--unixsocket", Socket, "--dir", folder, "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"])
        {
            RedirectStandardOutput = true,
        }) ?? throw new InvalidOperationException("redis-server did not start.");
        process.OutputDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        await Until.TrueAsync(async () =>
        {
            try
            {
                await using var connection = await ConnectionMultiplexer.ConnectAsync($"!{Socket},connectTimeout=200,connectRetry=0");
                await connection.GetDatabase().PingAsync();
                return true;
            }
            catch (RedisException) { return false; }
        });
    }

    public void Kill()
    {
        process?.Kill();
        process?.WaitForExit();
        process?.Dispose();
        process = null;
    }

    /// <summary>It hangs: connections stay, and nothing is answered until <see cref="Resume"/>.</summary>
    public void Suspend() => Signal("STOP");

    public void Resume() => Signal("CONT");

    private void Signal(string name)
    {
        using var kill = Process.Start("kill", [$"-{name}", $"{process!.Id}"]);
        kill.WaitForExit();
    }

    public ValueTask DisposeAsync()
    {
        Kill();
        Directory.Delete(folder, recursive: true);
        return ValueTask.CompletedTask;
    }
}
