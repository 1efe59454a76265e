namespace Chat.Models.Engine;

/// <summary>
/// A runner whose replies may end with one of several tokens, seen as one with a single end: its probability is the sum of theirs, the others' is none. So every strategy,
/// which knows one end, follows the model's law. Owns the runner inside.
/// </summary>
internal sealed class OneEndRunner(IRunner inner, IReadOnlyList<int> ends) : IRunner
{
    private float[] scores = [];

    public int VocabularySize => inner.VocabularySize;
    public int Rows => inner.Rows;
    public int MaxContext => inner.MaxContext;
    public int MaxReply => inner.MaxReply;
    public bool ReadsInParts => inner.ReadsInParts;
    public double Usage => inner.Usage;

    public int Open(PrefillItem item) => inner.Open(item);
    public bool Fits(ReadOnlySpan<RowTokens> feeds) => inner.Fits(feeds);
    public ReadOnlySpan<float> Read(scoped ReadOnlySpan<RowTokens> parts) => Joined(inner.Read(parts));
    public ReadOnlySpan<float> Decode(ReadOnlySpan<int> rows, ReadOnlySpan<int> tokens) => Joined(inner.Decode(rows, tokens));
    public ReadOnlySpan<float> Verify(ReadOnlySpan<int> rows, ReadOnlySpan<int> counts, ReadOnlySpan<int> tokens) => Joined(inner.Verify(rows, counts, tokens));
    public void Truncate(int row, int length) => inner.Truncate(row, length);
    public void Fork(ReadOnlySpan<(int From, int To)> copies) => inner.Fork(copies);
    public void Free(int row) => inner.Free(row);
    public Pin Pin(string name, ReadOnlySpan<int> tokens) => inner.Pin(name, tokens);
    public void Unpin(string name) => inner.Unpin(name);
    public void Dispose() => inner.Dispose();

    /// <summary>The first end's score becomes log Σ exp of all ends' scores.</summary>
    private ReadOnlySpan<float> Joined(ReadOnlySpan<float> raw)
    {
        if (scores.Length < raw.Length) scores = new float[raw.Length];
        raw.CopyTo(scores);
        for (var row = 0; row < raw.Length; row += VocabularySize)
        {
            var one = scores.AsSpan(row, VocabularySize);
            var (largest, sum) = (float.NegativeInfinity, 0.0);
            foreach (var end in ends) largest = Math.Max(largest, one[end]);
            foreach (var end in ends)
            {
                sum += Math.Exp(one[end] - largest);
                one[end] = float.NegativeInfinity;
            }
            one[ends[0]] = (float)(largest + Math.Log(sum));
        }
        return scores.AsSpan(0, raw.Length);
    }
}
