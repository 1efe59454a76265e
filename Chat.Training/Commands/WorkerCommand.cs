using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Chat.Domain.Plugins;
using Chat.Models.Libtorch;
using Chat.Training.Worker;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Chat.Training.Commands;

/// <summary><c>worker</c>: jobs from Redis until it is asked to end.</summary>
public sealed class WorkerCommand(PluginCatalog plugins, TimeProvider time)
{
    private static readonly TimeSpan LongestStep = TimeSpan.FromMinutes(5);

    private sealed record Request(string Redis, string Exclusive, double Lease, WorkerFolders Folders);

    public Command Create()
    {
        var redis = new Option<string>("--redis") { Description = "The gateways' Redis (or the environment's ConnectionStrings__Redis)", DefaultValueFactory = _ => Environment.GetEnvironmentVariable("ConnectionStrings__Redis") is { Length: > 0 } given ? given : "localhost:6379" };
        var data = new Option<DirectoryInfo>("--data") { Description = "Folder that 'data fetch' filled", DefaultValueFactory = _ => new DirectoryInfo("data") };
        var runs = new Option<DirectoryInfo>("--runs") { Description = "Folder of runs; workers that share it go on with each other's jobs", DefaultValueFactory = _ => new DirectoryInfo("runs") };
        var models = new Option<DirectoryInfo>("--models") { Description = "Where finished models are put, a folder named by content each: the folder 'models' in a gateway's Data:Folder", Required = true };
        var threads = new Option<int>("--threads") { Description = "Threads of the arithmetic; a job is repeatable bit for bit only with the same number", DefaultValueFactory = _ => 2 };
        var device = DeviceOption.Create();
        var exclusive = new Option<string?>("--exclusive") { Description = "Name of what only one worker may use at a time [default: this machine's device]" };
        var lease = new Option<double>("--lease") { Description = "Seconds without a sign of life after which another worker takes the job up", DefaultValueFactory = _ => 15 };
        AtLeast(threads, 1);
        lease.Validators.Add(result => { if (result.Tokens is [var token] && !(double.TryParse(token.Value, CultureInfo.InvariantCulture, out var value) && value is >= 1 and <= 3600)) result.AddError($"--lease is {token.Value} (1 to 3600 seconds)."); });
        exclusive.Validators.Add(result => { if (result.Tokens is [var token] && (token.Value.Length is 0 or > 100 || token.Value.Contains('|', StringComparison.Ordinal))) result.AddError("--exclusive is a name of 1 to 100 characters without '|'."); });
        var command = new Command("worker", """
            Runs as a service: takes training jobs that operators queue at a gateway ('jobs --help', POST /api/training/jobs), one at a time on each device, tells how far they are, and registers finished models.
            A job is trained, exported, evaluated and registered. It goes on bit for bit after anything: a worker that is asked to end (Ctrl-C, SIGTERM) gives it back with a checkpoint; when one is killed,
            another takes it up after the lease; cancelled and failed jobs go on when they are resumed. While Redis is away training goes on.

            One machine with a Redis:
              redis-server --port 6379 --appendonly yes &
              ConnectionStrings__Redis=localhost:6379 make run &
              chat-training worker --redis localhost:6379 --models Chat.Api/data/models
              chat-training jobs submit my-recipe.json --follow
            The model that it made, served by that gateway, or by one of its model hosts, which pulls it (Models:Sources):
              chat-training jobs load ID
              chat-training jobs load ID --host NAME
            A gateway without a Redis keeps its own store in its data folder: --redis '!Chat.Api/data/store/garnet.sock'.
            Two workers beside each other on one machine: give each an --exclusive name of its own. Figures and spans go to OTEL_EXPORTER_OTLP_ENDPOINT where that is set.
            """) { redis, data, runs, models, threads, device, exclusive, lease };
        command.SetAction((parse, cancel) => RunAsync(new(parse.GetValue(redis)!, parse.GetValue(exclusive) ?? $"{Environment.MachineName}/{DeviceOption.Name(parse.GetValue(device)!)}", parse.GetValue(lease),
            new(parse.GetValue(data)!.FullName, parse.GetValue(runs)!.FullName, parse.GetValue(models)!.FullName, parse.GetValue(threads), parse.GetValue(device)!)), cancel));
        return command;
    }

    private async Task<int> RunAsync(Request request, CancellationToken cancel)
    {
        if (request.Folders.Device != ComputeDevice.Cpu) DeviceOption.Open(request.Folders.Device);        // a wrong one must not wait for the first job
        foreach (var folder in new[] { request.Folders.Runs, request.Folders.Models }) Directory.CreateDirectory(folder);
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.AddFilter("Microsoft.Hosting.Lifetime", LogLevel.Warning);
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = LongestStep);
        var name = $"{Environment.MachineName.Replace('|', '-')}-{Environment.ProcessId}-{Guid.NewGuid().ToString("N")[..6]}";
        var lease = TimeSpan.FromSeconds(request.Lease);
        builder.Services.AddSingleton(services => JobQueue.Open(request.Redis, name, request.Exclusive, lease, time, services.GetRequiredService<ILogger<JobQueue>>()));
        builder.Services.AddSingleton(services => new TrainingWorker(services.GetRequiredService<JobQueue>(), request.Folders, lease, plugins, time, services.GetRequiredService<ILogger<TrainingWorker>>()));
        builder.Services.AddHostedService(services => services.GetRequiredService<TrainingWorker>());
        var host = builder.Build();
        var worker = host.Services.GetRequiredService<TrainingWorker>();
        await host.RunAsync(cancel);                            // disposes of it as well
        if (worker.ExecuteTask is { } work) await work;         // what ended it, if nobody asked for it
        return 0;
    }

    private static void AtLeast(Option<int> option, int least) => option.Validators.Add(result =>
    {
        if (result.Tokens is [var token] && int.TryParse(token.Value, CultureInfo.InvariantCulture, out var value) && value < least) result.AddError($"{option.Name} is {value} (at least {least}).");
    });
}
