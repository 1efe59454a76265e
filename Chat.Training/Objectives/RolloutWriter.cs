using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Training.Objectives;

/// <summary>A reply as the engine wrote it, its end token included where it ended by itself, with the log-probability of each token under the law it was drawn from.</summary>
public sealed record WrittenReply(int[] Labels, double[] Logprobs)
{
    public static WrittenReply Of(IReadOnlyCollection<DrawnToken> drawn) => new([.. drawn.Select(token => token.Id)], [.. drawn.Select(token => (double)token.Logprob)]);
}

/// <summary>
/// Writes replies with the engine that serves: its scheduler, its batches, its sampler, on the caller's thread. Temperature 1, no rules, nothing cut: the model's own law. A
/// reply depends on its seed and number alone, not on the others of the batch (up to the arithmetic's rounding).
/// </summary>
/// <param name="rows">Replies written side by side.</param>
public sealed class RolloutWriter(TokenTable tokens, int rows)
{
    /// <param name="runner">Whose words they are. Not disposed of.</param>
    /// <param name="contexts">As <see cref="Methods.Sample"/> has them.</param>
    /// <param name="longest">Tokens a reply has at most, the end token counted; one that reaches it is cut and has none.</param>
    /// <param name="temperature">Scores are divided by it.</param>
    /// <param name="first">Number of the first reply; the others follow.</param>
    /// <exception cref="InvalidOperationException">The model failed.</exception>
    public WrittenReply[] Write(IRunner runner, IReadOnlyList<int[]> contexts, int longest, double temperature, ulong seed, long first)
    {
        Exception? failure = null;
        var loop = new GenerationLoop(new() { Rows = Math.Min(rows, runner.Rows), QueueLimit = contexts.Count + 1, PrefillTokens = 2048, OnFailure = error => failure = error }, TimeProvider.System);
        var searches = contexts.Select((context, i) => Submit(loop, context, longest, temperature, seed, first + i)).ToArray();
        while (loop.Step(runner) && failure is null) { }
        if (failure is not null) throw new InvalidOperationException($"Replies could not be written: {failure.Message}", failure);
        return [.. searches.Select(search => WrittenReply.Of(search.Drawn))];
    }

    /// <summary>The seed of a reply's random stream, whoever writes it.</summary>
    public static long SeedOf(ulong seed, long number) => (long)Methods.RandomStream.Of(seed, "reply", number).Next();

    private DrawSearch Submit(GenerationLoop loop, int[] context, int longest, double temperature, ulong seed, long number)
    {
        var search = new DrawSearch(tokens, new(SeedOf(seed, number), 0), longest, temperature);
        loop.Submit(new()
        {
            Search = search,
            Width = 1,
            Context = context,
            Emitted = [],
            Text = new(tokens, []),
            MaxTokens = longest,
            Arrived = 0,
        });
        return search;
    }
}
