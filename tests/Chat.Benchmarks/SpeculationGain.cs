using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Engine.Speculation;
using Chat.Models.Kernels;
using Chat.Models.Modules;
using static TorchSharp.torch;

namespace Chat.Benchmarks;

/// <summary>
/// What guessing ahead brings: replies through the engine's loop with nobody guessing, earlier text, and a draft model, by the policy and with fixed lengths. All take turns in each round, over the same
/// prompts and seeds; they give the same replies, which is checked. Beside each measured factor stands what the formula makes of the measured acceptance and costs.
/// </summary>
internal static class SpeculationGain
{
    private const int End = 1;
    private static readonly string[] Prompts =
    [
        "What brings you here, stranger?", "你从哪里来？", "How do I print a long document on both sides?", "今天天气怎么样？", "Tell me about the war in the north.", "请再说一遍：床前明月光，疑是地上霜。",
    ];

    public static Command Command()
    {
        var model = new Argument<string?>("model") { Description = "A model folder.", Arity = ArgumentArity.ZeroOrOne };
        var draft = new Option<string?>("--draft") { Description = "The folder of its draft model." };
        var synthetic = new Option<bool>("--synthetic") { Description = "Instead of folders: random weights of a 0.5 B Qwen2's shape, a draft of less than a tenth, and guesses of which seven in ten are made right." };
        var format = new Option<WeightFormat>("--weights") { DefaultValueFactory = _ => WeightFormat.Int8 };
        var temperature = new Option<double>("--temperature") { DefaultValueFactory = _ => 0.9 };
        var tokens = new Option<int>("--tokens") { Description = "Tokens of a reply.", DefaultValueFactory = _ => 48 };
        var batch = new Option<int>("--batch") { Description = "Replies at once.", DefaultValueFactory = _ => 1 };
        var rounds = new Option<int>("--rounds") { DefaultValueFactory = _ => 10 };
        var lengths = new Option<int[]>("--lengths") { Description = "Fixed lengths to try beside the policy's.", DefaultValueFactory = _ => [1, 2, 4], AllowMultipleArgumentsPerToken = true };
        var widths = new Option<int[]>("--widths") { Description = "How many chains a reply may have beside each other, 1 to 4.", DefaultValueFactory = _ => [1], AllowMultipleArgumentsPerToken = true };
        var command = new Command("speculation", "Acceptance, tokens a pass and wall-clock gain of guessing ahead.") { model, draft, synthetic, format, temperature, tokens, batch, rounds, lengths, widths };
        command.SetAction(result =>
        {
            var rows = result.GetValue(batch) * result.GetValue(widths)!.Max();
            using var pair = result.GetValue(synthetic) ? Pair.Synthetic(result.GetValue(format), result.GetValue(tokens), rows)
                : Pair.Of(result.GetValue(model) ?? throw new ArgumentException("Name a model folder, or --synthetic."), result.GetValue(draft), result.GetValue(format), rows);
            Run(pair, result.GetValue(synthetic) ? 0 : result.GetValue(temperature), result.GetValue(tokens), result.GetValue(batch), result.GetValue(rounds), result.GetValue(lengths)!, result.GetValue(widths)!);
        });
        return command;
    }

