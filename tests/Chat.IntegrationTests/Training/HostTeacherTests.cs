using System.Text.Json.Nodes;
using Chat.Domain.Plugins;
using Chat.IntegrationTests.Hosts;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Libtorch;
using Chat.Models.Tokenizers;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Grpc.Core;
using TorchSharp;
using static TorchSharp.torch;
using TokenTable = Chat.Models.Decoding.TokenTable;

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
        { "seqkd", "{}" },
        { "tvd", "{}" },
        { "distillm2", """{"replies":16}""" },
    };

    [Theory, MemberData(nameof(Distillations))]
    public async Task A_student_learns_from_a_host_as_from_the_model(string objective, string distil)
    {
        MakeTeacher();
        await using var host = await StartAsync();
        var (near, far) = (Follow("near", objective, distil, Folder), Follow("far", objective, distil, At(host)));

        // In this process the teacher computes in the student's bfloat16, at the host in float32. What a student writes itself is another reply as soon as one draw falls on the other side.
        Assert.Equal(6, far.Length);
        // What the teacher writes is the same to the last token: both run the same kernels on the same weights.
        var steps = objective is "kd" or "seqkd" or "tvd" ? 6 : 1;
        Assert.Equal(near[..steps], far[..steps], (a, b) => Math.Abs(a - b) < 0.02 * Math.Max(1, Math.Abs(a)));
        if (distil.Contains("cache", StringComparison.Ordinal)) Assert.True(new FileInfo(Path.Combine(root, "far-words")).Length > 1000);
    }

    [Fact]
    public async Task What_a_host_writes_is_what_the_model_writes_and_follows_its_law()
    {
        MakeTeacher();
        await using var host = await StartAsync();
        using var there = new TeacherHost(At(host), Options, TimeProvider.System);
        Assert.True(there.Writes);
        var folder = ModelFolder.Open(Folder);
        int[][] contexts = [.. Enumerable.Range(0, 40).Select(i => (int[])[.. Enumerable.Range(20 + i, 1 + i % 7), 2, 3])];
        foreach (var temperature in new[] { 1, 0.8 })
        {
            var expected = new RolloutWriter(TokenTable.From(folder.Tokenizer, folder.Config.VocabularySize), 8).Write(new TorchRunner(folder.LoadModel(dtype: ScalarType.Float32), 8), contexts, 12, temperature, 5, 100);
            var found = there.Write(contexts, 12, temperature, 5, 100);

            // Torch's arithmetic is not the kernels': now and then a draw falls on the other side.
            Assert.InRange(expected.Zip(found).Count(pair => pair.First.Labels.SequenceEqual(pair.Second.Labels)), 36, 40);
            Assert.All(found, reply => Assert.True(reply.Labels.Length == 12 || reply.Labels[^1] == 2));
            Assert.Equal(found.Select(r => string.Join(' ', r.Labels)), there.Write(contexts, 12, temperature, 5, 100).Select(r => string.Join(' ', r.Labels)));
            Assert.Equal(found[7].Labels, there.Write([contexts[7]], 12, temperature, 5, 107)[0].Labels);
        }

        // Of 2,000 first tokens as many fall on each as its probability says, in χ² with the rest in one cell.
        using var rows = new HostTeacher(there, SignalKind.Full).Score(new([new(contexts[0], [2])]));
        var (p, _) = rows.Align(0, 1, empty(0));
        double[] law = [.. p.exp().to_type(ScalarType.Float64).data<double>()];
        var drawn = there.Write([.. Enumerable.Repeat(contexts[0], 2000)], 1, 1, 9, 0).GroupBy(reply => reply.Labels[0]).ToDictionary(group => group.Key, group => group.Count());
        var cells = law.Index().Where(v => v.Item * 2000 >= 5).Select(v => (Expected: v.Item * 2000, Found: (double)drawn.GetValueOrDefault(v.Index))).ToList();
        cells.Add((2000 - cells.Sum(c => c.Expected), 2000 - cells.Sum(c => c.Found)));
        var (square, freedom) = (cells.Sum(c => (c.Found - c.Expected) * (c.Found - c.Expected) / c.Expected), cells.Count - 1);
        Assert.InRange(square, 0, freedom + 4 * Math.Sqrt(2.0 * freedom));
    }

    [Fact]
    public async Task A_reply_that_breaks_off_is_asked_for_again_under_its_own_seed()
    {
        await using var host = await FakeHost.StartAsync();
        using var there = new TeacherHost($"{host.Address}m", Options, TimeProvider.System);
        var broken = 0;
        host.Before = (place, _) => place == 3 && Interlocked.Increment(ref broken) == 1 ? throw new RpcException(new(StatusCode.Unavailable, "gone")) : Task.CompletedTask;

        var replies = there.Write([[20, 3], [21, 3], [22, 3]], 8, 1, 5, 40);

        Assert.All(replies, reply => Assert.Equal([10, 11, 12, 13, 14, 15], reply.Labels));
        Assert.Equal(4, host.Draws.Count);
        Assert.Equal(new[] { 40, 41, 42 }.Select(number => RolloutWriter.SeedOf(5, number)).Order(), host.Draws.Select(draw => draw.Seed).Distinct().Order());
        Assert.All(host.Draws, draw => Assert.Equal((8, 1.0, host.Hash), (draw.MaxTokens, draw.Temperature, draw.ModelHash)));

        host.Before = (place, _) => place == 3 ? throw new RpcException(new(StatusCode.Unavailable, "gone")) : Task.CompletedTask;
        Assert.Contains("asked 3 times", Assert.Throws<TeacherLostException>(() => there.Write([[20, 3]], 8, 1, 5, 40)).Message, StringComparison.Ordinal);
        host.Before = (_, _) => Task.CompletedTask;
        Assert.Contains("no reply of at most 4", Assert.Throws<TeacherLostException>(() => there.Write([[20, 3]], 4, 1, 5, 40)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_host_that_is_older_than_writing_is_told_before_anything_is_trained()
    {
        MakeTeacher();
        await using var host = await FakeHost.StartAsync();
        var folder = ModelFolder.Open(Folder);
        (host.IsOld, host.Names) = (true, [.. VocabularyNames.Of(folder.Tokenizer, folder.Config.VocabularySize)]);

        Assert.Contains("too old to", Refused("seqkd", "{}", $"{host.Address}m"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_later_stages_host_that_is_down_or_serves_another_vocabulary_shows_at_the_start()
    {
        MakeTeacher();
        StageRecipe Taught(string teacher) => Stage with { Name = "taught", Method = "kd", Steps = 6, Distil = new(Teacher: teacher) };
        TrainingRecipe Late(string name, string teacher) => Recipe(name, Stage) with { Tokenizer = new(From: Folder), Stages = [Stage, Taught(teacher)] };

        Assert.Contains("Start the host, or name another teacher", Assert.Throws<TeacherLostException>(() => Train(Late("down", "http://127.0.0.1:9/wise"))).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Path.Combine(root, "down", "journal.jsonl")));

        await using var stranger = await FakeHost.StartAsync();
        Assert.Contains("is another than the student's", Assert.Throws<RecipeException>(() => Train(Late("stranger", $"{stranger.Address}m"))).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Path.Combine(root, "stranger", "journal.jsonl")));
    }

    [Fact]
    public async Task A_stage_that_is_done_needs_its_host_no_more()
    {
        MakeTeacher();
        var host = await StartAsync();
        var recipe = Recipe("run", Stage) with { Tokenizer = new(From: Folder), Stages = [Stage with { Name = "taught", Method = "kd", Steps = 6, Distil = new(Teacher: At(host)) }, Stage] };
        using var stop = new CancellationTokenSource();
        Assert.Equal("only", Train(recipe, progress => { if (progress.Step == 6) stop.Cancel(); }, stop.Token).Stage);
        await host.DisposeAsync();

        Assert.Null(Train(recipe).Stage);
        Assert.Null(Train(recipe).Stage);
    }

    [Theory]
    [InlineData("gkd", """{"divergence":"rkl"}""")]
    [InlineData("seqkd", "{}")]
    [InlineData("distillm2", """{"replies":6}""")]
    public async Task A_host_that_dies_stops_training_at_the_last_whole_step_and_another_one_goes_on(string objective, string distil)
    {
        MakeTeacher();
        var host = await StartAsync();
        var whole = Follow("whole", objective, distil, At(host));

        var error = Assert.Throws<TeacherLostException>(() => Follow("cut", objective, distil, At(host), step =>
        {
            if (step == 3) Stop(host);
        }));

        Assert.Contains("asked 3 times", error.Message, StringComparison.Ordinal);
        Assert.InRange(new RunFolder(Path.Combine(root, "cut")).LoadState()!.Step, 3, objective == "seqkd" ? 5 : 3);         // what was written may last for a step more
        await using var again = await StartAsync();
        Assert.Equal(whole, Follow("cut", objective, distil, At(again)));
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
        Assert.Contains("writes whole replies. Name", Refused("skd", "{}", At(host)), StringComparison.Ordinal);
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
        Train(recipe, progress => { if (progress.Validation is null) after?.Invoke(progress.Step); });
        return [.. File.ReadAllLines(Path.Combine(root, name, "journal.jsonl")).Select(line => JsonNode.Parse(line)!).Where(line => line["loss"] is not null).Select(line => (double)line["loss"]!)];
    }

    private RunState Train(TrainingRecipe recipe, Action<TrainingProgress>? report = null, CancellationToken stop = default) =>
        new TrainingRun(recipe.Checked(), "hash", root, new("none"), new(typeof(TrainingRun).Assembly), TimeProvider.System, Options).Follow(null, report, stop);

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
