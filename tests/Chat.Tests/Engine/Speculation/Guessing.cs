using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Chat.Models.Engine.Speculation;

namespace Chat.Tests.Engine.Speculation;

/// <summary>Toys that guess and are guessed for, and what they say.</summary>
internal static class Guessing
{
    public const int Vocabulary = 12, End = 1;
    public static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));

    public static ToyRunner Toy(int rows) => new(Vocabulary, rows) { Tiredness = 0.1f };

    public static Speculator Speculator(IRunner draft, Func<ISpeculationPolicy> policy) => new(new Dictionary<Models.Decoding.Speculation, IDraftProposer>
    {
        [Models.Decoding.Speculation.Ngram] = new NgramDraft(End),
        [Models.Decoding.Speculation.Draft] = new ModelDraft(draft, End),
    }, policy, TimeProvider.System);

    public static List<GenerationChunk> Alone(IRunner runner, Sequence sequence) => Hear(new(new EngineOptions { Rows = 4 }, TimeProvider.System), runner, sequence);

    public static List<GenerationChunk> Hear(GenerationLoop loop, IRunner runner, Sequence sequence)
    {
        loop.Submit(sequence);
        var heard = new List<GenerationChunk>();
        while (heard.LastOrDefault()?.End is null)
        {
            Assert.True(loop.Step(runner));
            heard.AddRange(Read(sequence));
        }
        return heard;
    }

    public static List<GenerationChunk> Read(Sequence sequence)
    {
        var heard = new List<GenerationChunk>();
        while (sequence.Output.TryRead(out var chunk)) heard.Add(chunk);
        return heard;
    }

    public static Sequence Start(IDecodingStrategy strategy, DecodingOptions options, Models.Decoding.Speculation kind, int[] context, int[] emitted, int vocabulary = Vocabulary) =>
        Start(strategy, options, kind, context, emitted,
            new TokenTable([.. Enumerable.Range(0, vocabulary).Select(i => $"<{i}>")], [.. Enumerable.Range(0, vocabulary).Select(i => i <= End ? [] : new[] { (byte)('a' + i % 26) })], End));

    public static Sequence Start(IDecodingStrategy strategy, DecodingOptions options, Models.Decoding.Speculation kind, int[] context, int[] emitted, TokenTable tokens) =>
        new()
        {
            Search = strategy.Start(options, new() { Tokens = tokens, Dialogue = context, Emitted = emitted, Random = new(options.Seed, 0), Rules = Catalog.StartRules(options, tokens, context) }),
            Width = strategy.Width(options),
            Context = context,
            Emitted = emitted,
            Text = new(tokens, ["ijk"]),
            Arrived = TimeProvider.System.GetTimestamp(),
            Speculation = strategy.IsPure ? kind : Models.Decoding.Speculation.None,
            SpeculationWidth = options.SpeculationWidth,
            MaxTokens = options.MaxTokens,
        };

    public static int[] Ids(IEnumerable<GenerationChunk> chunks) => [.. chunks.SelectMany(c => c.Tokens).Select(t => t.Chosen.Id)];
    public static string Text(IEnumerable<GenerationChunk> chunks) => string.Concat(chunks.Select(c => c.Text));
    public static IEnumerable<float> Logprobs(IEnumerable<GenerationChunk> chunks) => chunks.SelectMany(c => c.Tokens).Select(t => t.Chosen.Logprob);
}

/// <summary>Any length, now this and now that.</summary>
internal sealed class Whim(int seed) : ISpeculationPolicy
{
    private readonly Random random = new(seed);

    public (int Length, int Width) Choose(double acceptance, double rescue, int guessing, int others, int width) => (random.Next(6), 1 + random.Next(width));
    public void Passed(int tokens, double seconds) { }
    public void Guessed(int chains, int steps, double seconds) { }
}

internal sealed class Always(int length, int width = 1) : ISpeculationPolicy
{
    public (int Length, int Width) Choose(double acceptance, double rescue, int guessing, int others, int most) => (length, Math.Min(width, most));
    public void Passed(int tokens, double seconds) { }
    public void Guessed(int chains, int steps, double seconds) { }
}
