using System.CommandLine;
using System.Diagnostics;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Tokenizers;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Recipes;
using Chat.Training.Tokenization;
using static TorchSharp.torch;

namespace Chat.Benchmarks;

/// <summary>
/// What training does in a second, and its arithmetic as a share of the fastest bfloat16 matrix product of the same thread. Between two updates the product is measured anew; all in processor time of
/// the one thread that computes, so that other work on the machine matters little. Counted are the products of weights with real tokens, pads and attention's own left out: 2 a weight and token, 6 where gradients are made.
/// </summary>
internal static class TrainingSpeed
{
    public static Command Command()
    {
        var teacher = new Argument<string>("teacher") { Description = "A model folder, for example Chat.Models/Shipped/chat-teacher: shape of the first stage, teacher of the others." };
        var student = new Argument<string>("student") { Description = "A model folder of the same vocabulary." };
        var steps = new Option<int>("--steps") { Description = "Updates of each stage, after two that do not count; MiniLLM writes new replies every twenty or so.", DefaultValueFactory = _ => 48 };
        var command = new Command("training", "Training's tokens a second and share of the bfloat16 peak, on one thread.") { teacher, student, steps };
        command.SetAction(result => Run(Path.GetFullPath(result.GetValue(teacher)!), Path.GetFullPath(result.GetValue(student)!), result.GetValue(steps)));
        return command;
    }

