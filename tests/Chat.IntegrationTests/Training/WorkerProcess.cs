using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;

namespace Chat.IntegrationTests.Training;

/// <summary>A training worker as a process of its own, to be ended the hard way or the polite one.</summary>
public sealed class WorkerProcess : IAsyncDisposable
{
    private static readonly string Program = typeof(WorkerProcess).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == "TrainingProgram").Value!;

    private readonly Process process;
    private readonly ConcurrentQueue<string> output = [];

    private WorkerProcess(Process process)
    {
        this.process = process;
        process.OutputDataReceived += (_, line) => { if (line.Data is not null) output.Enqueue(line.Data); };
        process.ErrorDataReceived += (_, line) => { if (line.Data is not null) output.Enqueue(line.Data); };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    public int Id => process.Id;

    /// <summary>What it has written so far.</summary>
    public string Output => string.Join('\n', output);

    /// <param name="folder">Holds <c>runs</c>; finished models go to <c>models</c>.</param>
    public static WorkerProcess Start(string redis, string folder, string device, double lease, params (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo("dotnet",
            [Program, "worker", "--redis", redis, "--data", folder, "--runs", Path.Combine(folder, "runs"), "--models", Path.Combine(folder, "models"), "--threads", "1", "--exclusive", device, "--lease", lease.ToString(CultureInfo.InvariantCulture)])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = folder,
        };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        return new(Process.Start(start)!);
    }

    /// <summary>kill -9.</summary>
    public void Kill()
    {
        process.Kill();
        process.WaitForExit();
    }

    /// <summary>It stands still, with all that it holds, until <see cref="Resume"/>.</summary>
    public void Suspend() => Signal("STOP");

    public void Resume() => Signal("CONT");

    private void Signal(string name)
    {
        using var kill = Process.Start("kill", [$"-{name}", $"{process.Id}"]);
        kill.WaitForExit();
    }

    /// <summary>SIGTERM.</summary>
    /// <returns>The exit code.</returns>
    public async Task<int> EndAsync()
    {
        Signal("TERM");
        await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(120));
        return process.ExitCode;
    }

    public ValueTask DisposeAsync()
    {
        if (!process.HasExited) Kill();
        process.Dispose();
        return ValueTask.CompletedTask;
    }
}
