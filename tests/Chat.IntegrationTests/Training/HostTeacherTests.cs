using System.Text.Json.Nodes;
using Chat.Domain.Plugins;
using Chat.IntegrationTests.Hosts;
using Chat.Models.Checkpoints;
using Chat.Models.Libtorch;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using TorchSharp;
using static TorchSharp.torch;

namespace Chat.IntegrationTests.Training;

/// <summary>A real model host in this process teaches; what it says is compared with the same teacher without a host.</summary>
[Collection(nameof(Alone))]
public sealed class HostTeacherTests : IDisposable
{
    private static readonly TeacherHostOptions Options = new(HostServer.Key, TimeSpan.FromMinutes(1), Tries: 3, TimeSpan.FromMilliseconds(20));
    private readonly string root = Directory.CreateTempSubdirectory("teacher-").FullName;

    public HostTeacherTests()
    {
        LibtorchLoader.Require();
        set_num_threads(1);
    }

    public void Dispose() => Directory.Delete(root, recursive: true);

    private string Folder => Path.Combine(root, "models", "wise");

    private Task<HostServer> StartAsync(string weights = "exact") =>
        HostServer.StartAsync(("Models:Folder", Path.Combine(root, "models")), ("Models:Weights", weights), ("Models:Rows", "8"), ("Models:Threads", "1"));

    private string At(HostServer host, string model = "wise") => $"{host.Address}{model}";

    [Fact]
    public async Task What_a_host_says_is_what_the_model_says()
    {
        MakeTeacher();
        await using var host = await StartAsync();
        using var model = ModelFolder.Open(Folder).LoadModel(dtype: ScalarType.Float32);
        using var there = new TeacherHost(At(host), Options, TimeProvider.System);
        Assert.Equal(ModelFolder.Hash(Folder), there.Hash);
        var vocabulary = model.Config.VocabularySize;
        Assert.Equal(vocabulary, there.Names.Count);
        var batch = new Batch([.. Enumerable.Range(0, 40).Select(i => new Sample([.. Enumerable.Range(20 + i, 1 + i % 7), 2, 3], [.. Enumerable.Range(40 + i, i % 5), 2]))]);

        foreach (var temperature in new[] { 1, 0.7 })
        {
            var here = new ModelTeacher(new EncoderDecoderScorer(model), temperature);
            using var expected = here.Score(batch);
            using var full = new HostTeacher(there, SignalKind.Full, temperature: temperature).Score(batch);
            var (p, _) = expected.Align(0, batch.LabelCount, empty(0));
            var (found, _) = full.Align(0, batch.LabelCount, empty(0));
            Assert.Equal(p.shape, found.shape);
            Assert.InRange((p - found).abs().max().item<float>(), 0, 1e-3f);
            using var labels = new HostTeacher(there, SignalKind.Sampled, temperature: temperature).Score(batch);
            Assert.Equal(expected.Labels(), labels.Labels(), (a, b) => Math.Abs(a - b) < 1e-3);

            using var best = new HostTeacher(there, SignalKind.TopK, 5, temperature).Score(batch);
            using var own = new TopKTeacher(here, 5, vocabulary).Score(batch);
            var q = randn(batch.LabelCount, vocabulary).log_softmax(-1);
            var ((topHere, qHere), (topThere, qThere)) = (own.Align(0, batch.LabelCount, q), best.Align(0, batch.LabelCount, q));
            Assert.InRange((topHere - topThere).abs().max().item<float>(), 0, 1e-3f);
            Assert.InRange((qHere - qThere).abs().max().item<float>(), 0, 1e-5f);                            // of the same ids
        }
    }

    public static TheoryData<string, string> Distillations { get; } = new()
    {
        { "kd", "{}" },
        { "kd", """{"topK":20}""" },
        { "kd", """{"topK":20,"cache":"words"}""" },
        { "gkd", """{"divergence":"rkl"}""" },
        { "minillm", """{"teacherShare":0,"replies":24,"epochs":2,"textWeight":0}""" },
        { "opd", """{"replies":16}""" },
    };

