using System.CommandLine;
using System.Diagnostics;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;

namespace Chat.Benchmarks;

/// <summary>What rules and strategy take of a step, without a model: random scores, a dialogue of 500 tokens, defaults of each strategy.</summary>
internal static class StrategyCost
{
    public static Command Command()
    {
        var size = new Option<int>("--vocabulary") { Description = "Scores of a row.", DefaultValueFactory = _ => 8192 };
        var rounds = new Option<int>("--replies") { Description = "Replies of 64 tokens; the median counts.", DefaultValueFactory = _ => 15 };
        var command = new Command("strategies", "Time that each decoding strategy takes for a token.") { size, rounds };
        command.SetAction(result => Run(result.GetValue(size), result.GetValue(rounds)));
        return command;
    }

    private static void Run(int size, int rounds)
    {
        const int tokens = 64, separator = 1;
        var catalog = new DecodingCatalog(new PluginCatalog(typeof(IDecodingStrategy).Assembly));
        // Two Chinese characters a token: the n-gram index has work to do.
        string[] texts = [.. Enumerable.Range(0, size).Select(id => id < 3 ? $"<{id}>" : $"{(char)(0x4E00 + id / 90)}{(char)(0x5E00 + id % 90)}")];
        var table = new TokenTable(texts, [.. texts.Select((text, id) => id < 3 ? [] : System.Text.Encoding.UTF8.GetBytes(text))], separator);
        var random = new Random(1);
        int[] dialogue = [.. Enumerable.Range(0, 500).Select(i => i % 25 == 24 ? separator : random.Next(3, size))];
        var scores = new float[16 * size];
        foreach (ref var s in scores.AsSpan()) s = (float)(3 * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));

        foreach (var (name, strategy) in catalog.Strategies.OrderBy(s => s.Key, StringComparer.Ordinal))
        {
            var times = new List<double>();
            for (var round = 0; round <= rounds; round++)
            {
                var options = strategy.Defaults with { Seed = round, MinTokens = tokens, MaxTokens = tokens, Antonyms = false };
                var search = strategy.Start(options, new() { Tokens = table, Dialogue = dialogue, Random = new(round, 0), Rules = catalog.StartRules(options, table, dialogue) });
                var step = new SearchStep();
                var (live, spent) = (1, TimeSpan.Zero);
                do
                {
                    var row = random.Next(16 - live + 1);
                    var rows = scores.AsSpan(row * size, live * size).ToArray();
                    var start = Stopwatch.GetTimestamp();
                    search.Step(rows, step);
                    spent += Stopwatch.GetElapsedTime(start);
                    live = step.Next.Count;
                }
                while (!step.IsDone);
                if (round > 0) times.Add(spent.TotalMicroseconds / tokens);
            }
            Figures.PrintQuantiles(name, times, "µs a token");
        }
    }
}
