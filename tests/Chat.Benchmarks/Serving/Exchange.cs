namespace Chat.Benchmarks.Serving;

/// <summary>One request and its reply as a client saw them. Times in seconds since the measurement began.</summary>
/// <param name="Start">When it was sent.</param>
/// <param name="Words">When each piece of text came.</param>
/// <param name="InputTokens">As the server's usage says; 0 when it says nothing.</param>
/// <param name="Error">Why it failed, or <c>null</c>.</param>
internal sealed record Exchange(double Start, IReadOnlyList<double> Words, int InputTokens, int OutputTokens, string? Error = null)
{
    public bool IsWhole => Error is null && Words.Count > 0;

    public double TimeToFirst => Words[0] - Start;

    public double EndToEnd => Words[^1] - Start;

    /// <summary>Mean time of a token behind the first; 0 for a reply of one token.</summary>
    public double TimePerToken => OutputTokens > 1 ? (EndToEnd - TimeToFirst) / (OutputTokens - 1) : 0;

    /// <summary>From each piece of text to the next.</summary>
    public IEnumerable<double> Gaps => Words.Zip(Words.Skip(1), (earlier, later) => later - earlier);
}
