namespace Chat.Models.Decoding;

/// <summary>A search of one hypothesis: rules, distribution, one draw (or the best token), every token certain at once.</summary>
internal sealed class TokenSearch : ISearch
{
    private readonly DecodingOptions options;
    private readonly DecodingContext context;
    private readonly bool greedy;
    private readonly int[] reply;
    private int length;

    public TokenSearch(DecodingOptions options, DecodingContext context, bool greedy)
    {
        this.options = greedy ? options with { Temperature = 0 } : options;
        this.context = context;
        this.greedy = greedy || options.Temperature == 0;
        reply = new int[Math.Max(options.MaxTokens, context.Emitted.Length)];
        foreach (var id in context.Emitted.Span)
        {
            reply[length++] = id;
            context.Rules.Append(id);
        }
    }

    private TokenSearch(TokenSearch other)
    {
        (options, greedy, length) = (other.options, other.greedy, other.length);
        context = other.context with { Rules = other.context.Rules.Fork(), TopLogprobs = 0 };
        reply = [.. other.reply];
    }

    public void Step(Span<float> scores, SearchStep step)
    {
        step.Clear();
        if (length >= options.MaxTokens) { step.IsDone = true; return; }                   // an emitted prefix can fill the limit

        context.Rules.Apply(scores, reply.AsSpan(0, length));
        using var left = new Truncation(scores, options);
        var id = greedy ? left.Id(0) : Draw(left, context.Random.At(length));
        if (id == context.Tokens.Separator)
        {
            step.IsDone = step.Ended = true;
            return;
        }

        step.Certain.Add(ChosenToken.From(scores, left.LogTotal, id, context.TopLogprobs));
        reply[length++] = id;
        context.Rules.Append(id);
        if (length == options.MaxTokens) step.IsDone = true;
        else step.Next.Add(new(0, id));
    }

    public ISearch Fork() => new TokenSearch(this);

    /// <summary>
    /// The winner of a race in which token i arrives after −ln uᵢ / wᵢ, an exponential time of rate wᵢ: i wins with probability wᵢ / Σ w. Each u belongs to its token, so
    /// two models that race under one stream mostly have the same winner, whatever order they put the tokens in: with probability (1 − δ) / (1 + δ) at least, δ their distance in total variation
    /// (Daliri, Musco and Suresh, arXiv 2408.07978). Speculation lives on that.
    /// </summary>
    private static int Draw(in Truncation left, RandomStream.Draws draws)
    {
        var (winner, best) = (left.Id(0), double.PositiveInfinity);
        for (var rank = 0; rank < left.Count; rank++)
        {
            double u = draws.Of(left.Id(rank)), weight = left.Weight(rank);
            if (1 - u >= best * weight) continue;                                          // −ln u ≥ 1 − u: most need no logarithm
            var time = -Math.Log(u) / weight;
            if (time < best) (winner, best) = (left.Id(rank), time);
        }
        return winner;
    }
}
