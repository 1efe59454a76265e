using System.CommandLine;
using System.Globalization;
using Chat.Models.Checkpoints;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using ScottPlot;
using Spectre.Console;

namespace Chat.Training.Commands;

/// <summary><c>compare RUN RUN …</c>: what runs came to, side by side.</summary>
public sealed class CompareCommand(IAnsiConsole console)
{
    /// <summary>Updates that a figure «at the end» is the mean of.</summary>
    private const int Last = 20;

    public Command Create()
    {
        var names = new Argument<string[]>("runs") { Description = "Names of runs, two or more; none: all that are there", Arity = ArgumentArity.ZeroOrMore };
        var runs = new Option<DirectoryInfo>("--runs") { Description = "Folder of runs", DefaultValueFactory = _ => new DirectoryInfo("runs") };
        var plot = new Option<FileInfo>("--plot") { Description = "PNG of their held-out losses over tokens" };
        var command = new Command("compare", "Prints runs side by side: steps, tokens, time, losses at the end, held-out losses at their best, and whatever else their journals tell.") { names, runs, plot };
        command.SetAction(parse =>
        {
            var folder = parse.GetValue(runs)!.FullName;
            Compare(folder, parse.GetValue(names)!, parse.GetValue(plot)?.FullName);
            return 0;
        });
        return command;
    }

    private void Compare(string folder, string[] names, string? plot)
    {
        if (!Directory.Exists(folder)) throw new RecipeException($"There is no folder of runs at {folder}. Train one first, or name its place with --runs.");
        string[] found = [.. Directory.EnumerateDirectories(folder).Where(d => File.Exists(Path.Combine(d, "journal.jsonl"))).Select(d => Path.GetFileName(d)).Order(StringComparer.Ordinal)];
        if (names.FirstOrDefault(name => !found.Contains(name)) is { } missing) throw new RecipeException($"There is no run '{missing}' in {folder}. Here are: {string.Join(", ", found)}.");
        var compared = (names.Length > 0 ? names : found).Select(name => (Name: name, Run: new RunFolder(Path.Combine(folder, name)))).Select(r => (r.Name, State: r.Run.LoadState(), Entries: JournalEntry.Read(r.Run.Journal))).ToArray();

        var table = new Table().AddColumn("");
        foreach (var (name, _, _) in compared) table.AddColumn(new TableColumn(Markup.Escape(name)).RightAligned());
        void Row(string figure, Func<RunState?, JournalEntry[], string?> value)
        {
            var cells = compared.Select(r => value(r.State, r.Entries) ?? "").ToArray();
            if (cells.Any(c => c.Length > 0)) table.AddRow([Markup.Escape(figure), .. cells.Select(Markup.Escape)]);
        }
        Row("stage", (state, entries) => state?.Stage ?? (entries.Length > 0 ? $"{entries[^1].Stage}, done" : null));
        Row("steps", (state, _) => state?.TotalSteps.ToString("N0", CultureInfo.InvariantCulture));
        Row("tokens", (state, _) => state?.Tokens.ToString("N0", CultureInfo.InvariantCulture));
        Row("time", (state, _) => state is null ? null : TimeSpan.FromSeconds((long)state.Seconds).ToString("c", CultureInfo.InvariantCulture));
        Row("tokens per second", (state, _) => state is null ? null : (state.Tokens / Math.Max(1e-9, state.Seconds)).ToString("N0", CultureInfo.InvariantCulture));
        Row("sampling, of the time", (state, _) => Share(state, s => s.SamplingSeconds));
        Row("teacher, of the time", (state, _) => Share(state, s => s.TeacherSeconds));
        Row("loss", (_, entries) => Mean(entries, e => e.Loss));
        foreach (var part in Keys(e => e.Parts)) Row(part, (_, entries) => Mean(entries, e => At(e.Parts, part)));
        foreach (var corpus in Keys(e => e.Validation)) Row($"held-out {corpus}, best", (_, entries) => Best(entries, corpus));
        foreach (var corpus in Keys(e => e.ContextGain)) Row($"context gain {corpus}, last", (_, entries) => entries.Select(e => At(e.ContextGain, corpus)).OfType<double>().Select(Text).LastOrDefault());
        Row("Rouge-L, best", (_, entries) => BestReplies(entries) is { Replies: { } best } entry ? $"{Text(best.RougeL)} at {entry.Step.ToString("N0", CultureInfo.InvariantCulture)}" : null);
        Row("Dist-4 there", (_, entries) => BestReplies(entries)?.Replies is { } best ? Text(best.Distinct4) : null);
        Row("reply length there", (_, entries) => BestReplies(entries)?.Replies is { } best ? Text(best.Length) : null);
        Row("alarms", (_, entries) => entries.Count(e => e.Alarm is not null) is > 0 and var count ? count.ToString(CultureInfo.InvariantCulture) : null);
        console.Write(table);
        foreach (var (name, _, entries) in compared)
            foreach (var entry in entries.Where(e => e.Ended is not null)) console.MarkupLineInterpolated($"{name}, step {entry.Step}: {entry.Ended}");
        if (plot is not null) Draw(plot, compared.Select(r => (r.Name, r.Entries)));

        IEnumerable<string> Keys(Func<JournalEntry, IReadOnlyDictionary<string, double>?> of) => compared.SelectMany(r => r.Entries).SelectMany(e => of(e)?.Keys ?? []).Distinct().Order(StringComparer.Ordinal);
    }

    private static string? Mean(JournalEntry[] entries, Func<JournalEntry, double?> of) =>
        entries.Select(of).OfType<double>().TakeLast(Last).ToArray() is { Length: > 0 } values ? Text(values.Average()) : null;

    private static string? Share(RunState? state, Func<RunState, double> seconds) =>
        state?.TimeShares is null ? null : (seconds(state) / state.Seconds).ToString("P0", CultureInfo.InvariantCulture);

    /// <summary>The validation of the best Rouge-L, the first of equal ones.</summary>
    private static JournalEntry? BestReplies(JournalEntry[] entries) => entries.Where(e => e.Replies is not null).MaxBy(e => e.Replies!.RougeL);

    private static string? Best(JournalEntry[] entries, string corpus) => entries.Select(e => At(e.Validation, corpus)).OfType<double>().Order().Select(Text).FirstOrDefault();

    private static double? At(IReadOnlyDictionary<string, double>? figures, string name) => figures is not null && figures.TryGetValue(name, out var value) ? value : null;

    private static string Text(double value) => value.ToString("G4", CultureInfo.InvariantCulture);

    private static void Draw(string path, IEnumerable<(string Name, JournalEntry[] Entries)> runs)
    {
        using var plot = new Plot();
        plot.Title("Held-out loss, mean of the corpora");
        plot.XLabel("tokens");
        plot.YLabel("nats per token");
        foreach (var (name, entries) in runs)
        {
            var tokens = 0L;
            var points = new List<(double X, double Y)>();
            foreach (var entry in entries)
            {
                tokens = entry.Tokens ?? tokens;
                if (entry.Validation is { Count: > 0 } losses) points.Add((tokens, losses.Values.Average()));
            }
            if (points.Count > 0) plot.Add.Scatter(points.Select(p => p.X).ToArray(), points.Select(p => p.Y).ToArray()).LegendText = name;
        }
        plot.ShowLegend(Alignment.UpperRight);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        WholeFile.Write(path, part => plot.SavePng(part, 1000, 600));
    }
}
