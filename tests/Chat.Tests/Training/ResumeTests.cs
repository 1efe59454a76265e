using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Recipes;

namespace Chat.Tests.Training;

[Collection(nameof(SerialTorch))]
public sealed class ResumeTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("resume-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    private static TrainingRecipe Recipe(string name) => new(name, 5, new TokenizerRecipe(300, new Dictionary<string, long> { ["small-talk-en"] = 20_000 }),
        new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16), "^Liberty/", ["wesnoth-en"],
        [Stage("first") with { Accumulate = 2 }, Stage("second") with { Steps = 4, Method = "sample-mean" }]);

    private static StageRecipe Stage(string name) => new(name, "token-mean", 9, 600, 0.003, [new MixtureRecipe("small-talk-en", "dialogue", 1)], 40, 24, Warmup: 3, Dropout: 0.1, ValidateEvery: 6, SaveEvery: 3);

    [Theory]
    [InlineData(2), InlineData(4), InlineData(5), InlineData(7), InlineData(10)]
    public void A_run_killed_at_any_step_goes_on_bit_for_bit(int killedAfter)
    {
        var whole = Journal("whole");
        Assert.Throws<KilledException>(() => Follow("killed", update => { if (update.Validation is null && update.Stage.Name == (killedAfter <= 9 ? "first" : "second") && update.Step == (killedAfter <= 9 ? killedAfter : killedAfter - 9)) throw new KilledException(); }));

        Follow("killed", null);

        Assert.Equal(whole, Lines("killed"));
    }

    /// <summary>Objectives that keep replies, write them, mix models, adapt, and read plain text beside them.</summary>
    public static TheoryData<string, string> Distillations { get; } = new()
    {
        { "minillm", """{"teacher":"teacher","replies":24,"epochs":2,"text":[{"corpus":"small-talk-zh","as":"continuation","weight":1}]}""" },
        { "distillm", """{"teacher":"teacher","replay":10,"textWeight":0}""" },
        { "distillm2", """{"teacher":"teacher","replies":16}""" },
        { "gkd", """{"teacher":"teacher"}""" },
        { "kd", """{"teacher":"teacher","topK":20}""" },
        { "tvd", """{"teacher":"teacher","cache":"words"}""" },
    };

    [Theory, MemberData(nameof(Distillations))]
    public void A_distillation_killed_at_any_step_goes_on_bit_for_bit(string objective, string distil)
    {
        Follow("teacher", null);
        TrainingRecipe Distilled(string name) => Recipe(name) with
        {
            Tokenizer = new(From: "teacher"),
            Stages = [Stage("only") with { Steps = 9, Method = objective, Dropout = 0, SaveEvery = 2, Distil = JsonSerializer.Deserialize<DistilRecipe>(distil, RecipeFile.Json) }],
        };
        void Run(string name, Action<TrainingProgress>? report) => new TrainingRun(Distilled(name).Checked(), "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, report, default);
        Run("whole", null);
        foreach (var killedAfter in new[] { 1, 4, 7 })
            Assert.Throws<KilledException>(() => Run("killed", update => { if (update.Validation is null && update.Step == killedAfter) throw new KilledException(); }));

        Run("killed", null);

        Assert.Equal(Lines("whole"), Lines("killed"));
        Assert.All(Lines("whole").Select(l => JsonNode.Parse(l)!).Where(l => l["loss"] is not null), l => Assert.True(double.IsFinite((double)l["loss"]!)));
    }

    [Fact]
    public void A_distillation_needs_no_held_out_text()
    {
        Follow("teacher", null);
        var recipe = Recipe("unseen") with { Tokenizer = new(From: "teacher"), Validation = [], Stages = [Stage("only") with { Steps = 2, ValidateEvery = 1, Method = "gkd", Distil = new(Teacher: "teacher") }] };

        Assert.Null(new TrainingRun(recipe.Checked(), "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, null, default).Stage);
    }

    [Fact]
    public void A_distillation_without_its_teacher_says_what_to_do()
    {
        var recipe = Recipe("orphan") with { Stages = [Stage("only") with { Method = "kd", Distil = new(Teacher: "nobody") }] };

        var error = Assert.Throws<RecipeException>(() => new TrainingRun(recipe, "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, null, default));

        Assert.Contains("neither a run with a checkpoint", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_teacher_of_another_vocabulary_is_refused()
    {
        Follow("teacher", null);
        var recipe = Recipe("stranger") with { Tokenizer = new(300, new Dictionary<string, long> { ["small-talk-zh"] = 20_000 }), Stages = [Stage("only") with { Method = "kd", Distil = new(Teacher: "teacher") }] };

        var error = Assert.Throws<RecipeException>(() => new TrainingRun(recipe, "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, null, default));

        Assert.Contains("another than the student's", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_process_killed_at_random_moments_goes_on_bit_for_bit()
    {
        TrainingRecipe Long(string name) => Recipe(name) with { Validation = [], Stages = [Stage("first") with { Steps = 45, Accumulate = 2 }, Stage("second") with { Steps = 30, Method = "sample-mean" }] };
        new TrainingRun(Long("whole"), "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, null, default);
        var recipe = Path.Combine(root, "killed.json");
        File.WriteAllText(recipe, JsonSerializer.Serialize(Long("killed"), RecipeFile.Json));
        var random = new Random(Environment.ProcessId);
        var kills = new List<long>();

        foreach (var least in new[] { random.Next(1, 40), random.Next(40, 70) })
        {
            using var process = Train(recipe);
            var deadline = Stopwatch.StartNew();
            while (!process.WaitForExit(1) && Reached("killed") < least) Assert.True(deadline.Elapsed < TimeSpan.FromMinutes(2), $"Step {least} was not reached.");
            process.Kill();                                                                // kill -9
            process.WaitForExit();
            kills.Add(Reached("killed"));
        }
        using (var process = Train(recipe))
        {
            process.WaitForExit();
            Assert.Equal(0, process.ExitCode);
        }

        Assert.True(kills[0] < 75, $"The process was never killed in the middle, but at {string.Join(", ", kills)}.");
        Assert.True(Lines("whole").SequenceEqual(Lines("killed")), $"Another journal after kills at steps {string.Join(", ", kills)}.");
    }

    private Process Train(string recipe)
    {
        var process = Process.Start(new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "Chat.Training.dll"), "train", recipe, "--data", root, "--runs", root, "--threads", "1"]) { RedirectStandardOutput = true })!;
        process.OutputDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        return process;
    }

    /// <summary>The last step that a run's journal tells of.</summary>
    private long Reached(string name)
    {
        var path = Path.Combine(root, name, "journal.jsonl");
        return !File.Exists(path) ? 0 : File.ReadAllLines(path).Where(line => line.EndsWith('}')).Select(line => (long)JsonNode.Parse(line)!["step"]!).DefaultIfEmpty(0).Max();
    }

    [Fact]
    public void A_run_that_is_stopped_keeps_every_step()
    {
        var whole = Journal("whole");
        using var stop = new CancellationTokenSource();
        var stopped = Follow("stopped", update => { if (update.Step == 5) stop.Cancel(); }, stop: stop.Token);
        Assert.Equal(("first", 5), (stopped.Stage, stopped.Step));

        Follow("stopped", null);

        Assert.Equal(whole, Lines("stopped"));
    }

    [Fact]
    public void A_finished_run_does_nothing_more()
    {
        Follow("done", null);
        var lines = Lines("done");

        var state = Follow("done", _ => throw new KilledException());

        Assert.Null(state.Stage);
        Assert.Equal(13, state.TotalSteps);
        Assert.Equal(lines, Lines("done"));
    }

    [Fact]
    public void A_run_refuses_another_version_of_its_recipe()
    {
        Follow("changed", null);

        var error = Assert.Throws<RecipeException>(() => Follow("changed", null, hash: "another"));

        Assert.Contains("another version", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_that_starts_from_another_takes_its_weights_and_its_vocabulary()
    {
        Follow("first-run", null);
        var next = Recipe("next-run") with { Start = "first-run", Tokenizer = new TokenizerRecipe(From: "first-run"), Stages = [Stage("only") with { Steps = 1, LearningRate = 1e-9, Dropout = 0 }] };

        new TrainingRun(next, "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, null, default);

        Assert.Equal(File.ReadAllText(Path.Combine(root, "first-run", "tokenizer.json")), File.ReadAllText(Path.Combine(root, "next-run", "tokenizer.json")));
        var (before, after) = (Validation("first-run"), Validation("next-run"));
        Assert.Equal(before, after, 0.001);
    }

    [Fact]
    public void A_run_that_starts_from_a_model_folder_takes_its_weights_and_its_vocabulary()
    {
        Follow("first-run", null);
        var folder = Directory.CreateDirectory(Path.Combine(root, "model")).FullName;
        var run = new RunFolder(Path.Combine(root, "first-run"));
        using (var model = run.LoadModel(TorchSharp.torch.ScalarType.BFloat16)) EvaWeights.Save(model, Path.Combine(folder, Checkpoint.SingleFile));
        File.Copy(run.Config, Path.Combine(folder, ModelFolder.ConfigFileName));
        File.Copy(run.Tokenizer, Path.Combine(folder, "tokenizer.json"));
        var next = Recipe("next-run") with { Start = folder, Tokenizer = new TokenizerRecipe(From: folder), Stages = [Stage("only") with { Steps = 1, LearningRate = 1e-9, Dropout = 0 }] };

        new TrainingRun(next, "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, null, default);

        Assert.Equal(File.ReadAllText(run.Tokenizer), File.ReadAllText(Path.Combine(root, "next-run", "tokenizer.json")));
        Assert.Equal(Validation("first-run"), Validation("next-run"), 0.001);

        var other = next with { Name = "other-shape", Model = next.Model with { Width = 48 } };
        Assert.Contains("must have its shape", Assert.Throws<RecipeException>(() => new TrainingRun(other, "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, null, default)).Message, StringComparison.Ordinal);
    }

    private double Validation(string run) => (double)JsonNode.Parse(Lines(run).Last(l => l.Contains("validation", StringComparison.Ordinal)))!["validation"]!["wesnoth-en"]!;

    private static CorpusFolder Corpora => new("no data folder: the corpora that come with the program do");
    private static PluginCatalog Plugins => new(typeof(TrainingRun).Assembly);

    private RunState Follow(string name, Action<TrainingProgress>? report, string hash = "hash", CancellationToken stop = default) =>
        new TrainingRun(Recipe(name).Checked(), hash, root, Corpora, Plugins, TimeProvider.System).Follow(null, report, stop);

    private string[] Journal(string name)
    {
        Follow(name, null);
        return Lines(name);
    }

    /// <summary>The journal without what depends on the clock.</summary>
    private string[] Lines(string name) => [.. File.ReadAllLines(Path.Combine(root, name, "journal.jsonl")).Select(line =>
    {
        var entry = JsonNode.Parse(line)!.AsObject();
        entry.Remove("tokensPerSecond");
        entry.Remove("seconds");
        return entry.ToJsonString();
    })];

    private sealed class KilledException : Exception;
}
