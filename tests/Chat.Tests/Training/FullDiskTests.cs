using System.CommandLine;
using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Training.Commands;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Cuge;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Spectre.Console;
using static Chat.Tests.Training.TinyRun;

namespace Chat.Tests.Training;

/// <summary>
/// A disk that is full where one file is written: the name that is about to be written to is a link to <c>/dev/full</c>, whose writes fail with ENOSPC. It needs no rights and no mount.
/// </summary>
[Collection(nameof(SerialTorch))]
public sealed class FullDiskTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("full-disk-").FullName;
    private readonly StandingClock clock = new();

    public void Dispose() => Directory.Delete(root, recursive: true);

    /// <summary>What is written, when it becomes full (what is said, or the step that was made), and the newest checkpoint that is left.</summary>
    public static TheoryData<string, string, string> Files { get; } = new()
    {
        { "run/tokenizer.json.part", "vocabulary", "none" },
        { "run/config.json.part", "vocabulary", "none" },
        { "run/TOKENS.part.part", "encoding small-talk-en", "none" },
        { "run/journal.jsonl", "first:", "none" },
        { "run/EVENTS", "first:", "none" },
        { "run/checkpoints/00000003.part/state.safetensors.part", "3", "none" },
        { "run/checkpoints/00000003.part/state.json", "3", "none" },
        { "run/checkpoints/00000003.part/sums.txt", "3", "none" },
        { "run/loss.png.part", "3", "00000003" },
        { "run/checkpoints/00000006.part/state.safetensors.part", "6", "00000003" },
        { "run/checkpoints/00000013.part/state.json", "13", "00000012" },
    };

    [Theory, MemberData(nameof(Files))]
    public void A_run_says_what_to_do_and_goes_on_bit_for_bit_once_there_is_room(string file, string when, string left)
    {
        var tokens = "";
        if (file.Contains("TOKENS", StringComparison.Ordinal))
        {
            Follow(Recipe("other"), root, time: clock);
            tokens = Path.GetFileName(Assert.Single(Directory.GetFiles(Path.Combine(root, "tokens"))));
            Directory.Delete(Path.Combine(root, "tokens"), recursive: true);
        }
        var full = Path.Combine(root, file.Replace("TOKENS", tokens, StringComparison.Ordinal).Replace("EVENTS", $"events.out.tfevents.{clock.GetUtcNow().ToUnixTimeSeconds()}.{Environment.ProcessId}.1", StringComparison.Ordinal));

        var error = Assert.Throws<IOException>(() => Follow(Recipe("run"), root, time: clock,
            report: update => { if (update.Validation is null && $"{update.Step + (update.Stage.Name == "first" ? 0 : 9)}" == when) Fill(full); },
            say: message => { if (message.StartsWith(when, StringComparison.Ordinal)) Fill(full); }));

        Assert.Contains("No space left", error.Message, StringComparison.Ordinal);
        Assert.Contains($"stays at its newest checkpoint ({left}): make room", error.Message, StringComparison.Ordinal);
        if (Directory.Exists(Path.GetDirectoryName(full))) File.Delete(full);
        Assert.Empty(Directory.EnumerateFileSystemEntries(root, "*.part", SearchOption.AllDirectories));
        Follow(Recipe("run"), root, time: clock);
        Assert.Equal(Unbroken, Lines(root, "run"));
    }

    [Theory]
    [InlineData("tvd", """{"teacher":"teacher","cache":"words"}""", "words", "")]
    [InlineData("minillm", """{"teacher":"teacher","replies":24,"textWeight":0}""", "run/writing.part.part", "only:")]
    public void So_does_a_distillation(string objective, string distil, string file, string when)
    {
        Follow(Recipe("teacher"), root);
        Follow(Distilled("whole", objective, distil.Replace("words", "others", StringComparison.Ordinal)), root);

        if (when == "") Fill(Path.Combine(root, file));
        var error = Assert.Throws<IOException>(() => Follow(Distilled("run", objective, distil), root, say: message => { if (when != "" && message.StartsWith(when, StringComparison.Ordinal)) Fill(Path.Combine(root, file)); }));

        Assert.Contains("make room", error.Message, StringComparison.Ordinal);
        File.Delete(Path.Combine(root, file));
        Follow(Distilled("run", objective, distil), root);
        Assert.Equal(Lines(root, "whole"), Lines(root, "run"));
    }

    [Fact]
    public void An_export_leaves_no_half_folder()
    {
        var recipe = Recipe("run") with { Card = new("tiny", "none", "notes", new JsonObject()) };
        Follow(recipe, root);
        var folder = Path.Combine(root, "model");
        var part = folder + ".part";
        Directory.CreateDirectory(part);
        File.WriteAllText(Path.Combine(part, "left"), "by a process that was killed");
        var export = new ModelExport(root, Corpora, clock);

        clock.Asked = () => { if (Directory.Exists(part)) Fill(Path.Combine(part, "chat-model.json.part")); };
        Assert.Throws<IOException>(() => export.Write(recipe, folder, _ => recipe, "commit"));
        Assert.False(Directory.Exists(folder) || Directory.Exists(part));

        clock.Asked = null;
        export.Write(recipe, folder, _ => recipe, "commit");
        Assert.Equal("tiny", ModelFolder.Open(folder).Description.Id);
        Assert.False(Directory.Exists(part));
    }

    [Theory]
    [InlineData("evaluation.md"), InlineData("evaluation.json"), InlineData("text.png"), InlineData("exposure.png")]
    [InlineData("cuge.md"), InlineData("cuge.json"), InlineData("cuge.png")]
    public void A_report_is_the_earlier_one_as_a_whole_until_the_new_one_is(string file)
    {
        Write("old", 0.1);
        var before = Contents();
        Assert.Equal(file.StartsWith("cuge", StringComparison.Ordinal) ? 3 : 4, before.Count);

        Fill(Path.Combine(root, file + ".part"));
        var error = Assert.Throws<IOException>(() => Write("new", 0.2));

        Assert.Contains("No space left", error.Message, StringComparison.Ordinal);
        Assert.Equal(before, Contents());
        Write("new", 0.2);
        Assert.Equal(before.Keys, Contents().Keys);
        Assert.All(Contents(), each => Assert.NotEqual(before[each.Key], each.Value));

        void Write(string name, double value)
        {
            var figures = new Dictionary<string, Interval> { ["rouge-l"] = new(value, value - 0.05, value + 0.05, 40) };
            if (file.StartsWith("cuge", StringComparison.Ordinal))
            {
                var tree = new CugeHierarchy("test", [new("a", [new("ta", [new("da", ["accuracy"], "", "")])]), new("b", [new("tb", [new("db", ["accuracy"], "", "")])])], []);
                CugeItem[] items = [.. Enumerable.Range(0, 10).Select(i => new CugeItem(["q"], [], ["x", "y"], i % 2))];
                CugeDatasetRun Of(int right) => new(CugeScorers.Accuracy(items, [.. items.Select((q, i) => CugeAnswer.Chosen(i < right ? q.Answer : 1 - q.Answer))]), 10);
                CugeRun[] runs = [new("one", new Dictionary<string, CugeDatasetRun> { ["da"] = Of(5), ["db"] = Of(5) }), new(name, new Dictionary<string, CugeDatasetRun> { ["da"] = Of((int)(40 * value)), ["db"] = Of(9) })];
                new CugeReport(tree, runs, "one", runs[0].Scores(), new Dictionary<string, string>(), 1).Write(root);
            }
            else
            {
                var losses = new HeldOutLosses(new Dictionary<string, double> { ["c"] = 2 }, new Dictionary<string, double> { ["c"] = 0.1 });
                new EvaluationReport([new(name, 1000, losses, new Dictionary<string, IReadOnlyDictionary<string, Interval>> { [EvaluationReport.All] = figures }, new AgainstTeacher(figures, [5, 8, 100 * value]))], "A run.").Write(root);
            }
        }
    }

    [Fact]
    public void A_report_without_a_teacher_leaves_no_plot_of_an_earlier_ones()
    {
        var losses = new HeldOutLosses(new Dictionary<string, double>(), new Dictionary<string, double>());
        var text = new Dictionary<string, IReadOnlyDictionary<string, Interval>>();
        new EvaluationReport([new("one", 1000, losses, text, new AgainstTeacher(new Dictionary<string, Interval>(), [5, 8]))], "A run.").Write(root);
        Assert.Contains("exposure.png", Contents().Keys);

        new EvaluationReport([new("one", 1000, losses, text)], "A run.").Write(root);

        Assert.Equal(["evaluation.json", "evaluation.md", "text.png"], Contents().Keys);
    }

    [Fact]
    public void A_comparisons_plot_is_the_earlier_one_until_the_new_one_is_whole()
    {
        Follow(Recipe("run"), Path.Combine(root, "runs"));
        var plot = Path.Combine(root, "plots", "losses.png");
        int Compare() => new RootCommand { new CompareCommand(AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(TextWriter.Null) })).Create() }
            .Parse(["compare", "--runs", Path.Combine(root, "runs"), "--plot", plot]).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
        Assert.Equal(0, Compare());
        File.WriteAllText(plot, "an earlier one");

        Fill(plot + ".part");
        Assert.Contains("No space left", Assert.Throws<IOException>(() => Compare()).Message, StringComparison.Ordinal);

        Assert.Equal("an earlier one", File.ReadAllText(plot));
        Assert.Single(Directory.GetFiles(Path.GetDirectoryName(plot)!));
        Compare();
        Assert.Equal((byte)'P', File.ReadAllBytes(plot)[1]);
    }

    /// <summary>Files below the root by name, each with the hash of its content.</summary>
    private SortedDictionary<string, string> Contents() =>
        new(Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories).ToDictionary(path => Path.GetRelativePath(root, path), RecipeFile.Hash), StringComparer.Ordinal);

    private static void Fill(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        if (File.Exists(path)) File.Delete(path);
        File.CreateSymbolicLink(path, "/dev/full");
    }

    private sealed class StandingClock : TimeProvider
    {
        public Action? Asked { get; set; }

        public override DateTimeOffset GetUtcNow()
        {
            Asked?.Invoke();
            return DateTimeOffset.UnixEpoch.AddDays(20_000);
        }
    }
}
