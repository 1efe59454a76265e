using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Chat.IntegrationTests.Operations;

/// <summary>The product as a process of its own that must not start: one sentence says why and what to change, and nothing is left running.</summary>
public sealed class StartFailureTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("chat-test-");

    [Theory]
    [InlineData("ASPNETCORE_URLS", "localhost:5080", "ASPNETCORE_URLS: 'localhost:5080' is no address to listen on; it takes the form http://localhost:5080.")]
    [InlineData("Data__Folder", "/etc/passwd", "The data folder /etc/passwd/store cannot be written: ")]
    [InlineData("Limits__MessagesPerMinute", "many", "Failed to convert configuration value 'many' at 'Limits:MessagesPerMinute'")]
    [InlineData("Limits__ConcurrentReplies", "0", "Limits:ConcurrentReplies must be at least 1, not 0.")]
    [InlineData("Replies__NoReaderSeconds", "-1", "Replies:NoReaderSeconds must be above 0 and at most 86400, not -1.")]
    [InlineData("Safety__Filters__0", "wordz", "No safety plugin 'wordz'. Known: email, phone, words.")]
    [InlineData("Safety__HoldLimit", "0", "Safety: holdLimit")]
    [InlineData("Bots__0__model", "m9", "Bot 'first': No model 'm9'. Known: m1, m2.")]
    [InlineData("Models__Device", "gpu", "Models:Device 'gpu' is not to be had here: cpu, or cuda")]
    [InlineData("Models__Weights", "int5", "Failed to convert configuration value 'int5' at 'Models:Weights'")]
    [InlineData("Models__Threads", "0", "must be at least 1, not 32, 1024, 8 and 0.")]
    [InlineData("Models__Runner", "gpu", "Failed to convert configuration value 'gpu' at 'Models:Runner'")]
    [InlineData("ConnectionStrings__Redis", "localhost:1,connectTimeout=300,syncTimeout=300,asyncTimeout=300,password=secret", "The conversation store does not answer at localhost:1 (ConnectionStrings:Redis).")]
    public async Task A_setting_that_cannot_hold_ends_the_start_with_a_sentence(string variable, string value, string sentence)
    {
        var (code, errors, output) = await StartAsync((variable, value), ("Bots__0__name", "first"));

        Assert.Equal(1, code);
        Assert.StartsWith("Chat did not start: ", errors);
        Assert.Contains(sentence, errors);
        Assert.Single(errors.TrimEnd().Split('\n'));
        Assert.DoesNotContain("   at ", output);
        Assert.DoesNotContain("secret", errors + output);
    }

    [Fact]
    public async Task Where_libtorch_is_asked_for_it_must_be_there()
    {
        var (code, errors, _) = await StartAsync(("Models__Runner", "torch"), ("CHAT_LIBTORCH", "/no/such/folder"));

        Assert.Equal(1, code);
        Assert.Contains("is in none of these folders: /no/such/folder. Set CHAT_LIBTORCH", errors);
    }

    [Fact]
    public async Task A_broken_settings_file_is_named_with_the_place()
    {
        await File.WriteAllTextAsync(Path.Combine(folder.FullName, "appsettings.json"), "{\n  \"Limits\": oops\n}", TestContext.Current.CancellationToken);

        var (code, errors, _) = await StartAsync();

        Assert.Equal(1, code);
        Assert.Contains("appsettings.json", errors);
        Assert.Contains("LineNumber: 1", errors);
        Assert.DoesNotContain("   at ", errors);
    }

    [Fact]
    public async Task An_address_in_use_is_said_and_another_one_is_proposed()
    {
        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();

        var (code, errors, _) = await StartAsync(("ASPNETCORE_URLS", $"http://{other.LocalEndpoint}"));

        Assert.Equal(1, code);
        Assert.Equal($"Chat did not start: Failed to bind to address http://{other.LocalEndpoint}: address already in use. Another program listens there; end it, or choose another address: ASPNETCORE_URLS=http://localhost:5081", errors.TrimEnd());
    }

    public void Dispose() => folder.Delete(recursive: true);

    private async Task<(int Code, string Errors, string Output)> StartAsync(params (string Variable, string Value)[] settings)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "Chat.Api.dll")])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder.FullName,
            Environment =
            {
                ["ASPNETCORE_ENVIRONMENT"] = "Development",
                ["ASPNETCORE_URLS"] = "http://127.0.0.1:0",
                ["Data__Folder"] = Path.Combine(folder.FullName, "data"),
                ["Models__Folder"] = Path.Combine(AppContext.BaseDirectory, "Models"),
            },
        };
        foreach (var (variable, value) in settings) start.Environment[variable] = value;
        using var process = Process.Start(start)!;
        try
        {
            var errors = process.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(60));
            return (process.ExitCode, await errors, await output);
        }
        finally
        {
            if (!process.HasExited) process.Kill();
        }
    }
}
