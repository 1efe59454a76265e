using Chat.Domain.Generation;

namespace Chat.Models.Engine.Speculation;

/// <summary>
/// Guesses ahead for the replies of one engine: whom to ask, how far, and how it went. Every sixteenth reply of a kind guesses at least one token in its first passes whatever the policy says, so
/// that a policy that answers 0 notices when costs or texts have changed. The engine's thread makes all calls.
/// </summary>
/// <param name="proposers">Owned.</param>
/// <param name="createPolicy">Makes each kind's policy.</param>
public sealed class Speculator(IReadOnlyDictionary<Decoding.Speculation, IDraftProposer> proposers, Func<ISpeculationPolicy> createPolicy, TimeProvider time) : IDisposable
{
    private const int ProbedReplies = 16, ProbedPasses = 8;
    private readonly Dictionary<Decoding.Speculation, Kind> kinds = proposers.ToDictionary(pair => pair.Key, pair => new Kind(pair.Value, createPolicy()));

    /// <summary>Lets somebody else guess for a kind from now on, or nobody. Who did so far is disposed of; replies that it guessed for go on without guesses.</summary>
    public void Use(Decoding.Speculation kind, IDraftProposer? proposer)
    {
        kinds.Remove(kind, out var before);
        if (proposer is not null) kinds[kind] = new(proposer, createPolicy());
        if (before is null) return;
        before.IsGone = true;
        before.Proposer.Dispose();
    }

    /// <summary>Begins a reply; <c>null</c> where nobody guesses.</summary>
    /// <param name="width">Chains of guesses it may have.</param>
    public ReplySpeculation? Start(Decoding.Speculation kind, DraftRequest request, int width = 1) =>
        kinds.TryGetValue(kind, out var found) ? new(found, request, width, probes: found.Started++ % ProbedReplies == 0 ? ProbedPasses : 0) : null;

    /// <summary>Fills the replies' guesses for one pass, in which so many tokens of other replies are fed.</summary>
    /// <param name="freeRows">Rows that chains beside the first may be checked in; shared out evenly, as far as they go.</param>
    public void Guess(IReadOnlyList<ReplySpeculation> replies, int others, IReadOnlyList<int> freeRows)
    {
        var (spare, left) = (freeRows.Count / replies.Count, 0);
        foreach (var group in replies.GroupBy(reply => reply.Kind))
        {
            ReplySpeculation[] asked = [.. group];
            if (group.Key.IsGone)
            {
                foreach (var reply in asked) reply.Request.Clear();
                continue;
            }
            foreach (var reply in asked)
            {
                var most = Math.Min(reply.Width, 1 + spare);
                var (length, width) = group.Key.Policy.Choose(reply.Acceptance, group.Key.Rescue, asked.Length, others + replies.Count - asked.Length, most);
                if (reply.Passes < reply.Probes) (length, width) = (Math.Max(1, length), Math.Max(Math.Min(2, most), width));
                reply.Request.Most = Math.Min(reply.Room, length);
                reply.Request.SpareRows = [.. freeRows.Skip(left).Take(width - 1)];
                left += width - 1;
                reply.Request.Clear();
            }
            asked = [.. asked.Where(reply => reply.Request.Most > 0)];
            if (asked.Length > 0) Ask(group.Key, asked);
        }
    }

    /// <summary>Tells how long a pass of the model took.</summary>
    public void Passed(int tokens, double seconds)
    {
        foreach (var kind in kinds.Values) kind.Policy.Passed(tokens, seconds);
    }

    public void Dispose()
    {
        foreach (var kind in kinds.Values) kind.Proposer.Dispose();
    }

    private void Ask(Kind kind, ReplySpeculation[] asked)
    {
        var start = time.GetTimestamp();
        kind.Proposer.Propose([.. asked.Select(reply => reply.Request)]);
        foreach (var reply in asked) KeepDifferent(reply.Request);
        var steps = asked.Max(reply => reply.Request.Guess.Count);
        // The first time a context is read as well.
        if (steps > 0 && asked.All(reply => reply.HasGuessed)) kind.Policy.Guessed(asked.Sum(reply => 1 + reply.Request.Others.Count), steps, time.GetElapsedTime(start).TotalSeconds);
        foreach (var reply in asked) reply.HasGuessed = true;
    }

