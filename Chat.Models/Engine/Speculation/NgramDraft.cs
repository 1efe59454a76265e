using System.Runtime.InteropServices;
using Chat.Domain.Plugins;

namespace Chat.Models.Engine.Speculation;

/// <summary>
/// What followed the last time: finds the longest end of the text (at most five tokens, at least two) that stands earlier in context or reply, the latest place where several are as long, and
/// guesses that the same goes on. Needs no model and no memory; strong where a reply quotes.
/// </summary>
/// <param name="end">The token that ends a reply; never guessed.</param>
[Plugin("ngram", Summary = "Guesses that what followed the same words before follows again: free, and strong on quotations.")]
public sealed class NgramDraft(int end) : IDraftProposer
{
    private const int Shortest = 2, Longest = 5;
    private int[] text = [];

    public void Propose(ReadOnlySpan<DraftRequest> requests)
    {
        foreach (var request in requests)
        {
            request.Guess.Clear();
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

        var (best, after) = (Shortest - 1, length);
        for (var place = length - 1; place >= Shortest && best < Longest; place--)
            if (SameEnd(all, place) is var same && same > best) (best, after) = (same, place);
        foreach (var token in all[after..Math.Min(length, after + request.Most)])
        {
            if (token == end) break;
            request.Guess.Add(token);
        }
    }

    /// <summary>How many tokens before a place are those that the text ends with.</summary>
    private static int SameEnd(ReadOnlySpan<int> all, int place)
    {
        var same = 0;
        while (same < Longest && same < place && all[place - 1 - same] == all[^(1 + same)]) same++;
        return same;
    }
}
