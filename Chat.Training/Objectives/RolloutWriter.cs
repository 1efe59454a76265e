using Chat.Models.Decoding;
using Chat.Models.Engine;

namespace Chat.Training.Objectives;

/// <summary>A reply as the engine wrote it, its end token included where it ended by itself, with the log-probability of each token under the law it was drawn from.</summary>
public sealed record WrittenReply(int[] Labels, double[] Logprobs);

/// <summary>
/// Writes replies with the engine that serves: its scheduler, its batches, its sampler, on the caller's thread. Temperature 1, no rules, nothing cut: the model's own law. A
/// reply depends on its seed and number alone, not on the others of the batch (up to the arithmetic's rounding).
/// </summary>
/// <param name="rows">Replies written side by side.</param>
public sealed class RolloutWriter(TokenTable tokens, int rows)
{
    private static readonly Sample Strategy = new();

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
        return [.. searches.Select(search => search.Reply())];
    }

    private Recorder Submit(GenerationLoop loop, int[] context, int longest, double temperature, ulong seed, long number)
    {
        var options = new DecodingOptions { Temperature = temperature, MinTokens = 0, MaxTokens = longest, Seed = (long)seed };
        var recorder = new Recorder(Strategy.Start(options, new()
        {
            Tokens = tokens,
            Random = new((long)Methods.RandomStream.Of(seed, "reply", number).Next(), 0),
            Rules = RowRules.None,
        }), tokens.Separator);
        loop.Submit(new()
        {
            Search = recorder,
            Width = 1,
            Context = context,
            Emitted = [],
            Text = new(tokens, []),
            MaxTokens = longest,
            Arrived = 0,
        });
        return recorder;
    }

    /// <summary>Writes down what a search chooses. No text comes of it.</summary>
    private sealed class Recorder(ISearch inner, int end) : ISearch
    {
        private readonly List<int> labels = [];
        private readonly List<double> logprobs = [];

        public WrittenReply Reply() => new([.. labels], [.. logprobs]);

        public void Step(Span<float> scores, SearchStep step)
        {
            Scores.LogSoftmax(scores);
            var ending = scores[end];
            inner.Step(scores, step);
            foreach (var token in step.Certain)
            {
                labels.Add(token.Id);
                logprobs.Add(token.Logprob);
            }
            if (step.Ended)
            {
                labels.Add(end);
                logprobs.Add(ending);
            }
            step.Certain.Clear();
        }
    }
}
