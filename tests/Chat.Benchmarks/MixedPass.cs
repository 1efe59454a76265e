using System.CommandLine;
using System.Diagnostics;
using Chat.Models.Architectures;
using Chat.Models.Checkpoints;
using Chat.Models.Engine;
using Chat.Models.Kernels;

namespace Chat.Benchmarks;

/// <summary>
/// A step that reads a part of a prompt and decodes others, as two passes and as one: what one mixed batch would bring. In the one, those that decode are prompts of which a last token
/// is due, which is the same arithmetic. Decoder-only folders; ids are random.
/// </summary>
internal static class MixedPass
{
    public static Command Command()
    {
        var folder = new Argument<string>("model") { Description = "A decoder-only model folder; a tokenizer is not needed." };
        var part = new Option<int>("--part") { Description = "Tokens of the prompt that are read.", DefaultValueFactory = _ => 240 };
        var others = new Option<int>("--others") { Description = "Replies that are decoded.", DefaultValueFactory = _ => 16 };
        var held = new Option<int>("--held") { Description = "Tokens behind each of them.", DefaultValueFactory = _ => 100 };
        var rounds = new Option<int>("--rounds") { DefaultValueFactory = _ => 9 };
        var command = new Command("mixed", "Reading and decoding in one pass against two.") { folder, part, others, held, rounds };
        command.SetAction(result => Run(result.GetValue(folder)!, result.GetValue(part), result.GetValue(others), result.GetValue(held), result.GetValue(rounds)));
        return command;
    }

    private static void Run(string path, int part, int others, int held, int rounds)
    {
        var config = Runners.DecoderConfigOf(path);
        using var checkpoint = Checkpoint.OpenFolder(path);
        using var runner = new CpuRunner(config, checkpoint, rowCount: others + 1, maxContext: Math.Max(2 * part, held + 2), maxReply: 16, WeightFormat.Int8);
        var random = new Random(1);
        int[] Ids(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(config.VocabularySize))];
        int[] rows = [.. Enumerable.Range(0, others)];
        var (decodes, two, one, ratios) = (new List<double>(), new List<double>(), new List<double>(), new List<double>());
        for (var round = 0; round <= rounds; round++)
        {
            foreach (var row in rows) runner.Prefill([new(row, Ids(held), default)]);
            runner.Open(new(others, Ids(2 * part), default));
            var read = Time(() => runner.Read([new(others, part)]));
            var decode = Time(() => runner.Decode(rows, Ids(others)));

            foreach (var row in rows)
            {
                var due = runner.Open(new(row, Ids(held + 1), default));
                runner.Read([new(row, due - 1)]);
            }
            runner.Open(new(others, Ids(2 * part), default));
            var mixed = Time(() => runner.Read([.. rows.Select(row => new RowTokens(row, 1)), new(others, part)]));
            if (round == 0) continue;                                                       // warms up
            decodes.Add(decode);
            two.Add(read + decode);
            one.Add(mixed);
            ratios.Add((read + decode) / mixed);
        }
        Console.WriteLine($"{part} tokens read, {others} decoded behind {held}, int8, {Environment.ProcessorCount} processors, {rounds} rounds");
        Figures.PrintQuantiles("decoding alone", decodes, "ms");
        Figures.PrintQuantiles("two passes", two, "ms");
        Figures.PrintQuantiles("one pass", one, "ms");
        Figures.PrintQuantiles("two / one", ratios, "×");
    }

    private static double Time(Action call)
    {
        var start = Stopwatch.GetTimestamp();
        call();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }
}
