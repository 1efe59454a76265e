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
    [InlineData("Limits__MessagesPerMinute", "many", "Limits:MessagesPerMinute is 'many'; it must be a whole number.")]
    [InlineData("Limits__ConcurrentReplies", "0", "Limits:ConcurrentReplies is 0 (at least 1; Limits:Enabled=false turns the limits off).")]
    [InlineData("Limits__Enabled", "perhaps", "Limits:Enabled is 'perhaps'; it must be true or false.")]
    [InlineData("Replies__CoalesceMs", "10001", "Replies:CoalesceMs is 10001 (from 0 to 10000).")]
    [InlineData("Data__ErasedTextSeconds", "0", "Data:ErasedTextSeconds is 0 (from 1 to 86400).")]
    [InlineData("Replies__NoReaderSeconds", "-1", "Replies:NoReaderSeconds is -1 (above 0, below 600).")]
    [InlineData("Retention__Tenants__acme", "-0.5", "Retention:Tenants:acme is -0.5 (from 0 to 36500; 0 keeps conversations until they are erased).")]
    [InlineData("Training__JobsPerTenant", "0", "Training:JobsPerTenant is 0 (from 1 to 1000, the most of all tenants together).")]
    [InlineData("Safety__Filters__0", "wordz", "No safety plugin 'wordz'. Known: email, phone, words.")]
    [InlineData("Safety__HoldLimit", "0", "Safety: holdLimit")]
    [InlineData("Plugins__Folder", "/no/such", "Plugins:Folder '/no/such' is not a folder.")]
    [InlineData("Bots__0__model", "m9", "Bot 'first': No model 'm9'. Known: m1, m2.")]
    [InlineData("Models__Device", "gpu", "Models:Device 'gpu' is not to be had here: cpu, or cuda")]
    [InlineData("Models__Weights", "int5", "Models:Weights is 'int5'; it must be one of Exact, Int8, Int4.")]
    [InlineData("Models__Threads", "0", "Models:Threads is 0 (at least 1).")]
    [InlineData("Models__Runner", "gpu", "Models:Runner is 'gpu'; it must be one of Kernels, Torch.")]
    [InlineData("Decoding__Default__temperature", "9", "Decoding:Default, or defaultDecoding in a model's chat-model.json: temperature must be from 0 to 2, not 9.")]
    [InlineData("Bots__1__name", " ", "Bots:1 has no 'name'.")]
    [InlineData("Logging__LogLevel__Default", "loud", "Logging has the level 'loud'; it must be one of Trace, Debug,")]
    [InlineData("Models__Foldr", "x", "Models:Foldr is no setting. Is Models:Folder meant (Models__Folder in the environment)?")]
    [InlineData("Model__Folder", "x", "Model is no setting. Is Models meant (Models in the environment)?")]
    [InlineData("Hosts__Addresses", "http://localhost:5090", "Hosts:Addresses is a list: Hosts:Addresses:0, Hosts:Addresses:1 …")]
    [InlineData("ASPNETCORE_URLS", "https://127.0.0.1:0", "ASPNETCORE_URLS asks for https, and there is no certificate.")]
    [InlineData("Authentication__Schemes__Bearer__SigningKeys__0__Issuer", "us", "Authentication:Schemes:Bearer: none of the SigningKeys has a Value and the Issuer that ValidIssuer names")]
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

    [Theory]
    [InlineData("c2hvcnQ=", "a Value of SigningKeys is base64 of 40 bits; a key has 256 or more.")]
    [InlineData("not base64!", "Base-64")]
    public async Task A_signing_key_that_could_check_no_token_is_refused(string value, string sentence)
    {
        const string bearer = "Authentication__Schemes__Bearer__";
        var (code, errors, _) = await StartAsync((bearer + "ValidIssuer", "us"), (bearer + "SigningKeys__0__Issuer", "us"), (bearer + "SigningKeys__0__Value", value));

        Assert.Equal(1, code);
        Assert.StartsWith("Chat did not start: Authentication:Schemes:Bearer: ", errors);
        Assert.Contains(sentence, errors);
    }

    [Fact]
    public async Task A_broken_model_folder_is_named_with_what_is_wrong()
    {
        var model = folder.CreateSubdirectory("model").FullName;
        await File.WriteAllTextAsync(Path.Combine(model, "config.json"), "{}", TestContext.Current.CancellationToken);

        var (code, errors, _) = await StartAsync(("Models__Folder", model));

        Assert.Equal(1, code);
        Assert.Equal($"Chat did not start: The model folder {model} cannot be served: {model}/config.json: 'model_type' is missing. Mend it, or take it out of Models:Folder.", errors.TrimEnd());
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