    [Theory, MemberData(nameof(Distillations))]
    public async Task A_student_learns_from_a_host_as_from_the_model(string objective, string distil)
    {
        MakeTeacher();
        await using var host = await StartAsync();
        var (near, far) = (Follow("near", objective, distil, Folder), Follow("far", objective, distil, At(host)));

        // In this process the teacher computes in the student's bfloat16, at the host in float32. What a student writes itself is another reply as soon as one draw falls on the other side.
        Assert.Equal(6, far.Length);
        var steps = objective == "kd" ? 6 : 1;
        Assert.Equal(near[..steps], far[..steps], (a, b) => Math.Abs(a - b) < 0.02 * Math.Max(1, Math.Abs(a)));
        if (distil.Contains("cache", StringComparison.Ordinal)) Assert.True(new FileInfo(Path.Combine(root, "far-words")).Length > 1000);
    }

    [Fact]
    public async Task A_host_that_dies_stops_training_at_the_last_whole_step_and_another_one_goes_on()
    {
        MakeTeacher();
        var host = await StartAsync();
        var whole = Follow("whole", "gkd", """{"divergence":"rkl"}""", At(host));

        var error = Assert.Throws<TeacherLostException>(() => Follow("cut", "gkd", """{"divergence":"rkl"}""", At(host), step =>
        {
            if (step == 3) Stop(host);
        }));

        Assert.Contains("asked 3 times", error.Message, StringComparison.Ordinal);
        Assert.Equal(3, new RunFolder(Path.Combine(root, "cut")).LoadState()!.Step);
        await using var again = await StartAsync();
        Assert.Equal(whole, Follow("cut", "gkd", """{"divergence":"rkl"}""", At(again)));
    }

