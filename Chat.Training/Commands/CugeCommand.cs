using System.CommandLine;
using System.Globalization;
using System.Text.RegularExpressions;
using Chat.Models.Checkpoints;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Cuge;
using Spectre.Console;

namespace Chat.Training.Commands;

/// <summary><c>cuge</c>: CUGE's index of models, on the published datasets or on the stand-ins that the repository holds.</summary>
public sealed class CugeCommand(TimeProvider time, IAnsiConsole console)
{
    private const string MiniCorpora = "wesnoth";

    /// <summary>A dataset, ready to be answered.</summary>
    private sealed record Task(string Name, AnswerKind Kind, IReadOnlyList<CugeItem> Items, CugeScorer Score, string About);

    public Command Create()
    {
        var folders = new Argument<DirectoryInfo[]>("folders") { Description = "Model folders; the first one is the baseline, 100", Arity = ArgumentArity.ZeroOrMore };
        var sets = new Option<DirectoryInfo>("--sets") { Description = "Folder with the published datasets, SETS/NAME/… (NAME as in --list); left out: CUGE-mini" };
        var lite = new Option<bool>("--lite") { Description = "Only the lite board's seven datasets" };
        var most = new Option<int>("--most") { Description = "Items of a dataset at most, evenly spread; 0 = all" };
        var seed = new Option<int>("--seed") { Description = "Seed of CUGE-mini's items, the replies and the intervals", DefaultValueFactory = _ => 1 };
        var to = new Option<DirectoryInfo>("--to") { Description = "Folder for cuge.md, cuge.json and cuge.png", DefaultValueFactory = _ => new DirectoryInfo(Path.Combine("artifacts", "cuge")) };
        var list = new Option<bool>("--list") { Description = "Only show the hierarchy: each dataset, its metrics, what it weighs, and the layout that is read" };
        var board = new Option<bool>("--board") { Description = "Only show the published lite board with the index in each mode" };
        var command = new Command("cuge", """
            CUGE (arXiv:2112.13610): seven capabilities, each from tasks, each from datasets, all as shares of a baseline's scores, and one index.

            On this machine, with what the repository holds (CUGE-mini: stand-ins made of held-out dialogue and sums; two minutes):
              cuge Chat.Models/Shipped/chat-student Chat.Models/Shipped/chat-teacher
            On the published datasets, which are not ours to ship ('cuge --list' says where each is published and in which layout):
              cuge artifacts/baseline artifacts/my-model --sets cuge-data --lite

            Choices are answered with the one the model finds likeliest a token, texts by what it writes as it is served. There are three ways to make one index of it; the published board follows
            RatioOfSums although its paper describes NormalizedMean, so every number carries its mode. A dataset that is missing leaves its capability and the index open.
            """) { folders, sets, lite, most, seed, to, list, board };
        command.Validators.Add(result =>
        {
            if (!result.GetValue(list) && !result.GetValue(board) && result.GetValue(folders) is not { Length: > 0 }) result.AddError("Give at least one model folder, or --list or --board.");
            if (result.GetValue(sets) is null && (result.GetValue(lite) || result.GetValue(most) > 0)) result.AddError("--lite and --most are of the published datasets: they need --sets.");
            if (result.GetValue(most) < 0) result.AddError($"--most is {result.GetValue(most)} (at least 0).");
        });
        command.SetAction(async (parse, cancel) =>
        {
            if (parse.GetValue(list)) return List();
            if (parse.GetValue(board)) return Board();
            var hierarchy = parse.GetValue(sets) is null ? CugeMini.Hierarchy() : parse.GetValue(lite) ? CugeHierarchy.Published().Lite() : CugeHierarchy.Published();
            return await RunAsync(hierarchy, [.. parse.GetValue(folders)!.Select(f => f.FullName)], parse.GetValue(sets)?.FullName, parse.GetValue(most), parse.GetValue(seed), parse.GetValue(to)!.FullName, cancel);
        });
        return command;
    }

    private async Task<int> RunAsync(CugeHierarchy hierarchy, string[] folders, string? sets, int most, int seed, string to, CancellationToken cancel)
    {
        Directory.CreateDirectory(to);      // minutes before it is needed
        foreach (var folder in folders) ModelFolder.Open(folder);      // the last one too, before the first one answers
        var runs = new List<CugeRun>();
        var about = new Dictionary<string, string>();
        await console.Progress().AutoRefresh(true).Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn()).StartAsync(async progress =>
        {
            foreach (var folder in folders)
            {
                using var model = new EvaluatedModel(folder, time);
                var tasks = sets is null ? Mini(model, seed) : Published(hierarchy, sets, most);
                var bar = progress.AddTask(Markup.Escape(model.Id), maxValue: tasks.Sum(t => t.Items.Count));
                var answered = new Dictionary<string, CugeDatasetRun>();
                foreach (var task in tasks)
                {
                    bar.Description = Markup.Escape($"{model.Id}: {task.Name}");
                    var answers = await CugeAnswering.AnswerAsync(task.Kind, task.Items, model.Writer(seed), model.Likelihood, done => bar.Increment(done), cancel);
                    answered[task.Name] = new CugeDatasetRun(task.Score(task.Items, answers), task.Items.Count);
                    about[task.Name] = task.About;
                }
                bar.Description = Markup.Escape(model.Id);
                runs.Add(new CugeRun(Distinct(model.Id, runs), answered));
            }
        });

