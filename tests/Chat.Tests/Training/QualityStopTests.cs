using System.Text.Json;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using static TorchSharp.torch;

namespace Chat.Tests.Training;

[Collection(nameof(SerialTorch))]
public sealed class QualityStopTests : IDisposable
{
    private static readonly SampleLimits Limits = new(40, 24);
    private static readonly CorpusFolder Corpora = new("no data folder: the corpora that come with the program do");
    private readonly string root = Directory.CreateTempSubdirectory("quality-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Fact]
    public void A_better_Rouge_L_is_one_that_rises_by_more_than_the_least_difference()
    {
        ReplyQuality? quality = null;
        var since = new List<int>();
        foreach (var (step, rouge) in new[] { 0.10, 0.12, 0.125, 0.131, 0.12, 0.13 }.Index())
        {
            quality = ReplyQuality.After(quality, new(rouge, 0.9, 10), step, 0.01, null);
            since.Add(quality.Since);
        }

        Assert.Equal([0, 0, 1, 0, 1, 2], since);
        Assert.Equal((3, 0.131, 0.13), (quality!.BestStep, quality.Best.RougeL, quality.Last.RougeL));
        Assert.Null(quality.Ending(new(Patience: 3)));
        Assert.Null(quality.Ending(new(Patience: 0)));
        Assert.Contains("for 2 validations. Best was Rouge-L 0.1310 at step 3, kept in best/00000003", quality.Ending(new(Patience: 2)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(3, 0.9, 0.1, true, "words a reply went from 10 to 3; divergence from the teacher went from 2 to 0.5")]
    [InlineData(25, 0.9, 0.1, true, "words a reply went from 10 to 25")]
    [InlineData(10, 0.3, 0.1, true, "Dist-4 went from 0.9 to 0.3")]
    [InlineData(6, 0.5, 0.1, true, null)]                    // within a factor of two
    [InlineData(3, 0.9, 0.1, false, null)]                   // what is learnt from did not collapse
    [InlineData(3, 0.9, 0.3, true, null)]                    // and here the replies got better
    public void Replies_have_collapsed_where_the_alarm_rings_and_held_out_ones_are_no_better(double length, double distinct, double rouge, bool rings, string? reason)
    {
        var alarm = new Dictionary<string, AlarmFigure> { ["tokens a reply"] = new(30, 12, rings ? 4 : 11, rings), ["divergence from the teacher"] = new(30, 2, 0.5, false) };

        var quality = ReplyQuality.After(new(new(0.2, 0.9, 10), 7, new(0.2, 0.9, 10), 0, null), new(rouge, distinct, length), 9, 0.001, alarm);

        Assert.Equal(reason is null, quality.Collapse is null);
        Assert.Equal(reason is null, quality.Ending(new(Patience: 0)) is null);
        if (reason is not null) Assert.Contains(reason, quality.Ending(new(Patience: 0)), StringComparison.Ordinal);
    }

    [Fact]
    public void The_alarm_tells_how_the_divergence_went_and_does_not_ring_for_it()
    {
        var alarm = new DegenerationAlarm();
        for (var i = 0; i < 30; i++) alarm.Hear(12, 0.9, 2);
        for (var i = 0; i < 200; i++) Assert.Null(alarm.Hear(12, 0.9, 0.1));
        Assert.False(DegenerationAlarm.Rings(alarm.State));

        var heard = Enumerable.Range(0, 200).Select(_ => alarm.Hear(2, 0.9, 0.1)).OfType<string>().Single();

        Assert.Contains("tokens a reply went from 12", heard, StringComparison.Ordinal);
        Assert.Contains("divergence from the teacher went from 2 to 0.1", heard, StringComparison.Ordinal);
        Assert.True(DegenerationAlarm.Rings(alarm.State));
    }

    [Fact]
    public void Held_out_replies_are_the_best_tokens_one_by_one()
    {
        Follow(Recipe("plain"), null);
        var run = new RunFolder(Path.Combine(root, "plain"));
        using var model = run.LoadModel(ScalarType.Float32);
        var tokenizer = new ByteLevelTokenizer(TokenizerJson.Load(run.Tokenizer), TokenizerFile.Tokens);
        Document[] documents = [.. Corpora.Read("wesnoth-en").Where(d => d.Scene.StartsWith("Liberty/", StringComparison.Ordinal))];
        using var replies = new HeldOutReplies(model, [("wesnoth-en", documents)], 12, tokenizer, Limits, 1, root);

        var expected = Evaluator.References("wesnoth-en", documents, 12).Select(reference =>
        {
            var before = reference.Document.Turns.Take(reference.Turn).ToArray();
            return new Response(OneByOne(model, tokenizer, before), [reference.Document.Turns[reference.Turn]], "en", before);
        }).ToArray();

        Assert.Equal(12, expected.Length);
        Assert.Equal(HeldOutReplies.Figures(expected), replies.Score());
        Assert.Equal(expected.Average(r => RougeL.Score(r)!.Value), replies.Score().RougeL, 1e-12);
        Assert.True(replies.Score().Length > 0);
    }

    [Theory]
    [InlineData("token-mean", null)]
    [InlineData("minillm", """{"teacher":"plain","replies":24,"epochs":2,"textWeight":0}""")]
    public void A_stage_ends_with_its_best_weights_wherever_it_was_killed(string method, string? distil)
    {
        if (distil is not null) Follow(Recipe("plain"), null);
        TrainingRecipe Watched(string name) => Recipe(name) with
        {
            Tokenizer = distil is null ? Recipe(name).Tokenizer : new(From: "plain"),
            Stages = [Recipe(name).Stages[0] with
            {
                // A rate so small that no reply changes: the first validation stays the best.
                Method = method, Steps = 40, LearningRate = 1e-9, ValidateEvery = 2, SaveEvery = 1, Quality = new(Prompts: 6, Patience: 3), Distil = distil is null ? null : JsonSerializer.Deserialize<DistilRecipe>(distil, RecipeFile.Json),
            }, Recipe(name).Stages[0] with { Name = "next", Steps = 2, LearningRate = 1e-9 }],
        };
        var whole = Follow(Watched("whole"), null);
        foreach (var killedAt in new[] { 2, 3, 8 })
            Assert.Throws<KilledException>(() => Follow(Watched("killed"), update => { if (update.Step == killedAt && update.Validation is null) throw new KilledException(); }));
        Assert.Throws<KilledException>(() => Follow(Watched("killed"), update => { if (update.Step == 8 && update.Validation is not null) throw new KilledException(); }));
        var killed = Follow(Watched("killed"), null);

        Assert.Equal(10, whole.TotalSteps);                                                 // best at 2, three more validations, two steps of the next stage
        Assert.Equal(whole.TotalSteps, killed.TotalSteps);
        Assert.Equal(Lines("whole"), Lines("killed"));
        Assert.Contains(Lines("whole"), l => l.Contains("kept in best/00000002", StringComparison.Ordinal));
        Assert.Equal("00000002", Path.GetFileName(new RunFolder(Path.Combine(root, "whole")).Best));     // though eight checkpoints were pruned since
        Assert.Equal(Weights("whole", best: true), Weights("killed", best: true));

        // The next stage began with the best weights, not with the last ones.
        var two = Follow(Watched("two") with { Stages = [Watched("two").Stages[0] with { Steps = 2 }, Watched("two").Stages[1]] }, null);
        Assert.Equal(4, two.TotalSteps);
        Assert.Equal(Weights("two", best: true), Weights("whole", best: true));
        Assert.Equal(Weights("two", best: false), Weights("whole", best: false));
    }

    [Fact]
    public void The_best_checkpoint_is_exported_where_it_is_asked_for()
    {
        var recipe = Recipe("best") with { Card = new("chat-best", "none", "none", []) };
        recipe = recipe with { Stages = [recipe.Stages[0] with { ValidateEvery = 3, Quality = new(Prompts: 6, Patience: 0, MinDelta: 0.9) }] };
        using var stop = new CancellationTokenSource();
        new TrainingRun(recipe.Checked(), "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, update => { if (update.Step == 5) stop.Cancel(); }, stop.Token);
        var run = new RunFolder(Path.Combine(root, "best"));
        var export = new ModelExport(root, Corpora, TimeProvider.System);
        export.Write(recipe, Path.Combine(root, "newest"), _ => recipe, "none");
        export.Write(recipe, Path.Combine(root, "best-of-all"), _ => recipe, "none", best: true);

        float[] Exported(string folder) { using var model = ModelFolder.Open(Path.Combine(root, folder)).LoadModel(dtype: ScalarType.Float32); return Flat(model); }
        float[] Kept(string? checkpoint) { using var model = run.LoadModel(ScalarType.BFloat16, checkpoint); return Flat(model); }
        Assert.Equal(("00000003", "00000005"), (Path.GetFileName(run.Best), Path.GetFileName(run.Newest)));
        Assert.Equal(Kept(run.Best), Exported("best-of-all"));
        Assert.Equal(Kept(null), Exported("newest"));
        Assert.NotEqual(Exported("newest"), Exported("best-of-all"));
        Assert.Contains("neither quality nor patience", Assert.Throws<RecipeException>(() =>
        {
            Follow(Recipe("plain"), null);
            export.Write(Recipe("plain") with { Card = recipe.Card }, Path.Combine(root, "none"), _ => recipe, "none", best: true);
        }).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_remembers_where_its_time_went()
    {
        Follow(Recipe("plain"), null);
        var recipe = Recipe("student") with { Tokenizer = new(From: "plain"), Stages = [Recipe("x").Stages[0] with { Method = "minillm", SaveEvery = 2, Distil = new(Teacher: "plain", Replies: 24, Epochs: 2, TextWeight: 0) }] };
        Assert.Throws<KilledException>(() => Follow(recipe, update => { if (update.Step == 5) throw new KilledException(); }));
        var halfway = new RunFolder(Path.Combine(root, "student")).LoadState()!;

        var state = Follow(recipe, null);

        Assert.InRange(halfway.SamplingSeconds, 1e-6, state.SamplingSeconds);
        Assert.InRange(halfway.TeacherSeconds, 1e-6, state.TeacherSeconds);
        Assert.InRange(state.SamplingSeconds + state.TeacherSeconds, 0, state.Seconds);
        var entries = JournalEntry.Read(Path.Combine(root, "student", "journal.jsonl"));
        Assert.Equal(state.SamplingSeconds, entries.Sum(e => e.Seconds?.Sampling ?? 0), 1e-9);
        Assert.Equal(state.TeacherSeconds, entries.Sum(e => e.Seconds?.Teacher ?? 0), 1e-9);
        Assert.Matches(@"^sampling \d+ %, teacher \d+ %, learning \d+ %$", state.TimeShares);
    }

    [Fact]
    public void Quality_without_held_out_dialogue_is_refused()
    {
        var recipe = Recipe("blind") with { Validation = [], Stages = [Recipe("x").Stages[0] with { Quality = new() }] };

        Assert.Contains("validation names no corpus", Assert.Throws<RecipeException>(recipe.Checked).Message, StringComparison.Ordinal);
    }

    /// <summary>The reference: the whole reply is read anew for each token.</summary>
    private static string OneByOne(EncoderDecoder model, ByteLevelTokenizer tokenizer, string[] turns)
    {
        using var gradients = no_grad();
        var context = ContextPacker.Pack([.. turns.Select(t => tokenizer.Encode(t))], TokenizerFile.Tokens, Limits.MaxContext);
        var reply = new List<int>();
        while (reply.Count < Limits.MaxReply)
        {
            using var scope = NewDisposeScope();
            var batch = new Batch([new(context, [.. reply, 0])]);
            var best = (int)model.Forward(batch.Contexts(), batch.Mask(), batch.Replies())[0, reply.Count].argmax().item<long>();
            if (best == TokenizerFile.Separator) break;
            reply.Add(best);
        }
        return System.Text.Encoding.UTF8.GetString([.. reply.SelectMany(id => tokenizer.Bytes(id).ToArray())]);
    }

    private static PluginCatalog Plugins => new(typeof(TrainingRun).Assembly);

    private static TrainingRecipe Recipe(string name) => new(name, 5, new TokenizerRecipe(300, new Dictionary<string, long> { ["small-talk-en"] = 20_000 }),
        new ModelRecipe(32, 64, 2, 1, 1, HeadWidth: 16, InitialDeviation: 0.1), "^Liberty/", ["wesnoth-en"],
        [new("only", "token-mean", 9, 600, 0.01, [new("small-talk-en", "dialogue", 1)], Limits.MaxContext, Limits.MaxReply, Warmup: 3, ValidateEvery: 6, SaveEvery: 3)]);

    private RunState Follow(TrainingRecipe recipe, Action<TrainingProgress>? report) => new TrainingRun(recipe.Checked(), "hash", root, Corpora, Plugins, TimeProvider.System).Follow(null, report, default);

    private float[] Weights(string name, bool best)
    {
        var run = new RunFolder(Path.Combine(root, name));
        using var model = run.LoadModel(ScalarType.Float32, best ? run.Best : null);
        return Flat(model);
    }

    private static float[] Flat(EncoderDecoder model) => [.. model.named_parameters().SelectMany(p => p.parameter.to_type(ScalarType.Float32).data<float>().ToArray())];

    /// <summary>The journal without what depends on the clock.</summary>
    private string[] Lines(string name) => [.. JournalEntry.Read(Path.Combine(root, name, "journal.jsonl")).Select(e => (e with { TokensPerSecond = null, Seconds = null }).ToLine())];

    private sealed class KilledException : Exception;
}