    private static void Run(string teacher, string student, int steps)
    {
        set_num_threads(1);
        var folder = Directory.CreateTempSubdirectory("training-speed-");
        try
        {
            Figures.Print("load", double.Parse(Machine.LoadAverage(), System.Globalization.CultureInfo.InvariantCulture), "");
            Stage(folder.FullName, "teacher-read", teacher, "token-mean", null, teacher, steps);
            Stage(folder.FullName, "teacher-read-packed", teacher, "token-mean", null, teacher, steps, pack: true);
            Stage(folder.FullName, "student-answer", student, "sample-mean", null, teacher, steps);
            Stage(folder.FullName, "student-answer-packed", student, "sample-mean", null, teacher, steps, pack: true);
            Stage(folder.FullName, "student-kd", student, "kd", new(Teacher: teacher), teacher, steps);
            Stage(folder.FullName, "student-kd-packed", student, "kd", new(Teacher: teacher), teacher, steps, pack: true);
            Stage(folder.FullName, "student-minillm", student, "minillm", new(Teacher: teacher, TextWeight: 0), teacher, steps);
            Stage(folder.FullName, "student-minillm-packed", student, "minillm", new(Teacher: teacher, TextWeight: 0), teacher, steps, pack: true);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static void Stage(string runs, string name, string start, string method, DistilRecipe? distil, string teacher, int steps, bool pack = false)
    {
        var recipe = Recipe(name, start, method, distil, steps + 2, 2048, pack);
        var shape = ModelFolder.Open(start).Config;
        List<double> seconds = [], peaks = [];
        var began = Machine.ThreadTime();
        var state = new TrainingRun(recipe.Checked(), "benchmark", runs, new CorpusFolder(runs), new PluginCatalog(typeof(TrainingRun).Assembly), TimeProvider.System).Follow(null, update =>
        {
            if (update.Validation is not null) return;
            if (update.Step > 2) seconds.Add(Since(began));
            peaks.Add(Peak());
            began = Machine.ThreadTime();
        }, default);

        // The journal says how many tokens an update had, and what a reply had; the data's own lengths stand in where nothing is written.
        var journal = JournalEntry.Read(Path.Combine(runs, name, "journal.jsonl")).Where(entry => entry.Loss is not null).ToArray();
        var tokens = (double)(journal[^1].Tokens! - journal[1].Tokens!);
        var (context, reply) = Lengths(runs, recipe);
        if (journal[^1].Parts?.ContainsKey("replyTokens") == true) reply = journal.Skip(2).Average(entry => entry.Parts!["replyTokens"]);
        var samples = tokens / (context + reply);
        // Forward passes a sample: the student's count threefold where they have gradients. MiniLLM writes and reads each reply once for four epochs; the teacher's head alone is asked in each.
        var judge = ModelFolder.Open(teacher).Config;
        var work = samples * method switch
        {
            "minillm" => (3 + 2 / 4.0) * Forward(shape, context, reply) + 2 / 4.0 * Forward(judge, context, reply) + 3 / 4.0 * Head(judge, reply),
            "kd" => 3 * Forward(shape, context, reply) + Forward(judge, context, reply),
            _ => 3 * Forward(shape, context, reply),
        };
        var (spent, peak) = (seconds.Sum(), Figures.Quantile([.. peaks.Order()], 0.5));
        Console.WriteLine(name);
        Figures.Print("  tokens", tokens / spent, "a second of processor time");
        Figures.Print("  arithmetic", work / spent / 1e9, "GFLOP/s");
        Figures.Print("  bfloat16 product", peak / 1e9, "GFLOP/s");
        Figures.Print("  share of it", 100 * work / spent / peak, "%");
        Figures.Print("  an update, mean", 1000 * seconds.Average(), "ms");
        Figures.Print("  an update, median", 1000 * Figures.Quantile([.. seconds.Order()], 0.5), "ms");
        if (state.TimeShares is { } shares) Console.WriteLine($"  by the clock: {shares}");
    }

    /// <summary>One stage from a model folder's weights, on the dialogue that comes with the program.</summary>
    internal static TrainingRecipe Recipe(string name, string start, string method, DistilRecipe? distil, int steps, int batchTokens, bool pack = false)
    {
        var shape = ModelFolder.Open(start).Config;
        return new(name, 1, new(From: start), new(shape.Width, shape.FeedForward, shape.Heads, shape.EncoderLayers, shape.DecoderLayers, shape.HeadWidth), "^$", [],
            [new(name, method, steps, batchTokens, 1e-5, [new("small-talk-en", "dialogue", 1), new("small-talk-zh", "dialogue", 1), new("wesnoth-en", "dialogue", 1)], 128, 64, ValidateEvery: 100_000, SaveEvery: 100_000, Distil: distil, Pack: pack)], start);
    }

    /// <summary>Multiplications and additions of one forward pass over a context and a reply.</summary>
    internal static double Forward(EncoderDecoderConfig shape, double context, double reply)
    {
        double inner = (double)shape.Heads * shape.HeadWidth, attention = 4 * shape.Width * inner, feedForward = (shape.Gated ? 3.0 : 2.0) * shape.Width * shape.FeedForward;
        var encoder = shape.EncoderLayers * (attention + feedForward) + shape.DecoderLayers * 2 * shape.Width * inner;                 // cross-attention reads keys and values off the context
        var decoder = shape.DecoderLayers * (attention + 2 * shape.Width * inner + feedForward);
        return 2 * (encoder * context + decoder * reply) + Head(shape, reply);
    }

    private static double Head(EncoderDecoderConfig shape, double reply) => 2.0 * shape.VocabularySize * shape.Width * reply;

    private static (double Context, double Reply) Lengths(string runs, TrainingRecipe recipe)
    {
        var samples = Samples(runs, recipe);
        double size = samples.Length, replies = samples.Sum(sample => sample.Labels.Length);
        return (samples.Sum(sample => sample.Context.Length) / size, replies / size);
    }

    /// <summary>What the recipe's first stage learns from, in its order.</summary>
    internal static Sample[] Samples(string runs, TrainingRecipe recipe)
    {
        var encoder = new BytePairEncoder(TokenizerFile.Read(File.ReadAllText(Path.Combine(recipe.Tokenizer.From!, TokenizerFiles.HuggingFace))));
        var (stage, corpora, sampler) = (recipe.Stages[0], new CorpusFolder(runs), new DialogueSampler());
        var limits = new SampleLimits(stage.MaxContext, stage.MaxReply);
        var sources = stage.Mixture.Select(mixture =>
        {
            var corpus = TokenizedCorpus.Encode(corpora.Read(mixture.Corpus), encoder);
            return new MixtureSource(mixture.Corpus, corpus, sampler, sampler.Places(corpus, limits), mixture.Weight);
        }).ToArray();
        var stream = new MixtureStream(sources, limits, stage.BatchTokens, recipe.Seed);
        return [.. Enumerable.Range(0, stage.Steps).SelectMany(_ => stream.Next().Samples)];
    }

    /// <summary>The fastest of three square products of bfloat16 matrices, in floating-point operations a second.</summary>
    private static double Peak()
    {
        var best = 0.0;
        foreach (var n in new[] { 512, 1024, 2048 })
        {
            using var scope = NewDisposeScope();
            Tensor a = ones([n, n], ScalarType.BFloat16), b = ones([n, n], ScalarType.BFloat16);
            var began = Machine.ThreadTime();
            a.mm(b);
            best = Math.Max(best, 2.0 * n * n * n / Since(began));
        }
        return best;
    }

    private static double Since(long began) => (Machine.ThreadTime() - began) / (double)Stopwatch.Frequency;
}
