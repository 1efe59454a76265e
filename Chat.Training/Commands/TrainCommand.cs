using System.CommandLine;
using System.Globalization;
using Chat.Domain.Plugins;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Spectre.Console;
using TorchSharp;

namespace Chat.Training.Commands;

/// <summary><c>train RECIPE</c>: follows a recipe, or goes on with it.</summary>
public sealed class TrainCommand(PluginCatalog plugins, TimeProvider time, IAnsiConsole console)
{
    public Command Create()
    {
        var recipe = new Argument<FileInfo>("recipe") { Description = "Training recipe, for example Chat.Training/Recipes/teacher.json" };
        var data = new Option<DirectoryInfo>("--data") { Description = "Folder that 'data fetch' filled", DefaultValueFactory = _ => new DirectoryInfo("data") };
        var runs = new Option<DirectoryInfo>("--runs") { Description = "Folder of runs", DefaultValueFactory = _ => new DirectoryInfo("runs") };
        var threads = new Option<int>("--threads") { Description = "Threads of the arithmetic: 1 on a machine that does other work, at most its cores else; a run is repeatable bit for bit only with the same number", DefaultValueFactory = _ => 2 };
        threads.Validators.Add(result => { if (result.Tokens.Count == 1 && int.TryParse(result.Tokens[0].Value, CultureInfo.InvariantCulture, out var count) && count < 1) result.AddError($"--threads is {count} (at least 1)."); });
        var device = DeviceOption.Create();
        var command = new Command("train", """
            Follows a training recipe: vocabulary, then its stages. Ctrl-C saves a checkpoint and stops; the same command goes on from it, as does a
            run that was killed, from its newest checkpoint. The run folder gets journal.jsonl, loss.png and checkpoints.
            """) { recipe, data, runs, threads, device };
        command.SetAction((parse, cancel) => Task.FromResult(Train(
            parse.GetValue(recipe)!.FullName, parse.GetValue(data)!.FullName, parse.GetValue(runs)!.FullName, parse.GetValue(threads), parse.GetValue(device)!, cancel)));
        return command;
    }

    public int Train(string recipePath, string data, string runs, int threads, string device, CancellationToken stop)
    {
        torch.set_num_threads(threads);
        var recipe = RecipeFile.Read<TrainingRecipe>(recipePath).Checked();
        var run = new TrainingRun(recipe, RecipeFile.Hash(recipePath), runs, new CorpusFolder(data), plugins, time, device: DeviceOption.Open(device));
        RunState state = null!;
        console.Progress().AutoRefresh(true).Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .Start(progress =>
            {
                var bars = new Dictionary<string, ProgressTask>();
                state = run.Follow(message => console.MarkupLineInterpolated($"{message}"), update =>
                {
                    if (update.Alarm is { } alarm) console.MarkupLineInterpolated($"[yellow]{alarm}[/]");
                    Show(progress, bars, update);
                }, stop);
            });
        console.MarkupLineInterpolated(state.Stage is null
            ? (FormattableString)$"Done: {state.TotalSteps:N0} steps, {state.Tokens:N0} tokens in {TimeSpan.FromSeconds((long)state.Seconds)}{(state.TimeShares is { } shares ? $" ({shares})" : "")}. Run folder: {run.Folder.Root}"
            : $"Stopped in stage {state.Stage} after step {state.Step:N0}. The same command goes on.");
        return 0;
    }

    private static void Show(ProgressContext progress, Dictionary<string, ProgressTask> bars, TrainingProgress update)
    {
        if (!bars.TryGetValue(update.Stage.Name, out var bar))
            bars[update.Stage.Name] = bar = progress.AddTask(update.Stage.Name, maxValue: update.Stage.Steps);
        bar.Value = update.Step;
        var replies = update.State.Quality is { } quality ? $" Rouge-L {quality.Last.RougeL:F3} (best {quality.Best.RougeL:F3}) Dist-4 {quality.Last.Distinct4:F2} length {quality.Last.Length:F1}" : "";
        var sampling = update.State.SamplingSeconds > 0 ? $" sampling {update.State.SamplingSeconds / update.State.Seconds:P0}" : "";
        bar.Description = Markup.Escape($"{update.Stage.Name} {update.Step}/{update.Stage.Steps} loss {update.Loss:F3} {update.TokensPerSecond:N0} tokens/s{sampling}{replies}");
    }
}