        var baseline = runs[0].Scores();
        var refusal = new CugeReport(hierarchy, runs, runs[0].Model, baseline, about, (ulong)seed).Write(to);
        if (refusal is not null) console.MarkupLineInterpolated($"There is no index: {refusal}");
        else ShowIndices(hierarchy, runs, baseline, seed);
        console.MarkupLineInterpolated($"{Path.Combine(to, "cuge.md")}");
        return 0;
    }

    private void ShowIndices(CugeHierarchy hierarchy, List<CugeRun> runs, IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> baseline, int seed)
    {
        var table = new Table().AddColumn("model");
        foreach (var mode in Enum.GetValues<IndexMode>()) table.AddColumn(mode.ToString());
        foreach (var run in runs)
            table.AddRow([Markup.Escape(run.Model), .. Enum.GetValues<IndexMode>().Select(mode => run.Index(hierarchy, baseline, mode, (ulong)seed) is { } index ? ReportJson.Shown(index, 1) : "open")]);
        console.Write(table);
    }

    /// <summary>A model that is asked twice keeps its two rows apart.</summary>
    private static string Distinct(string id, List<CugeRun> runs) => runs.Any(r => r.Model == id) ? $"{id} ({runs.Count + 1})" : id;

    /// <summary>What the model never saw: the scenes that its card holds out.</summary>
    private static Task[] Mini(EvaluatedModel model, int seed)
    {
        var heldOut = (string?)model.Folder.Card["heldOut"] ?? throw new InvalidDataException($"{model.Folder.Path}: the card has no 'heldOut', so what was held out is not known.");
        var regex = new Regex(heldOut, RegexOptions.CultureInvariant);
        var corpora = new CorpusFolder(AppContext.BaseDirectory);
        Document[] Of(string language) => [.. corpora.Read($"{MiniCorpora}-{language}").Where(d => regex.IsMatch(d.Scene))];
        return [.. CugeMini.Create(Of("zh"), Of("en"), (ulong)seed).Select(d => new Task(d.Name, d.Kind, d.Items, d.Score,
            $"stands for {d.StandsFor}{(d.Chance is { } chance ? string.Create(CultureInfo.InvariantCulture, $" (guessing: {chance:F0})") : "")}"))];
    }

    private Task[] Published(CugeHierarchy hierarchy, string sets, int most)
    {
        var tasks = new List<Task>();
        foreach (var dataset in hierarchy.Datasets)
        {
            if (!Directory.Exists(Path.Combine(sets, dataset.Name)))
            {
                console.MarkupLineInterpolated($"{dataset.Name}: no folder {Path.Combine(sets, dataset.Name)}, left out.");
                continue;
            }
            var adapter = CugeAdapters.Of(dataset.Name);
            var items = adapter.ReadFolder(Path.Combine(sets, dataset.Name));
            if (most > 0 && most < items.Count) items = [.. Enumerable.Range(0, most).Select(i => items[(int)((long)i * items.Count / most)])];
            tasks.Add(new Task(dataset.Name, adapter.Kind, items, adapter.Score, dataset.Domain));
        }
        return tasks.Count > 0 ? [.. tasks] : throw new InvalidDataException($"{sets} has no folder of a dataset. Expected: {string.Join(", ", hierarchy.Datasets.Select(d => d.Name))}.");
    }

    private int List()
    {
        var (hierarchy, table) = (CugeHierarchy.Published(), new Table().AddColumns("capability, task", "dataset", "metrics", "weight", "layout"));
        var weights = hierarchy.Weights();
        foreach (var capability in hierarchy.Capabilities)
            foreach (var task in capability.Tasks)
                foreach (var dataset in task.Datasets)
                    table.AddRow(Markup.Escape($"{capability.Name}, {task.Name}"), Markup.Escape(dataset.Name + (dataset.Lite ? " (lite)" : "")), string.Join(", ", dataset.Metrics),
                        weights[dataset.Name].ToString("P1", CultureInfo.InvariantCulture), Markup.Escape(CugeAdapters.Of(dataset.Name).Format));
        console.Write(table);
        return 0;
    }

    private int Board()
    {
        var hierarchy = CugeHierarchy.Published();
        var baseline = CugeIndex.OfBoard(hierarchy, hierarchy.Board[0]);
        var table = new Table().AddColumns("model", "printed").AddColumns([.. Enum.GetValues<IndexMode>().Select(m => m.ToString())]);
        foreach (var row in hierarchy.Board)
            table.AddRow([row.Model, row.Printed.ToString(CultureInfo.InvariantCulture), .. Enum.GetValues<IndexMode>().Select(mode => CugeIndex.Compute(hierarchy.Lite(), CugeIndex.OfBoard(hierarchy, row), baseline, mode).Index!.Value.ToString("F2", CultureInfo.InvariantCulture))]);
        console.Write(table);
        return 0;
    }
}
