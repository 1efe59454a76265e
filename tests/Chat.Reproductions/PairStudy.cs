using System.Text.RegularExpressions;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using Chat.Training.Data;
using Chat.Training.Evaluation;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using static TorchSharp.torch;

namespace Chat.Reproductions;

/// <summary>
/// The shipped pair's own comparison: students from one start, with one budget of updates and one rate, taught on the recipe's last mixture by SFT, KD, SeqKD and MiniLLM, judged on
/// held-out dialogue. Everything is kept in a folder; the study goes on where it was stopped.
/// </summary>
/// <param name="recipe">Of the start: sizes, data and what is held out.</param>
/// <param name="most">Held-out replies of a corpus.</param>
internal sealed class PairStudy(string folder, TrainingRecipe recipe, string start, string teacher, CorpusFolder corpora, int seeds, int steps, int most, Action<string> say)
{
    public const string Start = "start", Teacher = "teacher";

    private const double Rate = 0.0005;

    private static readonly PluginCatalog Plugins = new(typeof(TrainingRun).Assembly);

    private static readonly Arm[] Arms =
    [
        new("SFT", "sft", new(SampleMean: true)),
        new("KD", "kd", new(SampleMean: true)),
        new("SeqKD", "seqkd", new(SampleMean: true)),
        new("MiniLLM", "minillm", new(Replies: 256, Epochs: 4, Whiten: true, TextWeight: 0)),
    ];

    public static IReadOnlyList<string> Order { get; } = [Teacher, Start, .. Arms.Select(a => a.Name)];

    /// <summary>What the paper says.</summary>
    public static IReadOnlyList<(string Figure, string Lower, string Higher)> Claims { get; } =
    [
        .. new[] { "KD", "SeqKD", "SFT" }.SelectMany(other => new[] { ("reverse KL, reply", "MiniLLM", other), ("teacher NLL", "MiniLLM", other), ("Rouge-L", other, "MiniLLM") }),
        .. new[] { "KD", "SeqKD" }.SelectMany(arm => new[] { ("teacher NLL", arm, "SFT"), ("Rouge-L", "SFT", arm) }),
    ];

    /// <returns>All arms under all seeds; of start and teacher only the seed of what they write differs.</returns>
    public IReadOnlyList<Outcome> Run(CancellationToken stop)
    {
        set_num_threads(1);
        Directory.CreateDirectory(folder);
        using var judged = ModelFolder.Open(teacher).LoadModel(dtype: ScalarType.Float32);
        using var started = ModelFolder.Open(start).LoadModel(dtype: ScalarType.Float32);
        var judge = new StudentJudge(judged, new ByteLevelTokenizer(TokenizerJson.Load(Path.Combine(teacher, TokenizerFiles.HuggingFace)), TokenizerFile.Tokens), Questions(), recipe.Stages[^1].BatchTokens);
        var known = new Outcomes(folder, say);
        for (var seed = 1; seed <= seeds; seed++)
        {
            Judge(Teacher, seed, () => (judged, 0));
            Judge(Start, seed, () => (started, 0));
            foreach (var arm in Arms)
            {
                var run = new TrainingRun(Recipe(arm, seed), "pair", Path.Combine(folder, "runs"), corpora, Plugins, TimeProvider.System);
                Judge(arm.Name, seed, () =>
                {
                    var state = run.Follow(null, null, stop);
                    stop.ThrowIfCancellationRequested();
                    return (run.Folder.LoadModel(ScalarType.Float32), state.Seconds);
                });
            }
        }
        return known.All;

        void Judge(string arm, int seed, Func<(EncoderDecoder Model, double Seconds)> make)
        {
            if (known.Has(arm, seed)) return;
            var (model, seconds) = make();
            known.Add(judge.Judge(arm, seed, model, seconds));
            if (model != judged && model != started) model.Dispose();
        }
    }

    private TrainingRecipe Recipe(Arm arm, int seed) => (recipe with
    {
        Name = $"{arm.Name}-{seed}",
        Seed = (ulong)(500 + seed),
        Start = start,
        Tokenizer = new(From: start),
        EmbeddingScale = 1,
        Card = null,
        Stages =
        [
            recipe.Stages[^1] with
            {
                Name = "only", Method = arm.Method, Steps = steps, LearningRate = Rate, Warmup = 20, Schedule = "linear", FinalShare = 0.1, ValidateEvery = steps, SaveEvery = 50,
                Distil = arm.Method == "sft" ? arm.Distil : arm.Distil! with { Teacher = teacher },
            },
        ],
    }).Checked();

    private Question[] Questions()
    {
        var heldOut = new Regex(recipe.HeldOut, RegexOptions.CultureInvariant);
        return
        [
            .. recipe.Validation.SelectMany(corpus => Evaluator.References(corpus, corpora.Read(corpus).Where(d => heldOut.IsMatch(d.Scene)), most))
                .Select(r => new Question(r.Document.Language, new([.. r.Document.Turns.Take(r.Turn)], r.Document.Turns[r.Turn]))),
        ];
    }
}