    private static void Run(Pair pair, double temperature, int tokens, int batch, int rounds, int[] lengths, int[] widths)
    {
        var options = new DecodingOptions { Temperature = temperature, TopP = 0.9, MinTokens = tokens, MaxTokens = tokens };
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{pair.Name}, temperature {temperature}, {tokens} tokens a reply, {batch} at once, {rounds} rounds, {Environment.ProcessorCount} processors"));
        var kinds = new List<Models.Decoding.Speculation> { Models.Decoding.Speculation.Ngram };
        if (pair.CreateDraft is not null) kinds.Add(Models.Decoding.Speculation.Draft);
        var plain = new Arm("nobody guesses", pair, Models.Decoding.Speculation.Draft, 0, 1);
        Arm[] arms =
        [
            plain,
            .. from kind in kinds from width in widths from length in lengths.Select(length => (int?)length).Prepend(null)
               select new Arm($"{kind}, {(length is { } fixedLength ? $"{width} × {fixedLength} always" : $"policy, width {width}")}", pair, kind, length, width),
        ];
        for (var round = 0; round <= rounds; round++)
        {
            var said = plain.Round(options, batch, round, counts: round > 0);
            foreach (var arm in round % 2 == 0 ? arms.Skip(1) : arms.Skip(1).Reverse())
                if (!said.SequenceEqual(arm.Round(options, batch, round, counts: round > 0))) throw new InvalidOperationException($"{arm.Name}: the reply is another one.");
        }
        foreach (var arm in arms)
        {
            Figures.PrintQuantiles($"{arm.Name}", arm.Rates, "tokens/s");
            if (arm != plain) arm.Report(plain);
            arm.Dispose();
        }
    }

    /// <summary>One way of guessing.</summary>
    private sealed class Arm : IDisposable
    {
        private readonly Pair pair;
        private readonly Models.Decoding.Speculation kind;
        private readonly int? length;
        private readonly int width;
        private readonly Speculator speculator;
        private readonly GenerationLoop loop;
        private readonly List<(int Length, int Width)> chosen = [];
        private readonly Dictionary<int, List<double>> passes = [];
        private readonly List<double> guesses = [];
        private int allPasses, allGuessed, allConfirmed;
        private bool counts;

        public Arm(string name, Pair pair, Models.Decoding.Speculation kind, int? length, int width)
        {
            (Name, this.pair, this.kind, this.length, this.width) = (name, pair, kind, length, width);
            IDraftProposer proposer = kind == Models.Decoding.Speculation.Ngram || length == 0 ? new NgramDraft(End) : pair.CreateDraft!();
            speculator = new(new Dictionary<Models.Decoding.Speculation, IDraftProposer> { [kind] = proposer }, () => new Watched(this), TimeProvider.System);
            loop = new(new EngineOptions { Rows = pair.Runner.Rows }, TimeProvider.System) { Speculator = speculator };
        }

        public string Name { get; }
        public List<double> Rates { get; } = [];

        public List<int> Round(DecodingOptions options, int batch, int round, bool counts)
        {
            this.counts = counts;
            var said = new List<int>();
            var spent = TimeSpan.Zero;
            for (var first = 0; first < Prompts.Length; first += batch)
            {
                Sequence[] sequences = [.. Enumerable.Range(first, batch).Select(i => pair.Start(options with { Seed = 100 * round + i }, Prompts[i % Prompts.Length], kind, width))];
                foreach (var sequence in sequences) loop.Submit(sequence);
                loop.Step(pair.Runner);                                     // reads the prompts
                var start = Stopwatch.GetTimestamp();
                while (sequences.Any(sequence => !sequence.Output.Completion.IsCompleted))
                {
                    loop.Step(pair.Runner);
                    foreach (var sequence in sequences)
                        while (sequence.Output.TryRead(out var chunk))
                        {
                            said.AddRange(chunk.Tokens.Select(token => token.Chosen.Id));
                            if (chunk.End?.Speculation is { } use && counts) (allPasses, allGuessed, allConfirmed) = (allPasses + use.Passes, allGuessed + use.Guessed, allConfirmed + use.Confirmed);
                        }
                }
                spent += Stopwatch.GetElapsedTime(start);
            }
            if (batch == 1) pair.Remember(said, options.MaxTokens);
            if (counts) Rates.Add(said.Count / spent.TotalSeconds);
            return said;
        }

