using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.SignalR.Client;

namespace Chat.IntegrationTests;

/// <summary>The product as a process of its own, with a tiny real model, to be ended the hard way or the polite one.</summary>
public sealed partial class ChatProcess : IAsyncDisposable
{
    // Whoever starts the tests may ignore Ctrl-C, as a shell does for what it runs in the background: every child of theirs inherits that, and a program leaves an ignored signal alone.
    private static readonly bool IsInterruptIgnored = OperatingSystem.IsLinux() && (Convert.ToUInt64(File.ReadLines("/proc/self/status").Single(l => l.StartsWith("SigIgn:", StringComparison.Ordinal))["SigIgn:".Length..].Trim(), 16) & 2) != 0;
    private static readonly Lazy<bool> CanResetSignals = new(() =>
    {
        using var env = Process.Start(new ProcessStartInfo("env", ["--default-signal=INT", "true"]) { RedirectStandardError = true })!;
        env.WaitForExit();
        return env.ExitCode == 0;
    });

    private readonly Process process;

    private readonly ConcurrentQueue<string> output;

    private ChatProcess(Process process, IReadOnlyList<Uri> addresses, ConcurrentQueue<string> output) => (this.process, Addresses, this.output) = (process, addresses, output);

    /// <summary>Where it listens, in order; a model host's second address takes gRPC.</summary>
    public IReadOnlyList<Uri> Addresses { get; }

    public Uri Address => Addresses[0];

    /// <summary>What it has written to its output so far.</summary>
    public string Output => string.Join('\n', output);

    /// <summary>Native libraries in the process's memory, by path. Linux only.</summary>
    public IReadOnlySet<string> LoadedLibraries() =>
        File.ReadLines($"/proc/{process.Id}/maps").Select(line => line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries)).Where(fields => fields.Length == 6).Select(fields => fields[5]).ToHashSet();

    public static async Task<ChatProcess> StartAsync(string dataFolder, string? redis, params (string Name, string Value)[] settings)
    {
        var dotnet = Environment.ProcessPath is { } host && Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet";
        string[] line = [.. IsInterruptIgnored && CanResetSignals.Value ? ["env", "--default-signal=INT", dotnet] : new[] { dotnet }, Path.Combine(AppContext.BaseDirectory, "Chat.Api.dll")];
        var start = new ProcessStartInfo(line[0], line[1..])
        {
            RedirectStandardOutput = true,
            WorkingDirectory = AppContext.BaseDirectory,
            Environment =
            {
                ["ASPNETCORE_ENVIRONMENT"] = "Development",
                ["ASPNETCORE_URLS"] = "http://127.0.0.1:0",
                ["Data__Folder"] = dataFolder,
                ["ConnectionStrings__Redis"] = redis ?? "",
                ["Models__Folder"] = Path.Combine(AppContext.BaseDirectory, "Models", "m1"),
                ["Limits__Enabled"] = "false",
                ["DOTNET_TieredPGO"] = "0",     // it lives for a second: counting for a later, better compilation costs a tenth of its start
            },
        };
        foreach (var (name, value) in settings) start.Environment[name] = value;
        var process = Process.Start(start)!;
        var expected = settings.Contains(("Role", "model-host")) ? 2 : 1;
        var (addresses, listening) = (new List<Uri>(), new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
        var output = new ConcurrentQueue<string>();
        process.EnableRaisingEvents = true;
        process.Exited += (_, _) => listening.TrySetException(new InvalidOperationException("The process ended before it listened."));
        process.OutputDataReceived += (_, line) =>
        {
            if (line.Data is not null) output.Enqueue(line.Data);
            if (line.Data is null || addresses.Count == expected || Listening().Match(line.Data) is not { Success: true } match) return;
            addresses.Add(new(match.Groups[1].Value));
            if (addresses.Count == expected) listening.TrySetResult();
        };
        process.BeginOutputReadLine();
        await listening.Task.WaitAsync(TimeSpan.FromSeconds(120));
        return new(process, addresses, output);
    }

    public async Task<ChatClient> ConnectAsync()
    {
        var connection = new HubConnectionBuilder().WithUrl(new Uri(Address, "hubs/chat")).Build();
        await connection.StartAsync();
        return new(connection, messagePack: false);
    }

    /// <summary>kill -9.</summary>
    public void Kill()
    {
        process.Kill();
        process.WaitForExit();
    }

    /// <summary>SIGTERM.</summary>
    /// <returns>The exit code.</returns>
    public Task<int> EndAsync() => EndAsync("TERM");

    /// <summary>Ctrl-C.</summary>
    /// <returns>The exit code.</returns>
    public Task<int> InterruptAsync()
    {
        Assert.SkipWhen(IsInterruptIgnored && !CanResetSignals.Value, "Whoever started the tests ignores SIGINT, so what they start does too, and env has no --default-signal here (coreutils 8.31).");
        return EndAsync("INT");
    }

    private async Task<int> EndAsync(string signal)
    {
        using (var kill = Process.Start("kill", [$"-{signal}", $"{process.Id}"])) await kill.WaitForExitAsync();
        await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(60));
        return process.ExitCode;
    }

    public ValueTask DisposeAsync()
    {
        if (!process.HasExited) Kill();
        process.Dispose();
        return ValueTask.CompletedTask;
    }

    [GeneratedRegex(@"Now listening on: (\S+)")]
    private static partial Regex Listening();
}
