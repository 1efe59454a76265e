using Chat.Models.Decoding;

namespace Chat.Tests.Decoding;

/// <summary>A random language model over a few letters: the scores are a function of the ids before. Id 0 is «unknown», 1 ends a reply, the others are letters.</summary>
internal sealed class ToyModel(int seed, int size)
{
    public const int Separator = 1;

    public TokenTable Tokens { get; } = new([.. Enumerable.Range(0, size).Select(Name)], [.. Enumerable.Range(0, size).Select(i => i <= Separator ? [] : System.Text.Encoding.UTF8.GetBytes(Name(i)))], Separator);

    public int Size => size;

    /// <summary>Multiplies all scores.</summary>
    public float Scale { get; init; } = 2;

    public float[] Logits(ReadOnlySpan<int> before)
    {
        var hash = (ulong)seed * 0x9E3779B97F4A7C15 + 1;
        foreach (var id in before) hash = (hash ^ (ulong)(id + 1)) * 0xD1342543DE82EF95 + 0x632BE59BD9B4E019;
        var draws = new RandomStream((long)hash, 0).At(0);
        var logits = new float[size];
        foreach (ref var z in logits.AsSpan()) z = Scale * (float)Math.Sqrt(-2 * Math.Log(1 - draws.Next())) * (float)Math.Cos(2 * Math.PI * draws.Next());
        return logits;
    }

    /// <summary>Runs a strategy to its end, with one row a live hypothesis.</summary>
    public Reply Run(IDecodingStrategy strategy, DecodingOptions options, DecodingCatalog catalog, int[]? dialogue = null, int[]? emitted = null, int index = 0)
    {
        var search = strategy.Start(options, new()
        {
            Tokens = Tokens,
            Dialogue = dialogue ?? [],
            Emitted = emitted ?? [],
            Random = new(options.Seed, index),
            Rules = catalog.StartRules(options, Tokens, dialogue ?? []),
        });
        return Run(search, strategy.Width(options), emitted ?? []);
    }

    public Reply Run(ISearch search, int width, int[] emitted)
    {
        var live = new List<int[]> { emitted };
        var step = new SearchStep();
        var certain = new List<ChosenToken>();
        var widest = 0;
        while (true)
        {
            widest = Math.Max(widest, live.Count);
            search.Step(live.SelectMany(ids => Logits(ids)).ToArray(), step);
            certain.AddRange(step.Certain);
            if (step.IsDone) return new([.. certain.Select(c => c.Id)], [.. certain], step.Ended, widest);
            live = [.. step.Next.Select(n => live[n.Parent].Append(n.Token).ToArray())];
            Assert.InRange(live.Count, 1, width);
        }
    }

    private static string Name(int id) => id switch { 0 => "<unk>", Separator => "<sep>", _ => ((char)('a' + id - 2)).ToString() };
}

internal sealed record Reply(int[] Ids, ChosenToken[] Tokens, bool Ended, int Widest);
