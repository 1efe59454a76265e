using Chat.Domain.Plugins;

namespace Chat.Models.Decoding;

/// <summary>
/// Chooses the next tokens of one request. A strategy is stateless and thread-safe; <see cref="Start"/> gives the state of one request.
/// It sees rows of raw scores, ids and a random stream: no model, no tensor, no cache.
/// </summary>
[PluginKind("decoding")]
public interface IDecodingStrategy
{
    /// <summary>The options with this strategy's defaults. The record's type says which options the strategy knows.</summary>
    DecodingOptions Defaults { get; }

    /// <summary>
    /// Whether each token is a function of (tokens before it, its row of scores, the random stream at its position) alone. Only then can
    /// a reply be verified token by token (speculation) and be continued elsewhere from its emitted prefix with the same result.
    /// </summary>
    bool IsPure { get; }

    /// <summary>Rows that a request with these options may occupy at once.</summary>
    int Width(DecodingOptions options);

    /// <param name="options">Checked, of the type of <see cref="Defaults"/>.</param>
    ISearch Start(DecodingOptions options, DecodingContext context);
}

/// <summary>What a strategy knows of a request besides its options.</summary>
public sealed record DecodingContext
{
    public required TokenTable Tokens { get; init; }

    /// <summary>Ids of the whole dialogue before the reply, each turn ended by the separator; penalties and bans look at it together with the reply.</summary>
    public ReadOnlyMemory<int> Dialogue { get; init; }

    /// <summary>Ids of the reply that another run has already emitted.</summary>
    public ReadOnlyMemory<int> Emitted { get; init; }

    public required RandomStream Random { get; init; }

    /// <summary>Which of several choices of one request this is, from 0. The random stream differs already; a strategy without chance may give each another answer.</summary>
    public int Choice { get; init; }

    /// <summary>How many alternatives to report with each token.</summary>
    public int TopLogprobs { get; init; }

    /// <summary>Fresh rule states in the order in which they apply.</summary>
    public required RowRules Rules { get; init; }
}

/// <summary>The state of one request's search. Not thread-safe.</summary>
public interface ISearch
{
    /// <summary>
    /// Reads one row of raw scores for each live hypothesis and says how the search goes on. The first call has one live hypothesis
    /// (the emitted prefix, usually empty); later calls have those of the previous <see cref="SearchStep.Next"/>, in its order.
    /// </summary>
    /// <param name="scores">[live × V]; overwritten.</param>
    /// <param name="step">Cleared and filled.</param>
    /// <exception cref="ScoreException">A row holds NaN, or nothing that could be chosen.</exception>
    void Step(Span<float> scores, SearchStep step);

    /// <summary>An independent copy, to look ahead with another model's scores; <c>null</c> where the search cannot be copied.</summary>
    ISearch? Fork() => null;
}

/// <summary>Hypothesis <see cref="Parent"/> (an index into the live ones) goes on with <see cref="Token"/>.</summary>
public readonly record struct Continuation(int Parent, int Token);

/// <summary>
/// A token with its log-probability under the scores after rules and temperature, before top-k, top-p and min-p cut the tail
/// (temperature 0 reports at 1), and the most probable alternatives under the same distribution, best first.
/// </summary>
public readonly record struct ChosenToken(int Id, float Logprob, IReadOnlyList<(int Id, float Logprob)> Top)
{
    internal static ChosenToken From(ReadOnlySpan<float> row, float logTotal, int id, int alternatives)
    {
        if (alternatives == 0) return new(id, row[id] - logTotal, []);
        Span<int> best = stackalloc int[Math.Min(alternatives, row.Length)];
        var top = new (int, float)[Scores.Best(row, best)];
        for (var i = 0; i < top.Length; i++) top[i] = (best[i], row[best[i]] - logTotal);
        return new(id, row[id] - logTotal, top);
    }
}

/// <summary>The outcome of one step, reused from step to step.</summary>
public sealed class SearchStep
{
    /// <summary>The hypotheses that stay alive; empty when done.</summary>
    public List<Continuation> Next { get; } = [];

    /// <summary>Tokens of the reply that became certain in this step, the end token excluded.</summary>
    public List<ChosenToken> Certain { get; } = [];

    /// <summary>The reply is complete.</summary>
    public bool IsDone { get; set; }

    /// <summary>It is complete because the model ended it, not because of the limit.</summary>
    public bool Ended { get; set; }

    public void Clear()
    {
        Next.Clear();
        Certain.Clear();
        IsDone = false;
        Ended = false;
    }
}

/// <summary>Scores that nothing can be chosen from: the model, not the caller, is at fault.</summary>
public sealed class ScoreException(string message) : Exception(message);
