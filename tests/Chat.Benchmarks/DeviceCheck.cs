using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Libtorch;
using Chat.Training.Data;
using Chat.Training.Methods;
using Chat.Training.Objectives;
using Chat.Training.Recipes;
using TorchSharp;
using static TorchSharp.torch;
using Sample = Chat.Training.Methods.Sample;

namespace Chat.Benchmarks;

/// <summary>
/// Whether a device computes what the CPU does — log-probabilities, greedy replies, the first updates of every method and objective — and what it does in a second. The CPU is the reference: for replies
/// the kernels that serve, for the rest torch.
/// </summary>
internal static class DeviceCheck
{
    private static readonly PluginCatalog Plugins = new(typeof(TrainingRun).Assembly);

    /// <summary>EVA2.0-xLarge's shape (arXiv 2203.09313, table 1), 2.8 thousand million parameters, and one that trains on one card with float32 masters and moments.</summary>
    private static readonly (string Name, EncoderDecoderConfig Shape)
        Large = ("EVA2.0-xLarge", new() { VocabularySize = 30_000, Width = 2048, FeedForward = 5120, Heads = 32, HeadWidth = 64, EncoderLayers = 24, DecoderLayers = 24, AttentionScale = true }),
        Trained = ("EVA2.0-Base", new() { VocabularySize = 30_000, Width = 768, FeedForward = 2048, Heads = 12, HeadWidth = 64, EncoderLayers = 12, DecoderLayers = 12, AttentionScale = true });

    public static Command Command()
    {
        var teacher = new Argument<string>("teacher") { Description = "A model folder, for example Chat.Models/Shipped/chat-teacher." };
        var student = new Argument<string>("student") { Description = "A model folder of the same vocabulary." };
        var device = new Option<string>("--device") { Description = "cuda, cuda:1 …, or cpu, which is compared with itself.", DefaultValueFactory = _ => "cuda" };
        var steps = new Option<int>("--steps") { Description = "Updates of each method and objective that are compared.", DefaultValueFactory = _ => 6 };
        var command = new Command("device", "Whether a device computes what the CPU does, and how fast. Ends with 1 where it does not.") { teacher, student, device, steps };
        command.SetAction(result => Run(ModelFolder.Open(result.GetValue(teacher)!), ModelFolder.Open(result.GetValue(student)!), ComputeDevice.Open(result.GetValue(device)!), result.GetValue(steps)));
        return command;
    }

    private static int Run(ModelFolder teacher, ModelFolder student, Device device, int steps)
    {
        Console.WriteLine($"{device}, {Environment.ProcessorCount} processors, load {Machine.LoadAverage()}");
        var folder = Directory.CreateTempSubdirectory("device-check-").FullName;
        try
        {
            var samples = TrainingSpeed.Samples(folder, TrainingSpeed.Recipe("prompts", student.Path, "sample-mean", null, 8, 2048));
            bool[] passed = [Logprobs(teacher, samples, device), Replies(teacher, samples, folder, device), Updates(folder, teacher, student, device, steps)];
            Speed(folder, teacher, student, device);
            Console.WriteLine(passed.All(p => p) ? "The device computes what the CPU does." : "THE DEVICE DOES NOT COMPUTE WHAT THE CPU DOES.");
            return passed.All(p => p) ? 0 : 1;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Largest difference of a label's log-probability, in nats.</summary>
    private static bool Logprobs(ModelFolder folder, Sample[] samples, Device device)
    {
        var batch = new Batch([.. samples.Take(64)]);
        double[] Labels(Device on, ScalarType type)
        {
            using var model = folder.LoadModel(on, type);
            using var rows = new ModelTeacher(new EncoderDecoderScorer(model)).Score(batch);
            return rows.Labels();
        }
        var exact = Labels(CPU, ScalarType.Float32);
        double Difference(double[] found) => found.Zip(exact, (a, b) => Math.Abs(a - b)).Max();
        var (wide, half, halfHere) = (Difference(Labels(device, ScalarType.Float32)), Difference(Labels(device, ScalarType.BFloat16)), Difference(Labels(CPU, ScalarType.BFloat16)));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"log-probabilities of {exact.Length} tokens, largest difference: float32 {wide:E1}, bfloat16 {half:E1} (the CPU's own bfloat16 {halfHere:E1}) nats"));
        return wide < 0.02 && half < 4 * halfHere + 0.05;
    }

