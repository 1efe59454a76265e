namespace Chat.Models.Decoding.Constraints;

/// <summary>
/// Reads a grammar's texts byte by byte. A state is the set of places where a text may be (node, and the calls around it), found when it is first met and kept. A state
/// always has a way to an end: whatever would have to nest too deep is no place. States are never dropped, so whoever keeps an automaton looks at their number. Thread-safe.
/// </summary>
internal sealed class ByteAutomaton
{
    public const int MostPlaces = 4_000;
    private const int MostStates = 50_000;

    private readonly Grammar grammar;
    private readonly Lock gate = new();
    private readonly Dictionary<State, State> states = new(new SamePlaces());
    private int frames;

    public ByteAutomaton(Grammar grammar)
    {
        this.grammar = grammar;
        Start = Close([new(grammar.StartOf(0), new Frame(0, -1, null))]) ?? throw new InvalidOperationException("The grammar was not completed.");
    }

    public State Start { get; }

    /// <summary>States met so far.</summary>
    public int States => states.Count;

    /// <returns><c>null</c>: no text goes on so.</returns>
    public State? Next(State state, byte value)
    {
        var at = grammar.ClassOf(value);
        var known = Volatile.Read(ref state.Next[at]);
        if (known is null)
        {
            lock (gate) known = Follow(state, grammar.Representatives[at]);
            Volatile.Write(ref state.Next[at], known);
        }
        return known == State.Dead ? null : known;
    }

    /// <summary>The calls around a place; equal ones are one object.</summary>
    internal sealed class Frame(int id, int back, Frame? outer)
    {
        public Dictionary<int, Frame> Inner { get; } = [];
        public int Id => id;
        public int Return => back;
        public Frame? Outer => outer;
        public int Depth { get; } = outer is null ? 0 : outer.Depth + 1;
    }

    internal readonly record struct Place(int Node, Frame Calls);

    /// <summary>Where a text may be.</summary>
    internal sealed class State(Place[] places, bool isEnd, int classes)
    {
        public static readonly State Dead = new([], false, 0);

        public Place[] Places => places;

        /// <summary>The text may end here.</summary>
        public bool IsEnd => isEnd;

        internal readonly State?[] Next = new State?[classes];

        /// <summary>Whatever the owner keeps about this state.</summary>
        internal ulong[]? Mask;
    }

    private State Follow(State state, byte value)
    {
        var reached = new List<Place>();
        foreach (var (node, calls) in state.Places)
            foreach (var (from, to, target) in grammar[node].Bytes)
                if (from <= value && value <= to) reached.Add(new(target, calls));
        return Close(reached) ?? State.Dead;
    }

    /// <summary>The state of these places and all that empty edges, calls and ends lead to; <c>null</c> when none has a way to an end.</summary>
    private State? Close(IEnumerable<Place> reached)
    {
        var seen = new HashSet<Place>();
        var open = new Stack<Place>();
        var kept = new List<Place>();
        var isEnd = false;
        foreach (var place in reached) Reach(place.Node, place.Calls);
        while (open.TryPop(out var place))
        {
            var (node, calls) = (grammar[place.Node], place.Calls);
            if (node.Bytes.Count > 0) kept.Add(place);
            foreach (var target in node.Empty) Reach(target, calls);
            foreach (var (rule, back) in node.Calls)
                if (calls.Depth + grammar.DepthFrom(back) <= Grammar.DeepestNesting) Reach(grammar.StartOf(rule), Call(calls, back));
            if (!node.IsEnd) continue;
            if (calls.Outer is null) isEnd = true;
            else Reach(calls.Return, calls.Outer);
        }
        if (kept.Count == 0 && !isEnd) return null;
        if (kept.Count > MostPlaces) throw new ScoreException($"The constraint is too ambiguous: its text may be at more than {MostPlaces} places at once.");

        var state = new State([.. kept.OrderBy(p => p.Node).ThenBy(p => p.Calls.Id)], isEnd, grammar.Classes);
        if (states.TryGetValue(state, out var known)) return known;
        if (states.Count == MostStates) throw new ScoreException($"The constraint has more than {MostStates} states.");
        return states[state] = state;

        void Reach(int node, Frame calls)
        {
            if (calls.Depth + grammar.DepthFrom(node) <= Grammar.DeepestNesting && seen.Add(new(node, calls))) open.Push(new(node, calls));
        }
    }

    private Frame Call(Frame outer, int back) => outer.Inner.TryGetValue(back, out var frame) ? frame : outer.Inner[back] = new(++frames, back, outer);

    private sealed class SamePlaces : IEqualityComparer<State>
    {
        public bool Equals(State? a, State? b) => a!.IsEnd == b!.IsEnd && a.Places.AsSpan().SequenceEqual(b.Places);

        public int GetHashCode(State state)
        {
            var hash = new HashCode();
            foreach (var (node, calls) in state.Places) hash.Add((node, calls.Id));
            return hash.ToHashCode();
        }
    }
}
