namespace Chat.Models.Decoding.Constraints;

/// <summary>
/// Which tokens a constraint allows in each of its states: a bit a token, found once for a state by reading the vocabulary in the order of its bytes (tokens that share a
/// dead beginning are passed over together) and kept with the state. The end token is allowed where the text may end. Thread-safe.
/// </summary>
internal sealed class TokenMasks(ByteAutomaton automaton, TokenTable tokens)
{
    public ByteAutomaton.State Start => automaton.Start;

    private ulong[]? beginning;

    /// <summary>States met so far; each may hold a mask.</summary>
    public int States => automaton.States;

    /// <returns><c>null</c>: the text does not go on with this token.</returns>
    public ByteAutomaton.State? Next(ByteAutomaton.State state, int token) => Next(state, tokens.Bytes(token));

    /// <summary>The same for a token that nothing with bytes stands before.</summary>
    public ByteAutomaton.State? First(int token) => Next(Start, tokens.FirstBytes(token));

    private ByteAutomaton.State? Next(ByteAutomaton.State state, ReadOnlySpan<byte> bytes)
    {
        var next = state;
        foreach (var value in bytes)
            if ((next = automaton.Next(next!, value)) is null) return null;
        return next;
    }

    /// <summary>Bit i of word w: token 64·w + i.</summary>
    public ReadOnlySpan<ulong> Of(ByteAutomaton.State state)
    {
        if (Volatile.Read(ref state.Mask) is { } known) return known;
        var mask = new ulong[(tokens.Count + 63) / 64];
        var path = new ByteAutomaton.State[tokens.LongestToken + 1];
        path[0] = state;
        var dead = int.MaxValue;                                                           // index of the byte that does not fit
        foreach (var (id, shared) in tokens.ByBytes)
        {
            if (shared > dead) continue;
            dead = int.MaxValue;
            var bytes = tokens.Bytes(id);
            for (var at = shared; at < bytes.Length; at++)
            {
                if (automaton.Next(path[at], bytes[at]) is not { } next)
                {
                    dead = at;
                    break;
                }
                path[at + 1] = next;
            }
            if (dead == int.MaxValue) mask[id >> 6] |= 1UL << id;
        }
        if (state.IsEnd) mask[tokens.Separator >> 6] |= 1UL << tokens.Separator;
        Volatile.Write(ref state.Mask, mask);
        return mask;
    }

    /// <summary>What may come where nothing with bytes stands before it; a token that writes nothing there may.</summary>
    public ReadOnlySpan<ulong> Beginning()
    {
        if (Volatile.Read(ref beginning) is { } known) return known;
        var mask = new ulong[(tokens.Count + 63) / 64];
        for (var id = 0; id < tokens.Count; id++)
            if (id == tokens.Separator ? Start.IsEnd : tokens.Bytes(id).Length > 0 && First(id) is not null) mask[id >> 6] |= 1UL << id;
        Volatile.Write(ref beginning, mask);
        return mask;
    }

    /// <summary>What <see cref="Of"/> must agree with: its definition, a token at a time.</summary>
    public bool Allows(ByteAutomaton.State state, int token) =>
        token == tokens.Separator ? state.IsEnd : tokens.Bytes(token).Length > 0 && Next(state, token) is not null;
}