    /// <summary>Greedy replies to the same prompts, by the kernels and by the device.</summary>
    private static bool Replies(ModelFolder folder, Sample[] samples, string scratch, Device device)
    {
        int[][] contexts = [.. samples.Take(64).Select(s => s.Context)];
        var tokens = TokenTable.From(folder.Tokenizer, folder.VocabularySize);
        int[][] Written(Device on)
        {
            using var model = folder.LoadModel(on, ScalarType.Float32);
            using var models = new RolloutModels(model, null, tokens, 32, 2048, Environment.ProcessorCount, scratch);
            return [.. models.Write(ReplySource.Student, new() { Temperature = 0 }, contexts, 0, 0).Select(reply => reply.Labels)];
        }
        int[][] expected = Written(CPU), found = Written(device);
        var equal = expected.Zip(found, (a, b) => a.SequenceEqual(b)).Count(same => same);
        Console.WriteLine($"greedy replies equal to the kernels', float32: {equal} of {contexts.Length}");
        return equal >= 0.95 * contexts.Length;                    // ties and near-ties may fall either way
    }

    /// <summary>The loss of each update, of all that can be trained; roll-outs are drawn on the device too, from the same random numbers.</summary>
    private static bool Updates(string folder, ModelFolder teacher, ModelFolder student, Device device, int steps)
    {
        var passed = true;
        foreach (var method in Plugins.OfKind("method").Concat(Plugins.OfKind("objective")).Select(p => p.Name))
        {
            var isObjective = Plugins.OfKind("objective").Any(p => p.Name == method);
            var recipe = TrainingSpeed.Recipe(method, student.Path, method, isObjective ? new(Teacher: method == "sft" ? null : teacher.Path, Replies: 128, TextWeight: 0) : null, steps, 1024);
            double[] Losses(string place, Device on)
            {
                List<double> losses = [];
                new TrainingRun(recipe.Checked(), "check", Path.Combine(folder, place), new CorpusFolder(folder), Plugins, TimeProvider.System, device: on)
                    .Follow(null, update => { if (losses.Count < update.Step) losses.Add(update.Loss); }, default);
                return [.. losses];
            }
            double[] expected = Losses("cpu", CPU), found = Losses("device", device);
            var first = Math.Abs(found[0] - expected[0]);
            // Drawn replies part at the first token that falls between two laws that differ in the last bits: then only what an update is worth on the mean can be the same.
            var drawn = isObjective && Plugins.Create<IObjective>(method).Default.Replies.Sources.Any(source => source != ReplySource.Data);
            var close = first < (drawn ? 0.3 : 0.02) * Math.Max(1, Math.Abs(expected[0])) && double.IsFinite(found[^1]);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {method,-12} first loss {expected[0]:F4} → {found[0]:F4}, update {steps}: {expected[^1]:F4} → {found[^1]:F4}{(drawn ? "  (drawn)" : "")}{(close ? "" : "  FAR")}"));
            passed &= close;
        }
        return passed;
    }

    private static void Speed(string folder, ModelFolder teacher, ModelFolder student, Device device)
    {
        var onGpu = device.type == DeviceType.CUDA;
        var peak = Peak(device, onGpu ? 8192 : 1024);
        Figures.Print("bfloat16 product", peak / 1e12, "TFLOP/s");
        foreach (var (name, method, distil) in new[] { ("student, sample-mean", "sample-mean", null), ("student, kd", "kd", new(Teacher: teacher.Path)), ("student, minillm", "minillm", new DistilRecipe(Teacher: teacher.Path, TextWeight: 0, Replies: onGpu ? 2048 : null)) })
        {
            var run = new TrainingRun(TrainingSpeed.Recipe("speed-" + method, student.Path, method, distil, onGpu ? 40 : 4, onGpu ? 32_768 : 2048).Checked(), "speed", folder, new CorpusFolder(folder), Plugins, TimeProvider.System, device: device);
            var second = (Tokens: 0L, Seconds: 0.0);
            var state = run.Follow(null, update =>
            {
                if (update.Step == 2) second = (update.State.Tokens, update.State.Seconds);
            }, default);
            Figures.Print($"training, {name}", (state.Tokens - second.Tokens) / (state.Seconds - second.Seconds), $"tokens/s{(state.TimeShares is { } shares ? $" ({shares})" : "")}");
        }
        Decode("chat-teacher", () => teacher.LoadModel(device, ScalarType.BFloat16), onGpu ? [1, 32, 256] : [1, 32]);
        if (!onGpu) return;
        Train("chat-student", student.Config, device, peak, 170);
        Train("chat-teacher", teacher.Config, device, peak, 170);
        Train(Trained.Name, Trained.Shape, device, peak, 256);
        Decode(Large.Name, () => new(Large.Shape, seed: null, device, ScalarType.BFloat16), [1, 32, 128, 256]);
    }

