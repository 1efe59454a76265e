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

    /// <summary>What the papers say: of the two arms the first has the lower figure.</summary>
    public static IReadOnlyList<(string Figure, string Lower, string Higher)> Claims { get; } =
    [
        .. new[] { "reverse KL, reply", "teacher NLL" }.SelectMany(figure => new[]
        {
            (figure, "MiniLLM", "single step on own replies"), (figure, "single step on own replies", "KD"), (figure, "single step on own replies", "SeqKD"), (figure, "KD", "SFT"), (figure, "SeqKD", "SFT"),
        }),
        .. new[] { "", "whitened " }.SelectMany(form => new[]
        {
            ("Rouge-L", $"{Ablated(form)} − single step", $"{form}MiniLLM"), ("Rouge-L", $"{Ablated(form)} − teacher in the mixture", $"{Ablated(form)} − single step"),
            ("Rouge-L", $"{Ablated(form)} − length normalisation", $"{Ablated(form)} − teacher in the mixture"),
        }),
        ("acceptance", "JSD on own replies", "TVD"), ("acceptance", "KD", "JSD on own replies"), ("acceptance", "MiniLLM", "KD"),
    ];

    private static DistilRecipe MiniLlm => new(Replies: 128, Epochs: 2, TextWeight: 0);

    private static string Ablated(string form) => form.Length == 0 ? "MiniLLM" : "whitened";

    private string Data => Path.Combine(folder, "data");
    private string Runs => Path.Combine(folder, "runs");

    /// <returns>All arms under all seeds.</returns>
    public IReadOnlyList<Outcome> Run(IReadOnlyCollection<string>? only, int atOnce, CancellationToken stop)
    {
        set_num_threads(1);
        Directory.CreateDirectory(Data);
        Directory.CreateDirectory(Runs);
        foreach (var (corpus, wrong) in new[] { (Corpus, 0), (Annotated, 0.3) })
            if (!File.Exists(Path.Combine(Data, corpus + ".jsonl.gz"))) DocumentFile.Write(Path.Combine(Data, corpus + ".jsonl.gz"), InstructionTasks.Documents(corpus, Documents, wrong, seed: 1));

        Follow(Recipe(TeacherRun, 0, new(96, 256, 3, 2, 2, HeadWidth: 32), start: null, "sample-mean", null, 1500, 0.003), stop);
        using var teacher = Model(TeacherRun);
        var judge = new StudentJudge(teacher, Tokenizer(), Questions(), BatchTokens);
        var known = new Outcomes(folder, say);
        var arms = Arms.Where(a => only is null || only.Contains(a.Name)).ToArray();
        Parallel.ForEach(Enumerable.Range(1, seeds), new() { MaxDegreeOfParallelism = atOnce, CancellationToken = stop }, seed =>
        {
            var start = $"start-{seed}";
            Follow(Recipe(start, seed, Student, start: null, "sample-mean", null, 500, 0.004), stop);
            foreach (var arm in arms)
            {
                if (known.Has(arm.Name, seed)) continue;
                var name = $"{new string([.. arm.Name.Where(char.IsAsciiLetterOrDigit)])}-{Array.IndexOf([.. Arms], arm)}-{seed}";
                var state = Follow(Recipe(name, seed, Student, start, arm.Method, arm.Distil is null ? null : arm.Distil with { Teacher = TeacherRun }, steps, 0.001), stop);
                if (stop.IsCancellationRequested) return;
                using var student = Model(name);
                known.Add(judge.Judge(arm.Name, seed, student, state.Seconds));
            }
        });
        return known.All;
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

    private Question[] Questions() =>
        [.. new CorpusFolder(Data).Read(Corpus).Where(d => d.Scene.StartsWith("test/", StringComparison.Ordinal)).Take(prompts).Select(d => new Question("en", new([d.Turns[0]], d.Turns[1])))];

    private EncoderDecoder Model(string run) => new RunFolder(Path.Combine(Runs, run)).LoadModel(ScalarType.Float32);

    private ByteLevelTokenizer Tokenizer() => new(TokenizerJson.Load(new RunFolder(Path.Combine(Runs, TeacherRun)).Tokenizer), TokenizerFile.Tokens);
}
