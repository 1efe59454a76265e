using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Garnet;
using Garnet.server;
using Tsavorite.core;

namespace Chat.Api.Store;

/// <summary>
/// The store of a single machine: Garnet inside this process, its data under <c>Data:Folder</c>, reached through a Unix socket that only this
/// user can open (a loopback port where the path is too long for a socket). Two products with two folders run side by side.
/// </summary>
internal sealed class EmbeddedGarnet : IDisposable
{
    private const string AofFile = "2m";

    /// <summary>Bytes of a file of the append-only file.</summary>
    public const int AofFileBytes = 2 << 20;

    // sockaddr_un holds 108 bytes with the closing zero.
    private const int LongestSocketPath = 107;

    private readonly FileStream folderLock;
    private readonly GarnetServer server;

    /// <exception cref="InvalidOperationException">Another process uses the folder, or nothing can be written there.</exception>
    public EmbeddedGarnet(string folder, ILoggerFactory logs)
    {
        folderLock = Lock(folder);
        Folder = folder;
        var socket = Path.Combine(folder, "garnet.sock");
        var endPoint = socket.Length <= LongestSocketPath ? (EndPoint)new UnixDomainSocketEndPoint(socket) : new IPEndPoint(IPAddress.Loopback, FreePort());
        Configuration = endPoint is IPEndPoint ip ? $"127.0.0.1:{ip.Port}" : "!" + socket;
        File.Delete(socket);     // left behind by a process that was killed

        server = new GarnetServer(new GarnetServerOptions(null)
        {
            EndPoints = [endPoint],
            UnixSocketPath = socket,
            UnixSocketPermission = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            QuietMode = true,
            // Without the storage tier Garnet drops what does not fit into its memory, without an error.
            EnableStorageTier = true,
            LogMemorySize = "64m",
            PageSize = "1m",
            IndexMemorySize = "8m",
            LogDir = Path.Combine(folder, "log"),
            CheckpointDir = Path.Combine(folder, "checkpoints"),
            // Every write is committed at once in the background; what must be durable waits with COMMITAOF (StoreConnection.CommitAsync).
            EnableAOF = true,
            AofMemorySize = "16m",
            AofPageSize = "2m",
            // What a checkpoint has made superfluous leaves the disk a file at a time (ErasedText).
            AofSegmentSize = AofFile,
            AofSizeLimit = "64m",
            CommitFrequencyMs = 0,
            Recover = true,
            // Scripts are our transactions: they lock their keys and recover whole or not at all.
            EnableLua = true,
            LuaOptions = new LuaOptions(),
            LuaTransactionMode = true,
            // The default device needs a newer glibc than Debian 12 has, and ends the process where it cannot load.
            DeviceType = DeviceType.RandomAccess,
            DeviceFactoryCreator = new LocalStorageNamedDeviceFactoryCreator(deviceType: DeviceType.RandomAccess),
        }, new QuietLogs(logs));
        server.Start();
    }

    /// <summary>All that it writes.</summary>
    public string Folder { get; }

    /// <summary>The client's connection string.</summary>
    public string Configuration { get; }

    /// <summary>The file of the append-only file that is being written; those ahead of it are made in advance and empty.</summary>
    public string? NewestAofFile() => new DirectoryInfo(Path.Combine(Folder, "checkpoints", "AOF")).GetFiles("aof.log.*").Where(f => f.Length > 0)
        .MaxBy(f => int.Parse(f.Extension[1..], CultureInfo.InvariantCulture))?.FullName;

    public void Dispose()
    {
        server.Dispose();
        folderLock.Dispose();
    }

    private static FileStream Lock(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
            if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            return new FileStream(Path.Combine(folder, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or FileNotFoundException or DirectoryNotFoundException || !Directory.Exists(folder))
        {
            throw new InvalidOperationException($"The data folder {folder} cannot be written: {e.Message} Let this user write there, or set Data:Folder (environment: Data__Folder) to another folder.");
        }
        catch (IOException)
        {
            throw new InvalidOperationException($"The data folder {folder} is in use by another process. Set Data:Folder (environment: Data__Folder) to another folder, or ConnectionStrings:Redis to share a Redis.");
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>Garnet tells of each recovery step at Information; only its warnings are news.</summary>
    private sealed class QuietLogs(ILoggerFactory inner) : ILoggerFactory
    {
        public ILogger CreateLogger(string categoryName) => new Warnings(inner.CreateLogger("Garnet." + categoryName));
        public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();
        public void Dispose() { }

        private sealed class Warnings(ILogger logger) : ILogger
        {
            public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;
            public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning && logger.IsEnabled(logLevel);
            public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
            {
                if (IsEnabled(logLevel)) logger.Log(logLevel, eventId, state, exception, formatter);
            }
        }
    }
}