        public void Report(Arm plain)
        {
            Figures.PrintQuantiles("  … times nobody's", [.. Rates.Zip(plain.Rates, (rate, first) => rate / first)], "×");
            var perPass = 1 + allConfirmed / (double)allPasses;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  tokens a pass {perPass:0.00}, guesses {allGuessed / (double)allPasses:0.00} a pass, confirmed {(allGuessed == 0 ? 0 : 100.0 * allConfirmed / allGuessed):0} %"));
            if (length is not { } fixedLength)
            {
                Console.WriteLine($"  chosen: {string.Join(", ", chosen.GroupBy(n => n).OrderBy(g => g.Key).Select(g => string.Create(CultureInfo.InvariantCulture, $"{g.Key.Width} × {g.Key.Length} in {100.0 * g.Count() / chosen.Count:0} %")))}");
                return;
            }
            if (kind != Models.Decoding.Speculation.Draft || !passes.ContainsKey(width * (fixedLength + 1)) || !plain.passes.TryGetValue(1, out var one)) return;
            var (cost, pass) = (Median(guesses) / Median(one), Median(passes[width * (fixedLength + 1)]) / Median(one));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"  a guess costs {cost:0.000} of a pass, a pass of {width * (fixedLength + 1)} costs {pass:0.00}; formula with equal passes {perPass / (fixedLength * cost + 1):0.00}, with these {perPass / (fixedLength * cost + pass):0.00}"));
        }

        public void Dispose() => speculator.Dispose();

        private static double Median(List<double> values) => Figures.Quantile([.. values.Order()], 0.5);

        /// <summary>The policy, or a fixed length in its place; writes down what it is told.</summary>
        private sealed class Watched(Arm arm) : ISpeculationPolicy
        {
            private readonly SpeculationPolicy policy = new();

            public (int Length, int Width) Choose(double acceptance, double rescue, int guessing, int others, int width)
            {
                var choice = arm.length is { } length ? (length, width) : policy.Choose(acceptance, rescue, guessing, others, width);
                if (arm.counts) arm.chosen.Add(choice);
                return choice;
            }

            public void Passed(int tokens, double seconds)
            {
                policy.Passed(tokens, seconds);
                if (!arm.counts) return;
                if (!arm.passes.TryGetValue(tokens, out var times)) arm.passes[tokens] = times = [];
                times.Add(seconds);
            }

            public void Guessed(int chains, int steps, double seconds)
            {
                policy.Guessed(chains, steps, seconds);
                if (arm.counts) arm.guesses.Add(seconds / steps);
            }
        }
    }

    /// <summary>A model and its draft.</summary>
    private sealed class Pair : IDisposable
    {
        private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
        private readonly List<int[]> replies = [];
        private Func<string, int[]> read = null!;
        private TokenTable tokens = null!;

        public required string Name { get; init; }
        public required IRunner Runner { get; init; }
        public Func<IDraftProposer>? CreateDraft { get; private set; }

        public static Pair Of(string path, string? draft, WeightFormat format, int rows)
        {
            var folder = ModelFolder.Open(path);
            var served = ServedModel.OnKernels(folder, format);
            var pair = new Pair { Name = $"{folder.Description.Id}, {format}", Runner = served.CreateRunner(rows) };
            var reader = served.Reader ?? new DialogueReader(folder.Tokenizer, folder.Description.MaxPromptTokens);
            (pair.tokens, pair.read) = (served.Tokens, text => reader.Read([new(ChatRole.User, text)]).Context);
            if (draft is not null)
            {
                var small = ServedModel.OnKernels(ModelFolder.Open(draft), format);
                served.RequireDraft(small);
                pair.CreateDraft = () => new ModelDraft(small.CreateRunner(rows), served.Tokens.Separator);
            }
            return pair;
        }

        /// <summary>Random weights: the arithmetic of the real thing, and nothing to say.</summary>
        public static Pair Synthetic(WeightFormat format, int longest, int rows)
        {
            var target = new DecoderConfig
            {
                Family = DecoderFamily.Qwen2, VocabularySize = 151_936, Width = 896, FeedForward = 4864, Layers = 24, Heads = 14, KeyValueHeads = 2, HeadWidth = 64, MaxPositions = 32_768, Epsilon = 1e-6,
                Activation = Activation.Silu, Gated = true, LayerNorm = false, Rotary = new(1_000_000), Tied = true, AttentionBias = true, Start = 0, Ends = [End],
            };
            var small = target with { Width = 256, FeedForward = 1024, Layers = 6, Heads = 4, KeyValueHeads = 1 };
            var pair = new Pair
            {
                Name = $"SYNTHETIC: {DecoderWeights.ParameterCount(target) / 1e6:0} M random weights, draft {DecoderWeights.ParameterCount(small) / 1e6:0} M, {format}, 70 % of guesses made right, of first ones 40 % of those that remain by each further chain", Runner = Random(target, format, longest, rows),
                tokens = new([.. Enumerable.Range(0, target.VocabularySize).Select(id => $"{id}")], [.. Enumerable.Range(0, target.VocabularySize).Select(id => id <= End ? [] : new[] { (byte)'x' })], End),
            };
            pair.read = text => [.. Enumerable.Range(0, 40).Select(i => 2 + 7919 * (text.GetHashCode(StringComparison.Ordinal) % 1000 + 1000 + i) % (target.VocabularySize - 2))];
            pair.CreateDraft = () => new MadeRight(new ModelDraft(Random(small, format, longest, rows), End), pair);
            return pair;
        }

        public Sequence Start(DecodingOptions options, string prompt, Models.Decoding.Speculation kind, int width)
        {
            var context = read(prompt);
            return new()
            {
                Search = new Sample().Start(options, new() { Tokens = tokens, Dialogue = context, Random = new(options.Seed, 0), Rules = Catalog.StartRules(options, tokens, context) }),
                Width = 1,
                Context = context,
                Emitted = [],
                Text = new(tokens, []),
                Arrived = TimeProvider.System.GetTimestamp(),
                Speculation = kind,
                SpeculationWidth = width,
                MaxTokens = options.MaxTokens,
            };
        }

        /// <summary>Keeps what was said, so that guesses can be made right.</summary>
        public void Remember(List<int> said, int each)
        {
            if (replies.Count > 0) return;
            replies.AddRange(said.Chunk(each));
        }

        public void Dispose() => Runner.Dispose();

        private static CpuRunner Random(DecoderConfig config, WeightFormat format, int longest, int rows)
        {
            var folder = Directory.CreateTempSubdirectory("speculation");
            try
            {
                using (var model = new Decoder(config, seed: 1, dtype: ScalarType.BFloat16)) DecoderWeights.Save(model, Path.Combine(folder.FullName, Checkpoint.SingleFile));
                using var checkpoint = Checkpoint.OpenFolder(folder.FullName);
                return new(config, checkpoint, rows, maxContext: 64, maxReply: longest, format);
            }
            finally
            {
                folder.Delete(recursive: true);
            }
        }

        /// <summary>Lets a draft model do all its work, and then puts in the place of each guess the token that will be said, in seven of ten cases; where a guess begins wrong, each further chain begins right in four of ten. At temperature 0 a prompt is always answered alike.</summary>
        private sealed class MadeRight(ModelDraft draft, Pair pair) : IDraftProposer
        {
            private readonly System.Random random = new(1);

            public void Propose(ReadOnlySpan<DraftRequest> requests)
            {
                draft.Propose(requests);
                foreach (var request in requests)
                {
                    var reply = pair.replies.FirstOrDefault(known => known.AsSpan().StartsWith(request.Reply.ToArray()) && pair.replies.Count > 0);
                    int Next(int i) => reply is not null && request.Reply.Count + i < reply.Length ? reply[request.Reply.Count + i] : 2;
                    var isRight = false;
                    foreach (var (number, chain) in request.Others.Prepend(request.Guess).Index())
                    {
                        // Chains begin with different tokens: two wrong ones for each.
                        for (var i = 0; i < chain.Count; i++)
                            chain[i] = (i > 0 || !isRight) && random.NextDouble() < (i == 0 && number > 0 ? 0.4 : 0.7) ? Next(i) : Next(i) == 3 + 2 * number ? 4 + 2 * number : 3 + 2 * number;
                        isRight |= chain.Count > 0 && chain[0] == Next(0);
                    }
                }
            }

            public void Free(int row) => draft.Free(row);
            public void Dispose() => draft.Dispose();
        }
    }
}
