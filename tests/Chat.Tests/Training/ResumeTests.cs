using System.Text.Json.Nodes;
using Chat.Models.Checkpoints;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using static Chat.Tests.Training.TinyRun;

namespace Chat.Tests.Training;

[Collection(nameof(SerialTorch))]
public sealed class ResumeTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("resume-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Theory]
    [InlineData(2), InlineData(4), InlineData(5), InlineData(7), InlineData(10)]
    public void A_run_killed_at_any_step_goes_on_bit_for_bit(int killedAfter)
    {
        var whole = Journal("whole");
        Assert.Throws<KilledException>(() => Follow("killed", update => { if (update.Validation is null && update.Stage.Name == (killedAfter <= 9 ? "first" : "second") && update.Step == (killedAfter <= 9 ? killedAfter : killedAfter - 9)) throw new KilledException(); }));

        Follow("killed", null);

        Assert.Equal(whole, Lines("killed"));
    }

    private const string MiniLlm = """{"teacher":"teacher","replies":24,"epochs":2,"text":[{"corpus":"small-talk-zh","as":"continuation","weight":1}]}""";

    /// <summary>Objectives that keep replies, write them, mix models, adapt, and read plain text beside them.</summary>
    public static TheoryData<string, string, bool> Distillations { get; } = new()
    {
        { "minillm", MiniLlm, false },
        { "minillm", MiniLlm, true },
        { "distillm", """{"teacher":"teacher","replay":10,"textWeight":0}""", false },
        { "distillm2", """{"teacher":"teacher","replies":16}""", false },
        { "gkd", """{"teacher":"teacher"}""", true },
        { "kd", """{"teacher":"teacher","topK":20}""", false },
        { "kd", """{"teacher":"teacher"}""", true },
        { "tvd", """{"teacher":"teacher","cache":"words"}""", true },
    };

    [Theory, MemberData(nameof(Distillations))]
    public void A_distillation_killed_at_any_step_goes_on_bit_for_bit(string objective, string distil, bool pack)
    {
        Follow("teacher", null);
        void Run(string name, Action<TrainingProgress>? report)
        {
            var recipe = Distilled(name, objective, distil);
            TinyRun.Follow(recipe with { Stages = [recipe.Stages[0] with { Pack = pack }] }, root, report);
        }
        Run("whole", null);
        foreach (var killedAfter in new[] { 1, 4, 7 })
            Assert.Throws<KilledException>(() => Run("killed", update => { if (update.Validation is null && update.Step == killedAfter) throw new KilledException(); }));

        Run("killed", null);

        Assert.Equal(Lines("whole"), Lines("killed"));
        Assert.All(Lines("whole").Select(l => JsonNode.Parse(l)!).Where(l => l["loss"] is not null), l => Assert.True(double.IsFinite((double)l["loss"]!)));
    }

    /// <summary>On its own replies, which are not all text at first, and on the teacher's.</summary>
    [Theory]
    [InlineData("gkd", """{"teacher":"teacher","bridge":"spans","share":0.8}""")]
    [InlineData("tvd", """{"teacher":"teacher","bridge":"uld","replies":16}""")]
    public void A_student_of_another_vocabulary_goes_on_bit_for_bit(string objective, string distil)
    {
        Follow("teacher", null);
        void Run(string name, long killedAfter = 0) => TinyRun.Follow(Distilled(name, objective, distil) with { Tokenizer = new(340, new Dictionary<string, long> { ["wesnoth-en"] = 20_000 }) }, root,
            update => { if (update.Validation is null && update.Step == killedAfter) throw new KilledException(); });
        Run("whole");
        foreach (var killedAfter in new[] { 3, 6 }) Assert.Throws<KilledException>(() => Run("killed", killedAfter));

        Run("killed");

        Assert.Equal(Lines("whole"), Lines("killed"));
        Assert.All(Lines("whole").Select(l => JsonNode.Parse(l)!).Where(l => l["loss"] is not null), l => Assert.InRange((double)l["loss"]!, 1e-6, 100));
    }

    [Fact]
    public void A_teacher_that_is_exchanged_while_its_student_is_stopped_is_refused_and_goes_on_when_it_is_back()
    {
        Follow("teacher", null);
        void Run(string name, long killedAfter = 0) => TinyRun.Follow(Distilled(name, "kd", """{"teacher":"teacher","cache":"words"}"""), root, update => { if (update.Validation is null && update.Step == killedAfter) throw new KilledException(); });
        Run("whole");
        File.Delete(Path.Combine(root, "words"));
        Assert.Throws<KilledException>(() => Run("killed", 5));
        Assert.Throws<KilledException>(() => Run("begun", 1));                                   // before its first checkpoint
        Assert.Throws<KilledException>(() => Run("old", 5));
        Directory.Move(Path.Combine(root, "teacher"), Path.Combine(root, "away"));
        TinyRun.Follow(Recipe("teacher") with { Seed = 6 }, root);
        File.Move(Path.Combine(root, "words"), Path.Combine(root, "words-away"));

        var error = Assert.Throws<RecipeException>(() => Run("killed"));

        Assert.Contains("than when stage 'only' began", error.Message, StringComparison.Ordinal);
        Assert.Contains("Put those back", error.Message, StringComparison.Ordinal);
        Run("begun");
        Change("old", state => Assert.True(state["cursor"]!.AsObject().Remove("teacher")));       // as an older version wrote it
        Run("old");
        File.Delete(Path.Combine(root, "words"));
        Directory.Delete(Path.Combine(root, "teacher"), recursive: true);
        Directory.Move(Path.Combine(root, "away"), Path.Combine(root, "teacher"));
        Run("killed");
        Assert.Equal(Lines("whole"), Lines("killed"));
        Assert.NotEqual(Lines("whole"), Lines("begun"));
    }

    [Fact]
    public void A_run_killed_between_two_stages_asks_the_first_ones_teacher_no_more()
    {
        Follow("teacher", null);
        var recipe = Distilled("run", "kd", """{"teacher":"teacher"}""");
        recipe = recipe with { Stages = [recipe.Stages[0] with { Name = "first" }, Stage("second") with { Steps = 4 }] };
        TinyRun.Follow(recipe with { Name = "whole" }, root);
        using var stop = new CancellationTokenSource();
        TinyRun.Follow(recipe, root, update => { if (update.Step == 9) stop.Cancel(); }, stop: stop.Token);
        Change("run", state =>
        {
            Assert.Equal("second", (string)state["stage"]!);
            (state["stage"], state["step"], state["cursor"]) = ("first", 9, new JsonObject { ["teacher"] = "another one" });
        });

        Assert.Null(TinyRun.Follow(recipe, root).Stage);

        Assert.Equal(Lines("whole"), Lines("run"));
    }

    [Fact]
    public void A_distillation_without_its_teacher_says_what_to_do()
    {
        var recipe = Recipe("orphan") with { Stages = [Stage("only") with { Method = "kd", Distil = new(Teacher: "nobody") }] };

        var error = Assert.Throws<RecipeException>(() => TinyRun.Follow(recipe, root));

        Assert.Contains("neither a run with a checkpoint", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_teacher_of_another_vocabulary_is_refused()
    {
        Follow("teacher", null);
        var recipe = Recipe("stranger") with { Tokenizer = new(300, new Dictionary<string, long> { ["small-talk-zh"] = 20_000 }), Stages = [Stage("only") with { Method = "kd", Distil = new(Teacher: "teacher") }] };

        var error = Assert.Throws<RecipeException>(() => TinyRun.Follow(recipe, root));

        Assert.Contains("another than the student's", error.Message, StringComparison.Ordinal);

        // Of a later stage too before the first one is trained.
        var late = recipe with { Name = "late", Stages = [Stage("first"), .. recipe.Stages] };
        Assert.Contains("another than the student's", Assert.Throws<RecipeException>(() => TinyRun.Follow(late, root)).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Path.Combine(root, "late", "journal.jsonl")));
        var bridged = late with { Name = "bridged", Stages = [Stage("first"), Stage("second") with { Method = "kd", Distil = new(Teacher: "teacher", Bridge: "tokens") }] };
        Assert.Contains("is none of the teacher's", Assert.Throws<RecipeException>(() => TinyRun.Follow(bridged, root)).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Path.Combine(root, "bridged", "journal.jsonl")));
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

        TinyRun.Follow(next, root);

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

        TinyRun.Follow(next, root);

        Assert.Equal(File.ReadAllText(run.Tokenizer), File.ReadAllText(Path.Combine(root, "next-run", "tokenizer.json")));
        Assert.Equal(Validation("first-run"), Validation("next-run"), 0.001);

        var other = next with { Name = "other-shape", Model = next.Model with { Width = 48 } };
        Assert.Contains("must have its shape", Assert.Throws<RecipeException>(() => TinyRun.Follow(other, root)).Message, StringComparison.Ordinal);
    }

    /// <summary>Changes what the newest checkpoint says of the run.</summary>
    private void Change(string name, Action<JsonNode> change)
    {
        var checkpoint = new RunFolder(Path.Combine(root, name)).Newest!;
        var state = JsonNode.Parse(File.ReadAllText(Path.Combine(checkpoint, "state.json")))!;
        change(state);
        File.WriteAllText(Path.Combine(checkpoint, "state.json"), state.ToJsonString());
        File.Delete(Path.Combine(checkpoint, "sums.txt"));
    }

    private double Validation(string run) => (double)JsonNode.Parse(Lines(run).Last(l => l.Contains("validation", StringComparison.Ordinal)))!["validation"]!["wesnoth-en"]!;

    private RunState Follow(string name, Action<TrainingProgress>? report, string hash = "hash", CancellationToken stop = default) => TinyRun.Follow(Recipe(name), root, report, hash: hash, stop: stop);

    private string[] Journal(string name)
    {
        Follow(name, null);
        return Lines(name);
    }

    private string[] Lines(string name) => TinyRun.Lines(root, name);

    private sealed class KilledException : Exception;
}
