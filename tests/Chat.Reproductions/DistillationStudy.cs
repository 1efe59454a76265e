using System.Text.Json;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Decoding;
using Chat.Models.Tokenizers;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Evaluation.Metrics;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using static TorchSharp.torch;
using Sample = Chat.Training.Methods.Sample;

namespace Chat.Reproductions;

/// <summary>One way to train the student, from the same start and with as many updates as all others.</summary>
internal sealed record Arm(string Name, string Method, DistilRecipe? Distil);

/// <summary>What an arm's student is worth under one seed.</summary>
/// <param name="ReverseKl">Σ over a reply of KL(q‖p) on the student's own replies: the divergence of whole replies, by the chain rule.</param>
/// <param name="ForwardKl">The same of KL(p‖q) on the teacher's replies.</param>
/// <param name="TeacherLoss">What the teacher thinks of a token of the student's replies, nats.</param>
/// <param name="Acceptance">Σ min(p, q) on the teacher's replies.</param>
/// <param name="ExcessError">ExAccErr over the first 16 tokens, percent.</param>
/// <param name="Seconds">Of training, on one core.</param>
internal sealed record Outcome(
    string Arm, int Seed, double ReverseKl, double ForwardKl, double TeacherLoss, double RougeL, double Distinct4, double Length, double Acceptance, double ExcessError, double Seconds);

/// <summary>
/// MiniLLM's findings (arXiv:2306.08543) with the product's own trainer, engine and objectives on a generated corpus: a teacher, a student of a tenth of its parameters, the
/// same supervised start for all arms of a seed. The teacher learnt from clean answers; three in ten of those that students are given are wrong, as an annotator's are. Everything is
/// kept in a folder; the study goes on where it was stopped.
/// </summary>
internal sealed class DistillationStudy(string folder, int seeds, int steps, int prompts, Action<string> say)
{
    private const string Corpus = "instructions", Annotated = "annotated", TeacherRun = "teacher";
    private const int MaxContext = 40, MaxReply = 40, BatchTokens = 1024, Documents = 20_000;
    private static readonly PluginCatalog Plugins = new(typeof(TrainingRun).Assembly);

    public static IReadOnlyList<Arm> Arms { get; } =
    [
        new("SFT", "sft", null),
        new("KD", "kd", new()),
        new("SeqKD", "seqkd", new()),
        new("JSD on own replies", "gkd", new(Share: 1)),
        new("TVD", "tvd", new()),
        new("single step on own replies", "gkd", new(Share: 1, Divergence: "rkl")),
        new("MiniLLM", "minillm", MiniLlm),
        new("MiniLLM − length normalisation", "minillm", MiniLlm with { LengthNormalise = false }),
        new("MiniLLM − teacher in the mixture", "minillm", MiniLlm with { TeacherShare = 0 }),
        new("MiniLLM − single step", "minillm", MiniLlm with { SingleStep = false }),
        new("whitened MiniLLM", "minillm", MiniLlm with { Whiten = true }),
        new("whitened − length normalisation", "minillm", MiniLlm with { Whiten = true, LengthNormalise = false }),
        new("whitened − teacher in the mixture", "minillm", MiniLlm with { Whiten = true, TeacherShare = 0 }),
        new("whitened − single step", "minillm", MiniLlm with { Whiten = true, SingleStep = false }),
    ];

    private static DistilRecipe MiniLlm => new(Replies: 128, Epochs: 2, TextWeight: 0);

    private string Data => Path.Combine(folder, "data");
    private string Runs => Path.Combine(folder, "runs");
    private string Results => Path.Combine(folder, "results.jsonl");

    /// <returns>All arms under all seeds.</returns>
    public IReadOnlyList<Outcome> Run(IReadOnlyCollection<string>? only, int atOnce, CancellationToken stop)
    {
        set_num_threads(1);
        Directory.CreateDirectory(Data);
        Directory.CreateDirectory(Runs);
        foreach (var (corpus, wrong) in new[] { (Corpus, 0), (Annotated, 0.3) })
            if (!File.Exists(Path.Combine(Data, corpus + ".jsonl.gz"))) DocumentFile.Write(Path.Combine(Data, corpus + ".jsonl.gz"), InstructionTasks.Documents(corpus, Documents, wrong, seed: 1));

        Follow(Recipe(TeacherRun, 0, new(96, 256, 3, 2, 2, HeadWidth: 32), start: null, "sample-mean", null, 1500, 0.003), stop);
        var tests = Tests();
        var known = File.Exists(Results) ? File.ReadLines(Results).Select(l => JsonSerializer.Deserialize<Outcome>(l, JournalEntry.Json)!).ToList() : [];
        var arms = Arms.Where(a => only is null || only.Contains(a.Name)).ToArray();
        var sync = new Lock();
        Parallel.ForEach(Enumerable.Range(1, seeds), new() { MaxDegreeOfParallelism = atOnce, CancellationToken = stop }, seed =>
        {
            var start = $"start-{seed}";
            Follow(Recipe(start, seed, Student, start: null, "sample-mean", null, 500, 0.004), stop);
            foreach (var (arm, number) in arms.Select((arm, i) => (arm, i)))
            {
                lock (sync)
                    if (known.Any(o => o.Arm == arm.Name && o.Seed == seed)) continue;
                var name = $"{new string([.. arm.Name.Where(char.IsAsciiLetterOrDigit)])}-{Array.IndexOf([.. Arms], arm)}-{seed}";
                var state = Follow(Recipe(name, seed, Student, start, arm.Method, arm.Distil is null ? null : arm.Distil with { Teacher = TeacherRun }, steps, 0.001), stop);
                if (stop.IsCancellationRequested) return;
                var outcome = Judge(arm.Name, name, seed, tests, state.Seconds);
                lock (sync)
                {
                    known.Add(outcome);
                    File.AppendAllText(Results, JsonSerializer.Serialize(outcome, JournalEntry.Json) + "\n");
                    say(FormattableString.Invariant($"seed {seed} {arm.Name}: reverse KL {outcome.ReverseKl:F2}, forward {outcome.ForwardKl:F2}, teacher NLL {outcome.TeacherLoss:F3}, Rouge-L {outcome.RougeL:F3}, length {outcome.Length:F1}, Dist-4 {outcome.Distinct4:F3}, acceptance {outcome.Acceptance:F3}, {outcome.Seconds:F0} s"));
                }
            }
        });
        return known;
    }

