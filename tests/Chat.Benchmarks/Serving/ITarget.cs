namespace Chat.Benchmarks.Serving;

/// <summary>What is asked: a first message, the seed of its reply, and how long that may be.</summary>
internal sealed record Question(string Text, int Seed, int MaxTokens);

/// <summary>A running server, by one of its doors. Thread-safe.</summary>
internal interface ITarget
{
    /// <summary>Sends a question in a conversation of its own and reads the reply to its end. Failures are part of the answer, cancellation is not.</summary>
    /// <param name="seconds">The measurement's clock.</param>
    Task<Exchange> AskAsync(Question question, Func<double> seconds, CancellationToken cancellation);
}
