using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Domain.Training;
using Chat.Training.Recipes;
using Chat.Training.Worker;
using Spectre.Console;

namespace Chat.Training.Commands;

/// <summary><c>jobs</c>: what operators do with a gateway's training jobs.</summary>
public sealed class JobsCommand(TimeProvider time, IAnsiConsole console)
{
    private const string DefaultGateway = "http://localhost:5080";

    private readonly Option<string> gateway = new("--gateway") { Description = "Where the gateway is (or the environment's CHAT_GATEWAY)", Recursive = true, DefaultValueFactory = _ => Set("CHAT_GATEWAY") ?? DefaultGateway };
    private readonly Option<string?> token = new("--token") { Description = "Bearer token of a user with the role admin (or the environment's CHAT_TOKEN, which other users of the machine cannot read); none for this machine's gateway in Development", Recursive = true, DefaultValueFactory = _ => Set("CHAT_TOKEN") };
    private readonly Option<bool> follow = new("--follow") { Description = "Look on until the job has ended; exit code 1 where it did not finish. Ctrl-C ends the looking, not the job" };

    public Command Create() => new("jobs", """
        Training jobs at a gateway, for its workers ('worker --help'). A job is a recipe and what follows it: train, export, evaluate, register.

        A recipe becomes a model that a gateway can serve:
          jobs submit my-recipe.json --follow
          jobs load ID
        What is there, one of them, and its end before the time; a cancelled or failed one goes on from its checkpoint:
          jobs list
          jobs show ID --follow
          jobs cancel ID
          jobs resume ID
        Another gateway, one that asks who you are:
          CHAT_TOKEN=… jobs list --gateway https://chat.example.org
        """) { Submit(), List(), Show(), Change("cancel", "Ends a job with the step it is at, and a checkpoint."), Change("resume", "Queues a cancelled or failed job again; it goes on from its checkpoint."), Load(), Delete(), gateway, token };

