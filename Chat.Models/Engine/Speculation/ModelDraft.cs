using System.Runtime.InteropServices;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;

namespace Chat.Models.Engine.Speculation;

/// <summary>
/// A small model of the same vocabulary that writes ahead (Leviathan, Kalman and Matias, arXiv 2211.17192, §2): the request's own search, forked, chooses from the small
/// model's scores under the same random stream, so the two models draw the same token as often as two that do not talk can (arXiv 2408.07978). A search that cannot be forked is guessed
/// by the best score. A further chain begins with what the search says when it may not say what the chains before it began with: the next in the race. Reads a context when it first guesses for it, and catches up with whatever the model has said since. Owns its runner; one thread makes all calls.
/// </summary>
/// <param name="runner">Has as many rows as the model's; the rows' numbers are the model's.</param>
/// <param name="end">The token that ends a reply; never guessed.</param>
[Plugin("draft", Paper = "arXiv:2211.17192", Summary = "A student writes ahead, its teacher checks several tokens at once.")]
public sealed class ModelDraft(IRunner runner, int end) : IDraftProposer
{
    private readonly (DraftRequest? Owner, List<int> Fed)[] held = [.. Enumerable.Range(0, runner.Rows).Select(_ => ((DraftRequest?)null, new List<int>()))];
    private readonly List<Ahead> going = [], others = [];
    private readonly SearchStep step = new();
    private float[] row = [];

    public void Propose(ReadOnlySpan<DraftRequest> requests)
    {
        going.Clear();
        others.Clear();
        foreach (var request in requests)
        {
            request.Clear();
            var most = Math.Min(request.Most, runner.MaxReply - request.Reply.Count);
            if (most > 0) going.Add(new(request, request.Row, request.Guess, request.Search.Fork(), most));
        }
        Begin();
        CatchUp();
        others.RemoveAll(other => other.IsDone);
        foreach (var other in others) Free(other.Row);
        if (others.Count > 0) runner.Fork([.. others.Select(other => (other.Request.Row, other.Row))]);
        going.AddRange(others);
        going.RemoveAll(ahead => ahead.IsDone);
        while (going.Count > 0)
        {
            foreach (var ahead in going) held[ahead.Row].Fed.Add(ahead.Chain[^1]);
            Read(going, runner.Decode([.. going.Select(ahead => ahead.Row)], [.. going.Select(ahead => ahead.Chain[^1])]), 1, isFirst: false);
            going.RemoveAll(ahead => ahead.IsDone);
        }
        foreach (var other in others) Free(other.Row);
    }

    public void Free(int row)
    {
        held[row].Owner = null;
        held[row].Fed.Clear();
        runner.Free(row);
    }

    public void Dispose() => runner.Dispose();

    /// <summary>Reads the contexts of requests whose rows hold something else.</summary>
    private void Begin()
    {
        Ahead[] fresh = [.. going.Where(ahead => held[ahead.Request.Row].Owner != ahead.Request)];
        if (fresh.Length == 0) return;
        foreach (var ahead in fresh) Free(ahead.Request.Row);
        var scores = runner.Prefill([.. fresh.Select(ahead => new PrefillItem(ahead.Request.Row, Tail(ahead.Request.Context), ahead.Request.Reply.ToArray()))]);
        foreach (var ahead in fresh)
        {
            held[ahead.Request.Row].Owner = ahead.Request;
            held[ahead.Request.Row].Fed.AddRange(ahead.Request.Reply);
        }
        Read(fresh, scores, 1, isFirst: true);
    }

    /// <summary>Takes back wrong guesses, and feeds what the model said instead and since.</summary>
    private void CatchUp()
    {
        Ahead[] behind = [.. going.Where(ahead => ahead.Request.Guess.Count == 0 && !ahead.IsDone)];
        if (behind.Length == 0) return;
        var counts = new int[behind.Length];
        var tokens = new List<int>();
        for (var i = 0; i < behind.Length; i++)
        {
            var (reply, fed) = (behind[i].Request.Reply, held[behind[i].Request.Row].Fed);
            // The newest token is fed whatever the row holds: its scores are what guessing begins with.
            var same = Math.Min(CollectionsMarshal.AsSpan(fed).CommonPrefixLength(CollectionsMarshal.AsSpan(reply)), reply.Count - 1);
            if (same < fed.Count) runner.Truncate(behind[i].Request.Row, same);
            fed.RemoveRange(same, fed.Count - same);
            fed.AddRange(reply[same..]);
            tokens.AddRange(reply[same..]);
            counts[i] = reply.Count - same;
        }
        var scores = runner.Verify([.. behind.Select(ahead => ahead.Request.Row)], counts, [.. tokens]);
        for (var (i, at) = (0, 0); i < behind.Length; at += counts[i++]) Read(behind[i..(i + 1)], scores[(at * runner.VocabularySize)..], counts[i], isFirst: true);
    }

    /// <summary>Lets each look at its scores, the last of so many rows each.</summary>
    private void Read(IReadOnlyList<Ahead> ahead, ReadOnlySpan<float> scores, int rowsEach, bool isFirst)
    {
        var size = runner.VocabularySize;
        if (row.Length < size) row = new float[size];
        for (var i = 0; i < ahead.Count; i++)
        {
            var last = scores.Slice(((i + 1) * rowsEach - 1) * size, size);
            last.CopyTo(row);
            ahead[i].Choose(row.AsSpan(0, size), step, end);
            if (isFirst && ahead[i].Chain is [var first]) Branch(ahead[i], first, last);
        }
    }

    /// <summary>Begins further chains: what the search says where it may not say what it has said.</summary>
    private void Branch(Ahead ahead, int first, ReadOnlySpan<float> scores)
    {
        var (request, taken) = (ahead.Request, new List<int> { first, end });
        foreach (var spare in request.SpareRows)
        {
            var other = new Ahead(request, spare, [], request.Search.Fork(), ahead.Most);
            scores.CopyTo(row);
            foreach (var token in taken) row[token] = float.NegativeInfinity;
            try { other.Choose(row.AsSpan(0, scores.Length), step, end); }
            catch (ScoreException) { return; }                                              // there is nothing else to say
            if (other.Chain is not [var next] || taken.Contains(next)) return;
            taken.Add(next);
            request.Others.Add(other.Chain);
            others.Add(other);
        }
    }

    private ReadOnlyMemory<int> Tail(ReadOnlyMemory<int> context) => context[^Math.Min(context.Length, runner.MaxContext)..];

    /// <summary>One request's look ahead.</summary>
    private sealed class Ahead(DraftRequest request, int row, List<int> chain, ISearch? search, int most)
    {
        public DraftRequest Request => request;
        public int Row => row;
        public List<int> Chain => chain;
        public int Most => most;

        /// <summary>Nothing is to be guessed behind what is.</summary>
        public bool IsDone { get; private set; }

        public void Choose(Span<float> scores, SearchStep step, int end)
        {
            var token = search is null ? Scores.ArgMax(scores) : end;
            if (search is not null)
            {
                search.Step(scores, step);
                if (step.Next.Count == 1) token = step.Next[0].Token;
            }
            if (token != end) chain.Add(token);
            IsDone = token == end || chain.Count == most;
        }
    }
}
