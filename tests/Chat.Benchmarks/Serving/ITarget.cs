namespace Chat.Benchmarks.Serving;

/// <summary>What is asked: a first message, the seed of its reply, and how long that may be, and must be where that is not 0.</summary>
internal sealed record Question(string Text, int Seed, int MaxTokens, int MinTokens = 0);

/// <summary>A running server by one of its doors, or an engine without a server. Thread-safe.</summary>
internal interface ITarget : IAsyncDisposable
{
    /// <summary>Sends a question in a conversation of its own and reads the reply to its end. Failures are part of the answer, cancellation is not.</summary>
    /// <param name="seconds">The measurement's clock.</param>
    Task<Exchange> AskAsync(Question question, Func<double> seconds, CancellationToken cancellation);
}
