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

    private static int Draw(in Truncation left, RandomStream.Draws draws)
    {
        var u = draws.Next() * left.Mass();
        for (var rank = 0; rank < left.Count - 1; rank++)
            if ((u -= left.Weight(rank)) < 0) return left.Id(rank);
        return left.Id(left.Count - 1);
    }
}
