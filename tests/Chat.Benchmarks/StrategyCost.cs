using System.CommandLine;
using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using SamplePlugin;

namespace Chat.Benchmarks;

/// <summary>
/// What rules and strategy take of a step, without a model: random scores, a dialogue of 500 tokens, defaults of each strategy; then the price of constraints, and of a strategy
/// that comes from an external assembly instead of this program.
/// </summary>
internal static class StrategyCost
{
    private const int ReplyTokens = 64, Separator = 1, Bytes = 3, Words = Bytes + 256;
    private const string Schema = """{"type":"array","minItems":40,"items":{"type":"object","properties":{"name":{"type":"string","maxLength":20},"age":{"type":"integer"},"friend":{"$ref":"#/items"}},"required":["name","age"],"additionalProperties":false}NOTE}""";

    public static Command Command()
    {
        var size = new Option<int>("--vocabulary") { Description = "Scores of a row.", DefaultValueFactory = _ => 8192 };
        var rounds = new Option<int>("--replies") { Description = "Replies of 64 tokens; the median counts.", DefaultValueFactory = _ => 15 };
        var command = new Command("strategies", "Time that each decoding strategy takes for a token.") { size, rounds };
        command.SetAction(result => Run(new Workload(result.GetValue(size)), result.GetValue(rounds)));
        return command;
    }

    private static void Run(Workload workload, int rounds)
    {
        foreach (var (name, strategy) in workload.Catalog.Strategies.OrderBy(s => s.Key, StringComparer.Ordinal))
            workload.Print(name, strategy, rounds, _ => strategy.Defaults);

        var sample = workload.Catalog.Strategies["sample"];
        var plain = sample.Defaults with { RepetitionPenalty = 1, NoRepeatNgram = 0 };
        DecodingOptions Guided(string note) => plain with { GuidedJson = JsonElement.Parse(Schema.Replace("NOTE", note, StringComparison.Ordinal)) };
        workload.Print("sample without repetition rules", sample, rounds, _ => plain);
        workload.Print("the same with guidedRegex", sample, rounds, _ => plain with { GuidedRegex = "([a-z\\u4e00-\\u9fff]+[,.]? ?)*" });
        workload.Print("the same with guidedJson", sample, rounds, _ => Guided(""));
        workload.Print("with a schema never seen before, its reading included", sample, rounds, round => Guided($""","title":"{round}" """), countStart: true);

        var inside = new SampleEpsilon();
        workload.Print("sample-epsilon of this program", inside, rounds, _ => inside.Defaults);
        var options = new PluginFolderOptions { Folder = Path.Combine(AppContext.BaseDirectory, "Plugins"), Allowed = new Dictionary<string, string> { ["SamplePlugin"] = "any" } };
        var start = Stopwatch.GetTimestamp();
        var catalog = new DecodingCatalog(new PluginCatalog(PluginFolder.Load(options, [typeof(PluginCatalog).Assembly, typeof(IDecodingStrategy).Assembly])));
        var loading = Stopwatch.GetElapsedTime(start);
        var outside = catalog.Strategies["sample-epsilon"];
        workload.Print("sample-epsilon of an external assembly", outside, rounds, _ => outside.Defaults);
        Figures.PrintQuantiles("loading an external assembly", [loading.TotalMilliseconds], "ms");
    }

    private sealed class Workload
    {
        private readonly Random random = new(1);
        private readonly TokenTable table;
        private readonly int[] dialogue;
        private readonly float[] scores;
        private readonly int size;

        public Workload(int size)
        {
            this.size = size;
            // The bytes, then two Chinese characters a token: the n-gram index has work to do, and every text can be written.
            string[] texts = [.. Enumerable.Range(0, size).Select(id => id < Words ? $"<{id}>" : $"{(char)(0x4E00 + id / 90)}{(char)(0x5E00 + id % 90)}")];
            table = new TokenTable(texts, [.. texts.Select((text, id) => id < Bytes ? [] : id < Words ? [(byte)(id - Bytes)] : Encoding.UTF8.GetBytes(text))], Separator);
            dialogue = [.. Enumerable.Range(0, 500).Select(i => i % 25 == 24 ? Separator : random.Next(Words, size))];
            scores = new float[16 * size];
            foreach (ref var s in scores.AsSpan()) s = (float)(3 * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        }

        public DecodingCatalog Catalog { get; } = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));

        /// <param name="optionsOf">Options of a round.</param>
        /// <param name="countStart">Counts what a request's rules take to begin, too.</param>
        public void Print(string name, IDecodingStrategy strategy, int rounds, Func<int, DecodingOptions> optionsOf, bool countStart = false)
        {
            var times = new List<double>();
            for (var round = 0; round <= rounds; round++)
            {
                var options = optionsOf(round) with { Seed = round, MinTokens = ReplyTokens, MaxTokens = ReplyTokens, Antonyms = false };
                var begin = Stopwatch.GetTimestamp();
                var search = strategy.Start(options, new() { Tokens = table, Dialogue = dialogue, Random = new(round, 0), Rules = Catalog.StartRules(options, table, dialogue) });
                var spent = countStart ? Stopwatch.GetElapsedTime(begin) : TimeSpan.Zero;
                var step = new SearchStep();
                var live = 1;
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
                if (round > 0) times.Add(spent.TotalMicroseconds / ReplyTokens);
            }
            Figures.PrintQuantiles(name, times, "µs a token");
        }
    }
}