    private Command Submit()
    {
        var recipe = new Argument<FileInfo>("recipe") { Description = "Training recipe, with a card for the model's name; what it names (runs, corpora, model folders) is looked for at the worker" };
        var bare = new Option<bool>("--no-register") { Description = "Only the run, no model of it" };
        var unmeasured = new Option<bool>("--no-evaluate") { Description = "No scores in the model's card" };
        var command = new Command("submit", "Queues a recipe. What is wrong with it is said at once, as far as it can be told without the worker's texts and runs.") { recipe, bare, unmeasured, follow };
        command.SetAction((parse, cancel) => WithAsync(parse, async jobs =>
        {
            var path = parse.GetValue(recipe)!.FullName;
            var (register, evaluate) = (!parse.GetValue(bare), !parse.GetValue(bare) && !parse.GetValue(unmeasured));
            RecipeFile.Read<TrainingRecipe>(path).Checked();
            var content = JsonNode.Parse(await File.ReadAllTextAsync(path, cancel), documentOptions: new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true })!.AsObject();
            JobRun.Read(content, evaluate, register);
            var job = await jobs.SubmitAsync(content, evaluate, register, cancel);
            console.MarkupLineInterpolated($"Job {job.Id}, {job.Name}, is queued.");
            if (parse.GetValue(follow)) return await FollowAsync(jobs, job.Id, cancel);
            console.MarkupLineInterpolated($"Look on with: jobs show {job.Id} --follow");
            return 0;
        }));
        return command;
    }

    private Command List()
    {
        var most = new Option<int>("--limit") { Description = "Jobs at most, 1 to 200", DefaultValueFactory = _ => 50 };
        var command = new Command("list", "Lists your tenant's jobs, the one last queued first.") { most };
        command.SetAction((parse, cancel) => WithAsync(parse, async jobs =>
        {
            var found = await jobs.ListAsync(parse.GetValue(most), cancel);
            if (found.Length == 0)
            {
                console.WriteLine("There are no jobs. Queue one with: jobs submit RECIPE");
                return 0;
            }
            var table = new Table().AddColumns("id", "run", "state", "how far", "submitted", "by");
            table.Columns[0].NoWrap();
            foreach (var job in found) table.AddRow([.. new[] { job.Id, job.Name, Word(job.State), HowFar(job), At(job.SubmittedAt), job.SubmittedBy }.Select(Markup.Escape)]);
            console.Write(table);
            return 0;
        }));
        return command;
    }

    private Command Show()
    {
        var id = Id();
        var command = new Command("show", "Tells of one job: how far it is, what it came to, what to do next.") { id, follow };
        command.SetAction((parse, cancel) => WithAsync(parse, async jobs =>
        {
            if (parse.GetValue(follow)) return await FollowAsync(jobs, parse.GetValue(id)!, cancel);
            Tell(await jobs.ReadAsync(parse.GetValue(id)!, cancel));
            return 0;
        }));
        return command;
    }

    private Command Change(string verb, string summary)
    {
        var id = Id();
        var command = new Command(verb, summary) { id };
        command.SetAction((parse, cancel) => WithAsync(parse, async jobs =>
        {
            var job = await jobs.ChangeAsync(parse.GetValue(id)!, verb, cancel);
            console.MarkupLineInterpolated($"Job {job.Id}, {job.Name}, is {Word(job.State)}{(job.State == JobState.Cancelling ? ": its worker ends with the step that it is at" : "")}.");
            return 0;
        }));
        return command;
    }

    private Command Load()
    {
        var id = Id();
        var host = new Option<string?>("--host") { Description = "Which of the gateway's model hosts is to serve it, as GET /api/hosts names them; none where the gateway serves models itself" };
        var command = new Command("load", "Has the model that a job made served until the gateway or the host ends; Models:Load names it for the next start. A host pulls it (Models:Sources).") { id, host };
        command.SetAction((parse, cancel) => WithAsync(parse, async jobs =>
        {
            var job = await jobs.ReadAsync(parse.GetValue(id)!, cancel);
            var model = job.Model ?? throw new GatewayException($"Job {job.Id} is {Word(job.State)} and has made no model{(job.Register ? "" : ": it was asked for the run alone")}.");
            console.MarkupLineInterpolated($"{await jobs.LoadAsync(model, parse.GetValue(host), cancel)} answers{(parse.GetValue(host) is { } at ? $" at {at}" : "")}.");
            return 0;
        }));
        return command;
    }

    private Command Delete()
    {
        var id = Id();
        var command = new Command("delete", "Forgets a job that nobody is at. Its run folder and its model stay.") { id };
        command.SetAction((parse, cancel) => WithAsync(parse, async jobs =>
        {
            await jobs.DeleteAsync(parse.GetValue(id)!, cancel);
            console.WriteLine("The job is forgotten.");
            return 0;
        }));
        return command;
    }

    private static Argument<string> Id()
    {
        var id = new Argument<string>("id") { Description = "The job's id, as 'jobs list' has it" };
        id.Validators.Add(result => { if (result.Tokens is [var token] && !(token.Value.Length > 0 && token.Value.All(char.IsAsciiLetterOrDigit))) result.AddError($"'{token.Value}' is no id of a job: letters and digits, as 'jobs list' has them."); });
        return id;
    }

    private async Task<int> WithAsync(ParseResult parse, Func<GatewayJobs, Task<int>> act)
    {
        using var jobs = new GatewayJobs(parse.GetValue(gateway)!, parse.GetValue(token), time);
        return await act(jobs);
    }

    /// <returns>0 where the job finishes, or somebody stops looking.</returns>
    private async Task<int> FollowAsync(GatewayJobs jobs, string id, CancellationToken cancel)
    {
        TrainingJobInfo? last = null;
        try
        {
            await console.Progress().AutoRefresh(true).Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn()).StartAsync(async progress =>
            {
                ProgressTask? bar = null;
                await foreach (var job in jobs.FollowAsync(id, message => console.MarkupLineInterpolated($"[yellow]{message}[/]"), cancel))
                {
                    if (job.State != last?.State && !GatewayJobs.IsOver(job.State)) console.MarkupLineInterpolated($"{job.Name} is {Word(job.State)}{(job is { State: JobState.Running, Worker: { } worker } ? $" at {worker}" : "")}.");
                    if (job.Progress?.Alarm is { } alarm && alarm != last?.Progress?.Alarm) console.MarkupLineInterpolated($"[yellow]{alarm}[/]");
                    last = job;
                    if (job.Progress is not { Of: > 0 } told) continue;
                    bar ??= progress.AddTask(Markup.Escape(job.Name), maxValue: told.Of);
                    bar.Value = job.State == JobState.Finished ? told.Of : told.Step;      // a stage may end early
                    bar.Description = Markup.Escape($"{job.Name} {HowFar(job)}");
                }
            });
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            console.MarkupLineInterpolated($"The job goes on. Look again with: jobs show {id} --follow");
            return 0;
        }
        Tell(last!);
        return last!.State == JobState.Finished ? 0 : 1;
    }

    private void Tell(TrainingJobInfo job)
    {
        var grid = new Grid().AddColumn(new GridColumn().NoWrap()).AddColumn();
        void Row(string name, string? value) { if (value is { Length: > 0 }) grid.AddRow(new Text(name), new Text(value)); }
        Row("job", job.Id);
        Row("run", job.Name);
        Row("state", Word(job.State));
        Row("submitted", $"{At(job.SubmittedAt)} by {job.SubmittedBy}");
        Row("ended", job.EndedAt is { } ended ? At(ended) : null);
        Row("worker", job.Worker is null ? null : $"{job.Worker} on {job.Device}");
        Row("how far", HowFar(job));
        Row("held out", job.Progress?.Validation is { } losses ? string.Join(", ", losses.Select(l => string.Create(CultureInfo.InvariantCulture, $"{l.Key} {l.Value:F3}"))) : null);
        Row("checkpoint", job.Progress is { Checkpoint: > 0 } p ? string.Create(CultureInfo.InvariantCulture, $"step {p.Checkpoint}") : null);
        Row("last word", GatewayJobs.IsOver(job.State) ? null : job.Progress?.Message);
        Row("alarm", job.Progress?.Alarm);
        Row("error", job.Error);
        Row("model", job.Model);
        console.Write(grid);
        var next = job switch
        {
            { State: JobState.Finished, Model: not null } => $"Have it served: jobs load {job.Id}, with --host NAME where the gateway has model hosts.",
            { State: JobState.Failed } => $"Once that is mended it goes on with: jobs resume {job.Id}. A changed recipe is another job, under another name.",
            { State: JobState.Cancelled } => $"It goes on with: jobs resume {job.Id}",
            { State: JobState.Queued } => "It waits for a worker whose device is free ('worker --help').",
            _ => null,
        };
        if (next is not null) console.WriteLine(next);
    }

    private static string HowFar(TrainingJobInfo job)
    {
        if (job.Progress is not { Of: > 0 } p) return "";
        if (p.Phase != "train") return job.State == JobState.Running ? p.Phase : Steps(p);
        if (job.State != JobState.Running) return Steps(p);
        return string.Create(CultureInfo.InvariantCulture, $"{p.Stage} {Steps(p)}{p.Loss: 'loss' 0.000}{p.TokensPerSecond: #,0 'tokens/s'}")
            + (p.SecondsLeft is { } left ? $" {TimeSpan.FromSeconds((long)left).ToString("c", CultureInfo.InvariantCulture)} left" : "");
    }

    private static string Steps(JobProgress p) => string.Create(CultureInfo.InvariantCulture, $"{p.Step}/{p.Of}");

    private static string At(DateTimeOffset moment) => moment.ToLocalTime().ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture);

    private static string Word(JobState state) => JsonNamingPolicy.CamelCase.ConvertName(state.ToString());

    private static string? Set(string variable) => Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value ? value : null;
}
