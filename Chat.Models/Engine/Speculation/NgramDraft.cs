using System.Runtime.InteropServices;
using Chat.Domain.Plugins;

namespace Chat.Models.Engine.Speculation;

/// <summary>
/// What followed the last time: finds the longest end of the text (at most five tokens, at least two) that stands earlier in context or reply, the latest place where several are as long, and
/// guesses that the same goes on. Further chains are the next best places with another token behind them. Needs no model and no memory; strong where a reply quotes.
/// </summary>
/// <param name="end">The token that ends a reply; never guessed.</param>
[Plugin("ngram", Summary = "Guesses that what followed the same words before follows again: free, and strong on quotations.")]
public sealed class NgramDraft(int end) : IDraftProposer
{
    private const int Shortest = 2, Longest = 5;
    private readonly HashSet<int> begun = [];
    private int[] text = [];

    public void Propose(ReadOnlySpan<DraftRequest> requests)
    {
        foreach (var request in requests)
        {
            request.Clear();
            if (request.Most > 0) Guess(request);
        }
    }

    public void Free(int row) { }

    public void Dispose() { }

    private void Guess(DraftRequest request)
    {
        var length = request.Context.Length + request.Reply.Count;
        if (text.Length < length) text = new int[2 * length];
        request.Context.Span.CopyTo(text);
        CollectionsMarshal.AsSpan(request.Reply).CopyTo(text.AsSpan(request.Context.Length));
        var all = text.AsSpan(0, length);

        begun.Clear();
        var chain = request.Guess;
        while (Follow(all, chain, request.Most))
        {
            if (chain != request.Guess) request.Others.Add(chain);
            if (request.Others.Count == request.SpareRows.Count) break;
            chain = [];
        }
    }

    /// <summary>Goes on from the best place whose token no chain has begun with.</summary>
    private bool Follow(ReadOnlySpan<int> all, List<int> chain, int most)
    {
        var (best, after) = (Shortest - 1, all.Length);
        for (var place = all.Length - 1; place >= Shortest && best < Longest; place--)
            if (SameEnd(all, place) is var same && same > best && !begun.Contains(all[place])) (best, after) = (same, place);
        foreach (var token in all[after..Math.Min(all.Length, after + most)])
        {
            if (token == end) break;
            chain.Add(token);
        }
        if (chain.Count > 0) begun.Add(chain[0]);
        return chain.Count > 0;
    }

    /// <summary>How many tokens before a place are those that the text ends with.</summary>
    private static int SameEnd(ReadOnlySpan<int> all, int place)
    {
        var same = 0;
        while (same < Longest && same < place && all[place - 1 - same] == all[^(1 + same)]) same++;
        return same;
    }
}