    [Fact]
    public async Task What_cannot_teach_is_refused_with_what_to_do()
    {
        MakeTeacher();
        await using (var rounded = await StartAsync("int8"))
            Assert.Contains("Models__Weights=exact", Refused("kd", "{}", At(rounded)), StringComparison.Ordinal);
        await using var host = await StartAsync();

        Assert.Contains("It serves: wise", Refused("kd", "{}", At(host, "nobody")), StringComparison.Ordinal);
        Assert.Contains("names no model", Refused("kd", "{}", At(host, "")), StringComparison.Ordinal);
        Assert.Contains("Set distil.teacherShare to 0, or name", Refused("minillm", """{"textWeight":0}""", At(host)), StringComparison.Ordinal);
        Assert.Contains("only judges what is written. Name", Refused("seqkd", "{}", At(host)), StringComparison.Ordinal);
        Assert.Contains("only judges what is written. Name", Refused("skd", "{}", At(host)), StringComparison.Ordinal);
        Assert.Contains("Set Hosts__Key", Assert.Throws<TeacherLostException>(() => new TeacherHost(At(host), Options with { Key = "wrong" }, TimeProvider.System)).Message, StringComparison.Ordinal);
        Assert.Contains("Start the host again", Assert.Throws<TeacherLostException>(() => new TeacherHost("http://127.0.0.1:9/wise", Options, TimeProvider.System)).Message, StringComparison.Ordinal);
        Assert.Contains("are more than the", Refused("kd", "{}", At(host), stage => stage with { MaxContext = 4000, BatchTokens = 5000 }), StringComparison.Ordinal);

        // A merge that is another one is another token, named with what it is on both sides.
        var message = Refused("kd", "{}", At(host), tokenizer: new(300, new Dictionary<string, long> { ["small-talk-zh"] = 20_000 }));
        Assert.Matches("token 2[0-9]{2} of 'http.*' is another than the student's, '.+' there and '.+' here", message);
        Assert.Contains("is none of the teacher's", Refused("kd", """{"bridge":"tokens"}""", At(host), tokenizer: new(300, new Dictionary<string, long> { ["small-talk-zh"] = 20_000 })), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_teacher_that_is_served_no_more_is_not_waited_for()
    {
        MakeTeacher();
        await using var host = await StartAsync();
        using var there = new TeacherHost(At(host), Options, TimeProvider.System);
        Assert.Single(there.Score([new([20, 3], [30, 2])], SignalKind.Sampled, 0, 1));
        await host.Client.UnloadAsync(new() { Model = "wise" }, HostServer.KeyHeader);

        var error = Assert.Throws<TeacherLostException>(() => there.Score([new([20, 3], [30, 2])], SignalKind.Sampled, 0, 1));

        Assert.Contains("serve that model there again", error.Message, StringComparison.Ordinal);
    }

    /// <summary>From a step of training, which knows no tasks.</summary>
    private static void Stop(HostServer host) => Task.Run(async () => await host.DisposeAsync()).GetAwaiter().GetResult();

    private string Refused(string objective, string distil, string teacher, Func<StageRecipe, StageRecipe>? change = null, TokenizerRecipe? tokenizer = null) =>
        Assert.Throws<RecipeException>(() => Follow($"refused-{Guid.NewGuid():n}", objective, distil, teacher, null, change, tokenizer)).Message;

    /// <returns>The loss of each step.</returns>
    private double[] Follow(string name, string objective, string distil, string teacher, Action<long>? after = null, Func<StageRecipe, StageRecipe>? change = null, TokenizerRecipe? tokenizer = null)
    {
        var json = JsonNode.Parse(distil)!.AsObject();
        json["teacher"] = teacher;
        if (json["cache"] is { } cache) json["cache"] = $"{name}-{cache}";
        var stage = Stage with { Method = objective, Steps = 6, Dropout = 0, Distil = System.Text.Json.JsonSerializer.Deserialize<DistilRecipe>(json, RecipeFile.Json) };
        var recipe = Recipe(name, change?.Invoke(stage) ?? stage) with { Tokenizer = tokenizer ?? new(From: Folder) };
        new TrainingRun(recipe.Checked(), "hash", root, new("none"), new(typeof(TrainingRun).Assembly), TimeProvider.System, Options)
            .Follow(null, progress => { if (progress.Validation is null) after?.Invoke(progress.Step); }, default);
        return [.. File.ReadAllLines(Path.Combine(root, name, "journal.jsonl")).Select(line => JsonNode.Parse(line)!).Where(line => line["loss"] is not null).Select(line => (double)line["loss"]!)];
    }

    private static StageRecipe Stage { get; } = new("only", "token-mean", 12, 600, 0.003, [new MixtureRecipe("small-talk-en", "answer", 1)], 40, 24, Warmup: 3, ValidateEvery: 100, SaveEvery: 100);

    private static TrainingRecipe Recipe(string name, StageRecipe stage) =>
        new(name, 5, new TokenizerRecipe(300, new Dictionary<string, long> { ["small-talk-en"] = 20_000 }), new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16), "^Liberty/", [], [stage]);

    /// <summary>A model folder of a short run.</summary>
    private void MakeTeacher()
    {
        var run = new TrainingRun(Recipe("school", Stage).Checked(), "hash", root, new CorpusFolder("none"), new PluginCatalog(typeof(TrainingRun).Assembly), TimeProvider.System);
        run.Follow(null, null, default);
        Directory.CreateDirectory(Folder);
        using (var model = run.Folder.LoadModel(ScalarType.BFloat16)) EvaWeights.Save(model, Path.Combine(Folder, Checkpoint.SingleFile), dtype: ScalarType.BFloat16);
        File.Copy(run.Folder.Config, Path.Combine(Folder, ModelFolder.ConfigFileName));
        File.Copy(run.Folder.Tokenizer, Path.Combine(Folder, "tokenizer.json"));
    }
}
