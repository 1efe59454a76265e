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

    /// <summary>Begins a reply; <c>null</c> where nobody guesses.</summary>
    public ReplySpeculation? Start(Decoding.Speculation kind, DraftRequest request) => kinds.TryGetValue(kind, out var found) ? new(found, request, probes: found.Started++ % ProbedReplies == 0 ? ProbedPasses : 0) : null;

    /// <summary>Fills the replies' guesses for one pass, in which so many tokens of other replies are fed.</summary>
    public void Guess(IReadOnlyList<ReplySpeculation> replies, int others)
    {
        foreach (var group in replies.GroupBy(reply => reply.Kind))
        {
            ReplySpeculation[] asked = [.. group];
            foreach (var reply in asked)
            {
                var length = group.Key.Policy.Choose(reply.Acceptance, asked.Length, others + replies.Count - asked.Length);
                reply.Request.Most = Math.Min(reply.Room, reply.Passes < reply.Probes ? Math.Max(1, length) : length);
                reply.Request.Guess.Clear();
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
        var steps = asked.Max(reply => reply.Request.Guess.Count);
        // The first time a context is read as well.
        if (steps > 0 && asked.All(reply => reply.HasGuessed)) kind.Policy.Guessed(asked.Length, steps, time.GetElapsedTime(start).TotalSeconds);
        foreach (var reply in asked) reply.HasGuessed = true;
    }

    internal sealed class Kind(IDraftProposer proposer, ISpeculationPolicy policy)
    {
        public IDraftProposer Proposer => proposer;
        public ISpeculationPolicy Policy => policy;
        public int Started { get; set; }

        /// <summary>Share of guesses confirmed, over all replies of late; hopeful at first.</summary>
        public double Acceptance { get; set; } = 0.7;
    }
}

/// <summary>One reply's speculation. The engine's thread owns it.</summary>
public sealed class ReplySpeculation
{
    // A reply starts from what all replies of its kind show, as if that had been seen in so many guesses of its own.
    private const double Prior = 4, Forgetting = 0.05;
    private double seen, confirmed;

    internal ReplySpeculation(Speculator.Kind kind, DraftRequest request, int probes) => (Kind, Request, Probes, seen, confirmed) = (kind, request, probes, Prior, Prior * kind.Acceptance);

    public DraftRequest Request { get; }

    /// <summary>Passes of the model, guesses it was given, and guesses it confirmed.</summary>
    public int Passes { get; private set; }
    public int Guessed { get; private set; }
    public int Confirmed { get; private set; }

    internal Speculator.Kind Kind { get; }
    internal int Probes { get; }
    internal bool HasGuessed { get; set; }
    internal double Acceptance => confirmed / seen;

    /// <summary>What the reply's end says of it.</summary>
    internal SpeculationUse Use => new(Passes, Guessed, Confirmed);

    /// <summary>Tokens that the reply can still be given behind its newest; the engine sets it.</summary>
    internal int Room { get; set; }

    /// <summary>Counts a pass: the model confirmed the first so many guesses.</summary>
    /// <param name="looked">Guesses that were looked at: one more than confirmed, unless all were or the reply ended first.</param>
    internal void Count(int right, int looked)
    {
        Passes++;
        if (Request.Guess.Count == 0) return;
        Guessed += Request.Guess.Count;
        Confirmed += right;
        (seen, confirmed) = (seen + looked, confirmed + right);
        for (var i = 0; i < looked; i++) Kind.Acceptance += Forgetting * ((i < right ? 1 : 0) - Kind.Acceptance);
        ChatMeter.Drafts.Add(1);
        ChatMeter.DraftTokens.Add(Request.Guess.Count);
        ChatMeter.AcceptedTokens.Add(right);
        Request.Guess.Clear();
    }

    /// <summary>The reply goes on in a row, which may have been somebody else's.</summary>
    internal void Place(int row)
    {
        if (row == Request.Row) return;
        (Request.Row, HasGuessed) = (row, false);
    }

    /// <summary>Ends the reply: its row is somebody else's from now on.</summary>
    internal void End() => Kind.Proposer.Free(Request.Row);
}
