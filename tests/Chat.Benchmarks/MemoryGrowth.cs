using System.CommandLine;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Checkpoints;
using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Benchmarks;

/// <summary>
/// Whether memory grows with what was said: many tokens through the engine's loop, from requests of every kind that come, end, are cancelled and set back; at equal
/// distances the live managed heap, the process's private memory (native buffers are in it, touched or not), what of all is resident, and what was allocated since the last look: by steps a token, and to begin a request.
/// </summary>
internal static class MemoryGrowth
{
    // Greedy, sampled, four beams, many rules.
    private static readonly string[] Strategies = ["greedy", "sample", "beam", "eva2"];

    public static Command Command()
    {
        var folder = new Argument<string>("model") { Description = "A model folder." };
        var tokens = new Option<int>("--tokens") { Description = "Tokens to generate.", DefaultValueFactory = _ => 100_000 };
        var looks = new Option<int>("--looks") { Description = "Lines to print.", DefaultValueFactory = _ => 10 };
        var rows = new Option<int>("--rows") { Description = "Hypotheses alive at once.", DefaultValueFactory = _ => 16 };
        var cache = new Option<long>("--cache-bytes") { Description = "Memory for keys and values; little of it sets requests back.", DefaultValueFactory = _ => 4L << 20 };
        var only = new Option<string?>("--only") { Description = "One strategy instead of all, and no cancels: what a token of it costs." };
        var command = new Command("growth", "Memory over a hundred thousand tokens.") { folder, tokens, looks, rows, cache, only };
        command.SetAction(result => Run(result.GetValue(folder)!, result.GetValue(tokens), result.GetValue(looks), result.GetValue(rows), result.GetValue(cache), result.GetValue(only)));
        return command;
    }

    private static void Run(string path, int tokens, int looks, int rows, long cacheBytes, string? only)
    {
        var model = ServedModel.OnKernels(ModelFolder.Open(path), Chat.Models.Kernels.WeightFormat.Int8, cacheBytes: cacheBytes);
        var reader = new DialogueReader(model.Tokenizer, model.Description.MaxPromptTokens);
        var catalog = new DecodingCatalog(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
        using var runner = model.CreateRunner(rows);
        var loop = new GenerationLoop(new EngineOptions { Rows = rows, OnFailure = error => throw new InvalidOperationException("The model failed.", error) }, TimeProvider.System);
        var random = new Random(1);
        var running = new List<Sequence>();
        int said = 0, requests = 0, cancelled = 0, setBack = 0;
        using var preemptions = new MeterListener();
        preemptions.SetMeasurementEventCallback<long>((_, count, _, _) => setBack += (int)count);
        preemptions.EnableMeasurementEvents(ChatMeter.Preemptions);
        preemptions.Start();
        var (stepping, starting, saidBefore, requestsBefore) = (0L, 0L, 0, 0);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{model.Description.Id}, {rows} rows, {cacheBytes} bytes for keys and values, {only ?? string.Join(", ", Strategies)}, {Environment.ProcessorCount} processors"));
        Console.WriteLine("  tokens  requests  cancelled  set back  live heap, KiB  private, MiB  resident, MiB  allocated a token, bytes  to begin a request");
        for (var look = 1; look <= looks; look++)
        {
            while (said < (long)tokens * look / looks)
            {
                while (running.Count < rows)
                {
                    var before = GC.GetAllocatedBytesForCurrentThread();
                    running.Add(Start());
                    starting += GC.GetAllocatedBytesForCurrentThread() - before;
                    loop.Submit(running[^1]);
                }
                stepping -= GC.GetAllocatedBytesForCurrentThread();
                loop.Step(runner);
                stepping += GC.GetAllocatedBytesForCurrentThread();
                foreach (var sequence in running)
                {
                    if (only is null && random.Next(400) == 0 && !sequence.IsCancelled)
                    {
                        sequence.Cancel(stopped: true);
                        cancelled++;
                    }
                    while (sequence.Output.TryRead(out var chunk)) said += chunk.Tokens.Count;
                }
                running.RemoveAll(sequence => sequence.Output.Completion.IsCompleted);
            }
            var live = GC.GetTotalMemory(forceFullCollection: true);
            using var process = Process.GetCurrentProcess();
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{said,8} {requests,9} {cancelled,10} {setBack,9} {live / 1024,15} {process.PrivateMemorySize64 / 1048576.0,13:0.0} {process.WorkingSet64 / 1048576.0,14:0.0} {stepping / (double)(said - saidBefore),25:0} {starting / (double)(requests - requestsBefore),18:0}"));
            (stepping, starting, saidBefore, requestsBefore) = (0, 0, said, requests);
        }

        Sequence Start()
        {
            var seed = requests++;
            var strategy = catalog.Strategies[only ?? Strategies[seed % Strategies.Length]];
            var options = strategy.Defaults with { Seed = seed, MinTokens = 20, MaxTokens = Math.Min(60, model.Description.MaxCompletionTokens), Antonyms = false };
            var (context, dialogue) = reader.Read([new(ChatRole.User, $"{(seed % 3 == 0 ? "What do you think of the number" : "你喜欢这个数字吗")} {seed % 500}?")]);
            return new()
            {
                Search = strategy.Start(options, new() { Tokens = model.Tokens, Dialogue = dialogue, Random = new(seed, 0), Rules = catalog.StartRules(options, model.Tokens, dialogue) }),
                Width = strategy.Width(options), MaxTokens = options.MaxTokens, Context = context, Emitted = [], Text = new(model.Tokens, []),
                Tenant = $"{seed % 7}", Priority = seed % 11 == 0 ? 1 : 0, Arrived = TimeProvider.System.GetTimestamp(),
            };
        }
    }
}
