using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using TorchSharp;
using static Chat.Tests.Training.TinyRun;

namespace Chat.Tests.Training;

/// <summary>What goes wrong while a run is made: each time a sentence that says what to do, and nothing half-written that later looks whole.</summary>
[Collection(nameof(SerialTorch))]
public sealed class FaultTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("faults-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Theory]
    [InlineData("state.safetensors", "truncated"), InlineData("state.safetensors", "flipped"), InlineData("state.safetensors", "gone"), InlineData("state.safetensors", "empty")]
    [InlineData("state.json", "truncated"), InlineData("state.json", "flipped"), InlineData("state.json", "gone"), InlineData("state.json", "empty")]
    [InlineData("sums.txt", "truncated"), InlineData("sums.txt", "flipped")]
    public void A_damaged_checkpoint_is_said_and_the_one_before_taken(string file, string damage)
    {
        using var stop = new CancellationTokenSource();
        Follow(Recipe("run"), root, update => { if (update.Step == 7) stop.Cancel(); }, stop: stop.Token);
        Damage(Path.Combine(root, "run", "checkpoints", "00000007", file), damage);
        List<string> said = [];

        Follow(Recipe("run"), root, say: said.Add);

        Assert.Single(said, message => message.Contains("00000007 is damaged", StringComparison.Ordinal) && message.EndsWith("00000006.", StringComparison.Ordinal));
        Assert.Equal(Unbroken, Lines(root, "run"));
    }

    [Fact]
    public void A_checkpoint_from_before_there_were_sums_is_taken()
    {
        using var stop = new CancellationTokenSource();
        Follow(Recipe("run"), root, update => { if (update.Step == 7) stop.Cancel(); }, stop: stop.Token);
        File.Delete(Path.Combine(root, "run", "checkpoints", "00000007", "sums.txt"));
        List<string> said = [];

        Follow(Recipe("run"), root, say: said.Add);

        Assert.DoesNotContain(said, message => message.Contains("damaged", StringComparison.Ordinal));
        Assert.Equal(Unbroken, Lines(root, "run"));
    }

    [Fact]
    public void Where_every_checkpoint_is_damaged_nothing_is_begun_anew_unasked()
    {
        Follow(Recipe("run"), root);
        var before = Lines(root, "run");
        foreach (var checkpoint in Directory.GetDirectories(Path.Combine(root, "run", "checkpoints"))) Damage(Path.Combine(checkpoint, "state.safetensors"), "truncated");

        var error = Assert.Throws<InvalidDataException>(() => Follow(Recipe("run"), root));

        Assert.Contains("remove the folder to begin anew", error.Message, StringComparison.Ordinal);
        Assert.Equal(before, Lines(root, "run"));
    }

    [Fact]
    public void A_journal_torn_right_behind_a_brace_is_read_without_that_line()
    {
        var line = new JournalEntry(2, "only", 1, Parts: new Dictionary<string, double> { ["reward"] = 1 }).ToLine();
        var folder = new RunFolder(Path.Combine(root, "run"));
        Directory.CreateDirectory(folder.Root);
        File.WriteAllText(folder.Journal, new JournalEntry(1, "only", 2).ToLine() + "\n" + line[..^1]);
        Assert.EndsWith("}", line[..^1], StringComparison.Ordinal);

        Assert.Equal([1], JournalEntry.Read(folder.Journal).Select(entry => entry.Step));
        folder.CutJournal(5);
        Assert.Single(File.ReadAllLines(folder.Journal));
    }

    [Fact]
    public void A_second_process_in_the_same_run_is_refused_and_disturbs_nothing()
    {
        var refused = 0;

        Follow(Recipe("run"), root, update =>
        {
            if (update.Step != 4 || update.Validation is not null) return;
            var half = Directory.CreateDirectory(Path.Combine(root, "run", "checkpoints", "00000099.part")).FullName;
            var error = Assert.Throws<RunHeldException>(() => Follow(Recipe("run"), root));
            Assert.Contains("Another process trains in the run folder", error.Message, StringComparison.Ordinal);
            Assert.True(Directory.Exists(half));
            refused++;
        });

        Assert.Equal(2, refused);                                               // one each stage
        Assert.Equal(Unbroken, Lines(root, "run"));
    }

    [Fact]
    public void Who_learns_from_a_run_leaves_what_it_is_writing()
    {
        Follow(Recipe("teacher"), root);
        var half = Directory.CreateDirectory(Path.Combine(root, "teacher", "checkpoints", "00000099.part")).FullName;

        Follow(Distilled("run", "kd", """{"teacher":"teacher"}"""), root);

        Assert.True(Directory.Exists(half));
    }

    [Theory]
    [InlineData("/sys/runs"), InlineData("/dev/null/runs")]               // where not even root may make a folder
    public void A_folder_that_cannot_be_written_to_names_the_option(string runs) =>
        Assert.Contains("--runs", Assert.Throws<IOException>(() => Follow(Recipe("run"), runs)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("token-mean", null), InlineData("sample-mean", null)]
    [InlineData("kd", """{"teacher":"teacher"}"""), InlineData("minillm", """{"teacher":"teacher","replies":24,"textWeight":0}"""), InlineData("distillm", """{"teacher":"teacher","textWeight":0}""")]
    public void A_run_that_diverges_says_what_to_do_and_keeps_numbers_only(string method, string? distil)
    {
        Follow(Recipe("teacher"), root);
        var recipe = Distilled("run", method, distil ?? "{}");
        recipe = recipe with { Stages = [recipe.Stages[0] with { LearningRate = 1e37, Warmup = 0, SaveEvery = 1, Distil = distil is null ? null : recipe.Stages[0].Distil }] };

        var error = Assert.Throws<DivergedException>(() => Follow(recipe, root));

        Assert.Contains("training diverged", error.Message, StringComparison.Ordinal);
        Assert.Contains("Lower the stage's learningRate", error.Message, StringComparison.Ordinal);
        using var tensors = Checkpoint.OpenFile(Path.Combine(new RunFolder(Path.Combine(root, "run")).Newest!, "state.safetensors"));
        foreach (var entry in tensors.Entries) tensors.CheckFinite(entry);
    }

    [Fact]
    public void A_held_out_loss_or_weights_that_are_no_numbers_end_the_run_before_it_is_saved()
    {
        using var model = new EncoderDecoder(TrainingRun.Shape(new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16), 40, 0), 1);
        using var optimiser = new MasterAdamW(model.named_parameters(), 0);
        var folder = new RunFolder(Path.Combine(root, "run"));
        using var held = folder.Lock();
        string Said(double loss) => Assert.Throws<DivergedException>(() => new Trainer(model, folder, TimeProvider.System).Train(
            Stage("only") with { ValidateEvery = 1, SaveEvery = 1, Dropout = 0 }, new NothingToLearn(), optimiser, 1, new("only", 0, 0, 0, 0, 0, null, null, 0, "hash"),
            () => new(new HeldOutLosses(new Dictionary<string, double> { ["corpus"] = loss }, new Dictionary<string, double>())), default)).Message;

        Assert.Contains("held-out loss is no number", Said(double.NaN), StringComparison.Ordinal);
        optimiser.State.Last().Value.fill_(float.PositiveInfinity);
        Assert.Contains("Weights became NaN or infinite", Said(1), StringComparison.Ordinal);
        Assert.Null(folder.Newest);
    }

    private sealed class NothingToLearn : IStageWork
    {
        public StageCursor Cursor => new();

        public UpdateReport Learn(double progress) => new(1, 1);
    }

    [Fact]
    public void A_distillation_without_a_held_out_corpus_is_made_to_its_end()
    {
        Follow(Recipe("teacher"), root);

        Assert.Null(Follow(Distilled("run", "distillm", """{"teacher":"teacher","textWeight":0}""") with { Validation = [] }, root).Stage);
    }

    [Theory]
    [InlineData("kd", """{"cache":"words"}"""), InlineData("kd", "{}"), InlineData("kd", """{"topK":20}"""), InlineData("dpkd", """{"textWeight":0}"""), InlineData("gkd", """{"share":1}""")]
    [InlineData("tvd", "{}"), InlineData("seqkd", "{}"), InlineData("skd", "{}"), InlineData("distillm2", "{}"), InlineData("minillm", """{"replies":24,"textWeight":0}""")]
    public void A_teacher_that_says_NaN_is_blamed_and_not_kept(string objective, string distil)
    {
        Follow(Recipe("teacher"), root);
        var folder = Directory.CreateDirectory(Path.Combine(root, "broken")).FullName;
        var run = new RunFolder(Path.Combine(root, "teacher"));
        using (var model = run.LoadModel(torch.ScalarType.BFloat16))
        {
            using var gradients = torch.no_grad();
            foreach (var (_, gain) in model.named_parameters().Where(p => p.name.Contains("layer_norm", StringComparison.Ordinal))) gain.fill_(1e38);        // finite; their products are not
            EvaWeights.Save(model, Path.Combine(folder, Checkpoint.SingleFile), dtype: torch.ScalarType.BFloat16);
        }
        File.Copy(run.Config, Path.Combine(folder, ModelFolder.ConfigFileName));
        File.Copy(run.Tokenizer, Path.Combine(folder, "tokenizer.json"));
        var recipe = Distilled("run", objective, distil);
        recipe = recipe with { Stages = [recipe.Stages[0] with { Distil = recipe.Stages[0].Distil! with { Teacher = folder } }] };

        var error = Assert.ThrowsAny<Exception>(() => Follow(recipe, root));

        Assert.Contains("teacher", error.Message, StringComparison.Ordinal);
        Assert.Contains("distil.teacher", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("learningRate", error.Message, StringComparison.Ordinal);
        if (File.Exists(Path.Combine(root, "words"))) Assert.InRange(new FileInfo(Path.Combine(root, "words")).Length, 1, 400);          // its header alone
    }

    [Fact]
    public void A_teacher_that_vanishes_is_missed_at_the_next_start_and_no_step_is_lost()
    {
        Follow(Recipe("teacher"), root);
        var recipe = Distilled("run", "kd", """{"teacher":"teacher"}""");
        Follow(recipe with { Name = "whole" }, root);
        var (teacher, away) = (Path.Combine(root, "teacher"), Path.Combine(root, "away"));
        using var stop = new CancellationTokenSource();

        var stopped = Follow(recipe, root, update =>
        {
            if (update.Step == 2) Directory.Move(teacher, away);
            if (update.Step == 5) stop.Cancel();
        }, stop: stop.Token);

        Assert.Equal(5, stopped.Step);
        Assert.Contains("Train it first, or name a folder", Assert.Throws<RecipeException>(() => Follow(recipe, root)).Message, StringComparison.Ordinal);
        Directory.Move(away, teacher);
        Follow(recipe, root);
        Assert.Equal(Lines(root, "whole"), Lines(root, "run"));
    }

    [Fact]
    public void A_damaged_cache_is_said_and_the_run_goes_on_without_it()
    {
        Follow(Recipe("teacher"), root);
        TrainingRecipe Learner(string name) => Distilled(name, "tvd", """{"teacher":"teacher","cache":"words"}""");
        Follow(Learner("whole"), root);
        var bytes = File.ReadAllBytes(Path.Combine(root, "words"));
        const int magic = 8, key = 16, number = 4, sum = 8;
        for (int at = magic + number + BitConverter.ToInt32(bytes, magic), length; at < bytes.Length; at += key + number + length + sum)
        {
            length = BitConverter.ToInt32(bytes, at + key);
            if (at + key + number + length + sum < bytes.Length) bytes[at + key + number] ^= 1;                // a damaged last one would be cut off
        }
        File.WriteAllBytes(Path.Combine(root, "words"), bytes);

        var error = Assert.Throws<InvalidDataException>(() => Follow(Learner("run"), root));

        Assert.Contains("remove it, and the teacher is asked anew", error.Message, StringComparison.Ordinal);
        File.Delete(Path.Combine(root, "words"));
        Follow(Learner("run"), root);
        Assert.Equal(Lines(root, "whole"), Lines(root, "run"));
    }

    [Fact]
    public void Two_runs_do_not_write_to_one_cache()
    {
        var path = Path.Combine(root, "words");
        var header = new TeacherCacheHeader("teacher", "tokenizer", 300, SignalKind.Full, 300);
        using var first = new TeacherCache(path, header, null);

        Assert.Contains("another run", Assert.Throws<IOException>(() => new TeacherCache(path, header, null)).Message, StringComparison.Ordinal);
    }

    private static void Damage(string path, string how)
    {
        var bytes = File.ReadAllBytes(path);
        switch (how)
        {
            case "truncated": File.WriteAllBytes(path, bytes[..(bytes.Length / 2)]); break;
            case "flipped":
                bytes[bytes.Length / 2] ^= 1;
                File.WriteAllBytes(path, bytes);
                break;
            case "empty": File.WriteAllBytes(path, []); break;
            default: File.Delete(path); break;
        }
    }
}