    /// <summary>Greedy-sized decode steps of rows that have each read 128 tokens. What the words are does not matter.</summary>
    private static void Decode(string name, Func<EncoderDecoder> open, int[] batches)
    {
        using var model = open();
        foreach (var batch in batches)
        {
            using var runner = new TorchRunner(model, batch, 128, 64);
            var (rows, tokens) = (Enumerable.Range(0, batch).ToArray(), new int[batch]);
            var prompt = Enumerable.Range(0, 128).Select(i => 10 + i).ToArray();
            PrefillItem[] items = [.. rows.Select(row => new PrefillItem(row, prompt, default))];
            double Seconds(Action action)
            {
                var began = Stopwatch.GetTimestamp();
                action();
                return Stopwatch.GetElapsedTime(began).TotalSeconds;
            }
            void Read()
            {
                foreach (var row in rows) runner.Free(row);
                runner.Prefill(items);
            }
            void Write()
            {
                for (var step = 0; step < 48; step++) runner.Decode(rows, tokens);
            }
            Read();
            var first = Seconds(Write) / 48;                                                       // each length for the first time
            var (read, step) = (Seconds(Read), Seconds(Write) / 48);
            Figures.Print($"{name}, bfloat16, {batch} rows", batch / step, string.Create(CultureInfo.InvariantCulture, $"tokens/s; a step {1000 * step:F2} ms, at lengths never met {1000 * first:F2} ms; reading {128 * batch / read:F0} tokens/s"));
        }
    }

    /// <summary>Maximum likelihood of full rows: forward, backward, AdamW with float32 masters.</summary>
    private static void Train(string name, EncoderDecoderConfig shape, Device device, double peak, int rows)
    {
        const int contextLength = 128, replyLength = 64, steps = 8;
        using var model = new EncoderDecoder(shape, seed: null, device, ScalarType.BFloat16);
        using var optimiser = new MasterAdamW(model.named_parameters(), 0.01);
        model.train();
        var random = new Random(1);
        int[] Ids(int length) => [.. Enumerable.Range(0, length).Select(_ => random.Next(10, shape.VocabularySize))];
        var batch = new Batch([.. Enumerable.Range(0, rows).Select(_ => new Sample(Ids(contextLength), Ids(replyLength)))]);
        var method = new TokenMean();
        double forward = 0, backward = 0, update = 0;
        for (var step = 0; step < 2 + steps; step++)
        {
            using var scope = NewDisposeScope();
            var began = Stopwatch.GetTimestamp();
            double Part()
            {
                cuda.synchronize();
                var now = Stopwatch.GetTimestamp();
                var spent = Stopwatch.GetElapsedTime(began, now).TotalSeconds;
                began = now;
                return step < 2 ? 0 : spent / steps;
            }
            var loss = method.Loss(model, batch);
            forward += Part();
            loss.backward();
            backward += Part();
            optimiser.Step(1e-4, optimiser.GradientNorm(), 1);
            update += Part();
        }
        var spent = forward + backward + update;
        var work = 3 * rows * TrainingSpeed.Forward(shape, contextLength, replyLength);
        Figures.Print($"training, {name} ({EncoderDecoder.ParameterCount(shape) / 1e6:F0} M)", batch.Tokens / spent, string.Create(CultureInfo.InvariantCulture, $"tokens/s; forward {1000 * forward:F1}, backward {1000 * backward:F1}, update {1000 * update:F1} ms"));
        Figures.Print("  share of the product's speed", 100 * work / spent / peak, "%");
    }

    private static double Peak(Device device, int n)
    {
        using var scope = NewDisposeScope();
        Tensor a = randn([n, n], ScalarType.BFloat16, device), b = randn([n, n], ScalarType.BFloat16, device);
        var best = 0.0;
        for (var round = 0; round < 4; round++)
        {
            using var inner = NewDisposeScope();
            const int products = 10;
            var began = Stopwatch.GetTimestamp();
            var c = a;
            for (var i = 0; i < products; i++) c = a.mm(b);
            c[0, 0].item<BFloat16>();
            best = Math.Max(best, products * 2.0 * n * n * n / Stopwatch.GetElapsedTime(began).TotalSeconds);
        }
        return best;
    }
}
