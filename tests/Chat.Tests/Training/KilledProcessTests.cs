using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using static Chat.Tests.Training.TinyRun;

namespace Chat.Tests.Training;

/// <summary>
/// <c>kill -9</c> at random moments of every kind of stage, by processes of the program: what goes on equals the unbroken run bit for bit. Once a stage here; <c>make reproduce-resume</c> does it ten
/// times a stage (<c>CHAT_KILLS</c>). A failure names its seed, which <c>CHAT_SEED</c> takes; the moments are only as random as the machine's load lets them be.
/// </summary>
[Collection(nameof(SerialTorch))]
public sealed class KilledProcessTests(ITestOutputHelper output) : IDisposable
{
    private const int Steps = 20, LastKilled = 16;
    private static readonly int Kills = Setting("CHAT_KILLS", 1);
    private readonly string root = Directory.CreateTempSubdirectory("killed-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    /// <summary>Two methods; word by word, cached; written by the teacher; kept and adapted; roll-outs learnt from twice, packed, with text; preferences; drafts.</summary>
    private static TrainingRecipe EveryStage => Recipe("run") with
    {
        Validation = ["wesnoth-en"],
        Stages =
        [
            Each("pre-train", "token-mean", null) with { Accumulate = 2, Dropout = 0.1, Mixture = [new("small-talk-en", "continuation", 1), new("small-talk-zh", "dialogue", 1)] },
            Each("answer", "sample-mean", null) with { Dropout = 0.1, Mixture = [new("small-talk-en", "answer", 1)] },
            Each("kd", "kd", """{"teacher":"teacher","topK":20}"""),
            Each("seqkd", "seqkd", """{"teacher":"teacher"}"""),
            Each("distillm", "distillm", """{"teacher":"teacher","replay":30,"textWeight":0}"""),
            Each("minillm", "minillm", """{"teacher":"teacher","replies":24,"epochs":2,"text":[{"corpus":"small-talk-zh","as":"continuation","weight":1}]}""") with { Pack = true },
            Each("dpkd", "dpkd", """{"teacher":"teacher","textWeight":0}"""),
            Each("tvd", "tvd", """{"teacher":"teacher","cache":"words"}"""),
        ],
    };

    private static StageRecipe Each(string name, string method, string? distil) => Stage(name) with
    {
        Method = method, Steps = Steps, SaveEvery = 5, ValidateEvery = 8, Dropout = 0, Distil = distil is null ? null : JsonSerializer.Deserialize<DistilRecipe>(distil, RecipeFile.Json),
    };

    [Fact]
    public void A_run_killed_in_every_stage_equals_the_unbroken_one_bit_for_bit()
    {
        var seed = Setting("CHAT_SEED", Environment.ProcessId);
        var random = new Random(seed);
        var (whole, broken) = (Path.Combine(root, "whole"), Path.Combine(root, "broken"));
        Follow(Recipe("teacher"), whole);
        Copy(Path.Combine(whole, "teacher"), Path.Combine(broken, "teacher"));
        var recipe = Path.Combine(root, "run.json");
        File.WriteAllText(recipe, JsonSerializer.Serialize(EveryStage, RecipeFile.Json));
        Finish(recipe, whole);

        var kills = new List<string>();
        for (var kill = 0; kill < Kills; kill++)
        {
            if (kill > 0) Directory.Delete(Path.Combine(broken, "run"), recursive: true);
            Kill(recipe, broken, text => text.StartsWith("vocabulary:", StringComparison.Ordinal), 0, random.Next(150));
            kills.Add("vocabulary");
        }
        for (var stage = 0; stage < EveryStage.Stages.Count; stage++)
            foreach (var step in Enumerable.Range(0, Kills).Select(_ => random.Next(1, LastKilled)).Order())
            {
                var reached = Kill(recipe, broken, text => text.Contains(" parameters, ", StringComparison.Ordinal), stage * Steps + step, random.Next(20));
                Assert.InRange(reached, stage * Steps + 1, (stage + 1) * Steps);
                kills.Add($"{EveryStage.Stages[stage].Name} {reached - stage * Steps}");
            }
        Finish(recipe, broken);

        var told = $"seed {seed}, {kills.Count} kills: {string.Join(", ", kills)}";
        Assert.True(Lines(whole, "run").SequenceEqual(Lines(broken, "run")), $"Another journal. {told}");
        Assert.True(Weights(whole).AsSpan().SequenceEqual(Weights(broken)), $"Other weights or moments. {told}");
        Assert.Equal(State(whole), State(broken));
        output.WriteLine($"{told}. Journal of {Lines(whole, "run").Length} lines, {Weights(whole).Length} bytes of weights and moments, and state are equal.");
    }

    [Fact]
    public void A_broken_recipe_ends_the_program_with_one_sentence()
    {
        var recipe = Path.Combine(root, "run.json");
        File.WriteAllText(recipe, """{"name":"run",""");

        using var process = Start(recipe, root, _ => { });
        var said = process.StandardError.ReadToEnd();
        process.WaitForExit();

        Assert.Equal(1, process.ExitCode);
        Assert.Contains("run.json", Assert.Single(said.Split('\n', StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);
    }

    /// <summary>Starts the program, waits until it has said something and its journal has that step, a little longer, and kills it.</summary>
    /// <returns>The last step in the journal.</returns>
    private static long Kill(string recipe, string runs, Func<string, bool> said, long step, int milliseconds)
    {
        var begun = false;
        using var process = Start(recipe, runs, text => begun |= said(text));
        var deadline = Stopwatch.StartNew();
        while (!Volatile.Read(ref begun) || Reached(runs) < step)
        {
            Assert.False(process.WaitForExit(3), $"The program ended before step {step}.");
            Assert.True(deadline.Elapsed < TimeSpan.FromMinutes(5), $"Step {step} was not reached.");
        }
        Thread.Sleep(milliseconds);
        Assert.False(process.HasExited, $"The program ended before it was killed at step {step}.");
        process.Kill();                                                                 // SIGKILL
        process.WaitForExit();
        return Reached(runs);
    }

    private static void Finish(string recipe, string runs)
    {
        using var process = Start(recipe, runs, _ => { });
        var said = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, said);
    }

    private static Process Start(string recipe, string runs, Action<string> hear)
    {
        var process = Process.Start(new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "Chat.Training.dll"), "train", recipe, "--data", runs, "--runs", runs, "--threads", "1"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        process.OutputDataReceived += (_, line) => hear(line.Data ?? "");
        process.BeginOutputReadLine();
        return process;
    }

    private static long Reached(string runs)
    {
        var journal = Path.Combine(runs, "run", "journal.jsonl");
        return File.Exists(journal) ? JournalEntry.Read(journal).Select(entry => entry.Step).DefaultIfEmpty(0).Max() : 0;
    }

    private static byte[] Weights(string runs) => File.ReadAllBytes(Path.Combine(new RunFolder(Path.Combine(runs, "run")).Newest!, "state.safetensors"));

    /// <summary>The last state without its clock.</summary>
    private static string State(string runs)
    {
        var state = JsonNode.Parse(File.ReadAllText(Path.Combine(new RunFolder(Path.Combine(runs, "run")).Newest!, "state.json")))!.AsObject();
        foreach (var clock in new[] { "seconds", "samplingSeconds", "teacherSeconds" }) state.Remove(clock);
        return state.ToJsonString();
    }

    private static int Setting(string name, int other) => Environment.GetEnvironmentVariable(name) is { } value ? int.Parse(value, CultureInfo.InvariantCulture) : other;

    private static void Copy(string from, string to)
    {
        foreach (var file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            var copy = Path.Combine(to, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }
    }
}