    /// <summary>Of chains that begin with the same token the first stays: what else they hold would be checked twice.</summary>
    private static void KeepDifferent(DraftRequest request)
    {
        HashSet<int> begun = [.. request.Guess.Take(1)];
        request.Others.RemoveAll(chain => begun.Count == 0 || chain.Count == 0 || !begun.Add(chain[0]));
    }

    internal sealed class Kind(IDraftProposer proposer, ISpeculationPolicy policy)
    {
        public IDraftProposer Proposer => proposer;
        public ISpeculationPolicy Policy => policy;
        public int Started { get; set; }

        /// <summary>The proposer guesses no more.</summary>
        public bool IsGone { get; set; }

        /// <summary>Share of guesses confirmed, over all replies of late; hopeful at first.</summary>
        public double Acceptance { get; set; } = 0.7;

        /// <summary>How often a further chain begins right where those before it begin wrong; hopeful at first.</summary>
        public double Rescue { get; set; } = 0.4;
    }
}

/// <summary>One reply's speculation. The engine's thread owns it.</summary>
public sealed class ReplySpeculation
{
    // A reply starts from what all replies of its kind show, as if that had been seen in so many guesses of its own.
    private const double Prior = 4, Forgetting = 0.05;
    private double seen, confirmed;

    internal ReplySpeculation(Speculator.Kind kind, DraftRequest request, int width, int probes) => (Kind, Request, Width, Probes, seen, confirmed) = (kind, request, width, probes, Prior, Prior * kind.Acceptance);

    public DraftRequest Request { get; }

    /// <summary>Passes of the model, guesses it was given, and guesses it confirmed.</summary>
    public int Passes { get; private set; }
    public int Guessed { get; private set; }
    public int Confirmed { get; private set; }

    internal Speculator.Kind Kind { get; }
    internal int Width { get; }
    internal int Probes { get; }
    internal bool HasGuessed { get; set; }
    internal double Acceptance => confirmed / seen;

    /// <summary>What the reply's end says of it.</summary>
    internal SpeculationUse Use => new(Passes, Guessed, Confirmed);

    /// <summary>Tokens that the reply can still be given behind its newest; the engine sets it.</summary>
    internal int Room { get; set; }

    /// <summary>Tokens that are checked in the next pass, in all chains, each with the newest one before it; 0 where none is guessed.</summary>
    internal int Checked => Request.Guess.Count == 0 ? 0 : Request.Others.Sum(chain => 1 + chain.Count) + 1 + Request.Guess.Count;

    /// <summary>Counts a pass: the model confirmed the first so many guesses of a chain.</summary>
    /// <param name="chain">The chain's number; 0, the guess, where none was right.</param>
    /// <param name="looked">Guesses that were looked at: one more than confirmed, unless all were or the reply ended first.</param>
    internal void Count(int chain, int right, int looked)
    {
        Passes++;
        if (Request.Guess.Count == 0) return;
        var guesses = Request.Guess.Count + Request.Others.Sum(other => other.Count);
        Guessed += guesses;
        Confirmed += right;
        // Where a further chain was right, the guess had begun wrong.
        var wrong = chain > 0 ? 1 : 0;
        (seen, confirmed) = (seen + looked, confirmed + right - wrong);
        for (var i = 0; i < looked; i++) Kind.Acceptance += Forgetting * ((i >= wrong && i < right ? 1 : 0) - Kind.Acceptance);
        for (var other = 1; looked > 0 && (right == 0 || other <= chain) && other <= Request.Others.Count; other++) Kind.Rescue += Forgetting * ((other == chain ? 1 : 0) - Kind.Rescue);
        ChatMeter.Drafts.Add(1);
        ChatMeter.DraftTokens.Add(guesses);
        ChatMeter.AcceptedTokens.Add(right);
        Request.Clear();
    }

    /// <summary>The reply goes on in a row, which may have been somebody else's.</summary>
    internal void Place(int row)
    {
        if (row == Request.Row) return;
        (Request.Row, HasGuessed) = (row, false);
    }

    /// <summary>Ends the reply: its row is somebody else's from now on.</summary>
    internal void End()
    {
        if (!Kind.IsGone) Kind.Proposer.Free(Request.Row);
    }
}
