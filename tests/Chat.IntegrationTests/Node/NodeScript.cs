using System.Diagnostics;
using System.Text.Json;

namespace Chat.IntegrationTests.Node;

/// <summary>Runs a script of this folder under Node and reads the one JSON object that it prints.</summary>
internal static class NodeScript
{
    private static readonly string Folder = Path.Combine(RepositoryRoot(), "tests", "Chat.IntegrationTests", "Node");

    public static async Task<JsonElement> RunAsync(string script, params string[] arguments)
    {
        var output = await RunToolAsync("node", [script, .. arguments]);
        using var document = JsonDocument.Parse(output);
        return document.RootElement.Clone();
    }

    /// <summary>Fails with what the program wrote when it does not end well within a minute and a half.</summary>
    public static async Task<string> RunToolAsync(string program, params string[] arguments)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(90));
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { WorkingDirectory = Folder, RedirectStandardOutput = true, RedirectStandardError = true })!;
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(deadline.Token);
            var errors = process.StandardError.ReadToEndAsync(deadline.Token);
            await process.WaitForExitAsync(deadline.Token);
            Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}: {await errors} {await output}");
            return await output;
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{program} {string.Join(' ', arguments)} did not end within 90 s.");
        }
    }

    private static string RepositoryRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Chat.sln"))) folder = folder.Parent;
        return folder?.FullName ?? throw new DirectoryNotFoundException($"No Chat.sln above {AppContext.BaseDirectory}.");
    }
}
