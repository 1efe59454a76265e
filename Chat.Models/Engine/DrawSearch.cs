using Chat.Domain.Generation;
using Chat.Models.Decoding;
using static Chat.Models.Engine.WishCheck;

namespace Chat.Models.Engine;

/// <summary>A reply to be drawn from the model's own law: scores over a temperature, no rules, nothing cut.</summary>
public sealed record DrawWish
{
    public required string Model { get; init; }

    /// <summary>What the model reads.</summary>
    public required IReadOnlyList<int> Context { get; init; }

    /// <summary>Tokens of the reply, the end token counted.</summary>
    public required int MaxTokens { get; init; }

    /// <summary>Scores are divided by it.</summary>
    public double Temperature { get; init; } = 1;

    public long Seed { get; init; }

    /// <exception cref="GenerationException">It does not fit the model.</exception>
    internal void Check(ServedModel model)
    {
        var (tokens, description) = (model.Tokens, model.Description);
        if (Context.Count == 0) throw Invalid("context must not be empty.", "context");
        Fits("context", Context, description.MaxPromptTokens, "reads");
        Known("context", Context, tokens.Count);
        if (MaxTokens < 1) throw Invalid($"max_tokens must be positive, not {MaxTokens}.", "max_tokens");
        if (MaxTokens > description.MaxCompletionTokens) throw TooLong($"max_tokens is {MaxTokens}, this model writes at most {description.MaxCompletionTokens}.", "max_tokens");
        if (Temperature is not (> 0 and <= 2)) throw Invalid($"temperature must be above 0 and at most 2, not {Temperature}.", "temperature");
    }
}

/// <summary>A token of a drawn reply with its log-probability, in nats, under the law it was drawn from.</summary>
public readonly record struct DrawnToken(int Id, float Logprob);

/// <summary>
/// Draws a reply from the model's own law and writes down what it draws, the end token included where the reply ends by itself. No text comes of it. The reply is a function of the scores and the random
/// stream. Not thread-safe.
/// </summary>
public sealed class DrawSearch : ISearch
{
    private static readonly Sample Strategy = new();
    private readonly ISearch inner;
    private readonly int end;

    /// <param name="longest">Tokens of the reply, the end token counted; one that reaches it is cut and has none.</param>
    /// <param name="temperature">Above 0; scores are divided by it.</param>
    public DrawSearch(TokenTable tokens, RandomStream random, int longest, double temperature)
    {
        end = tokens.Separator;
        inner = Strategy.Start(new() { Temperature = temperature, MinTokens = 0, MaxTokens = longest }, new() { Tokens = tokens, Random = random, Rules = RowRules.None });
    }

    /// <summary>The reply so far.</summary>
    public List<DrawnToken> Drawn { get; } = [];

    public void Step(Span<float> scores, SearchStep step)
    {
        Scores.LogSoftmax(scores);
        var ending = scores[end];
        inner.Step(scores, step);
        foreach (var token in step.Certain) Drawn.Add(new(token.Id, token.Logprob));
        if (step.Ended) Drawn.Add(new(end, ending));
        step.Certain.Clear();
    }
}