    private static ModelRecipe Student { get; } = new(32, 96, 2, 1, 1, HeadWidth: 16, MaxContext: MaxContext, MaxReply: MaxReply);

    private static TrainingRecipe Recipe(string name, int seed, ModelRecipe model, string? start, string method, DistilRecipe? distil, int steps, double rate) => new(
        name, (ulong)(1000 + seed), name == TeacherRun ? new(400, new Dictionary<string, long> { [Corpus] = 400_000 }) : new(From: TeacherRun), model with { MaxContext = MaxContext, MaxReply = MaxReply },
        InstructionTasks.HeldOut, [Corpus],
        [new("only", method, steps, BatchTokens, rate, [new(name == TeacherRun ? Corpus : Annotated, "answer", 1)], MaxContext, MaxReply, Warmup: 20, Schedule: "linear", FinalShare: 0.1, Accumulate: 1, ValidateEvery: steps, SaveEvery: steps, Distil: distil)],
        start, EmbeddingScale: start is null ? 16 : 1);

    private RunState Follow(TrainingRecipe recipe, CancellationToken stop)
    {
        var state = new TrainingRun(recipe.Checked(), "study", Runs, new CorpusFolder(Data), Plugins, TimeProvider.System).Follow(null, null, stop);
        if (recipe.Start is null) say(FormattableString.Invariant($"{recipe.Name}: {state.TotalSteps} steps, {state.Seconds:F0} s"));
        return state;
    }

    /// <summary>Held-out prompts with the data's answers and one of the teacher's each.</summary>
    private (Answered[] Gold, Sample[] Prompts, Sample[] Teacher) Tests()
    {
        using var teacher = Model(TeacherRun);
        var gold = new CorpusFolder(Data).Read(Corpus).Where(d => d.Scene.StartsWith("test/", StringComparison.Ordinal)).Take(prompts).Select(d => new Answered([d.Turns[0]], d.Turns[1])).ToArray();
        var scorer = new EncoderDecoderLikelihood(teacher, Tokenizer());
        var samples = gold.Select(g => scorer.Pack(g.Context, g.Reply)).ToArray();
        return (gold, samples, Write(teacher, samples, seed: 77));
    }

    private Outcome Judge(string arm, string run, int seed, (Answered[] Gold, Sample[] Prompts, Sample[] Teacher) tests, double seconds)
    {
        using var student = Model(run);
        using var teacher = Model(TeacherRun);
        var written = Write(student, tests.Prompts, (ulong)seed);
        var (own, others) = (StateComparison.Compare(teacher, student, written), StateComparison.Compare(teacher, student, tests.Teacher));
        var tokenizer = Tokenizer();
        var responses = tests.Gold.Zip(written, (g, w) => new Response(Text(tokenizer, w.Labels), [g.Reply], "en", g.Context)).ToArray();
        var all = Bootstrap.All(responses.Length);
        var excess = ModelMetrics.ExcessError([.. own.Select(s => new Trajectory(1, [.. s.Select(t => t.Forward)]))], [.. others.Select(s => new Trajectory(1, [.. s.Select(t => t.Forward)]))]);
        return new(arm, seed,
            own.Average(s => s.Sum(t => t.Reverse)), others.Average(s => s.Sum(t => t.Forward)), own.SelectMany(s => s).Average(t => t.TeacherLoss),
            new RougeL().Prepare(responses)[0].Value(all), new Distinct().Prepare(responses)[3].Value(all), written.Average(w => w.Labels.Length),
            others.SelectMany(s => s).Average(t => t.Accepted), excess[Math.Min(15, excess.Length - 1)], seconds);
    }

    private Sample[] Write(EncoderDecoder model, Sample[] prompts, ulong seed)
    {
        var table = TokenTable.From(Tokenizer(), model.Config.VocabularySize);
        var scratch = Directory.CreateTempSubdirectory("study-").FullName;
        try
        {
            using var models = new RolloutModels(model, null, null, null, table, MaxReply, BatchTokens, threads: 1, scratch);
            return [.. models.Write(ReplySource.Student, new(), [.. prompts.Select(p => p.Context)], seed, 0).Zip(prompts, (reply, p) => new Sample(p.Context, reply.Labels))];
        }
        finally { Directory.Delete(scratch, recursive: true); }
    }

    private EncoderDecoder Model(string run) => new RunFolder(Path.Combine(Runs, run)).LoadModel(ScalarType.Float32);

    private ByteLevelTokenizer Tokenizer() => new(TokenizerJson.Load(new RunFolder(Path.Combine(Runs, TeacherRun)).Tokenizer), TokenizerFile.Tokens);

    private static string Text(ByteLevelTokenizer tokenizer, int[] labels)
    {
        var bytes = new List<byte>();
        foreach (var id in labels) bytes.AddRange(tokenizer.Bytes(id));
        return System.Text.Encoding.UTF8.GetString([.. bytes]);
    }
}
