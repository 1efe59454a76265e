using System.Text.Json.Nodes;

namespace Chat.Domain.Generation;

public enum ChatRole { System, User, Assistant, Tool }

/// <summary>One utterance of the dialogue that a model answers.</summary>
public sealed record ChatMessage(ChatRole Role, string Text);

/// <summary>
/// All that decides one reply. Serialisable as it stands: the same record travels to a model host in another process.
/// Under one <see cref="Decoding"/> seed, one <see cref="Index"/> and one model the reply is the same.
/// </summary>
public sealed record GenerationRequest
{
    /// <summary>Names the request in logs, metrics and cancellation; no meaning.</summary>
    public required string RequestId { get; init; }

    /// <summary>A served model's id, never an alias.</summary>
    public required string Model { get; init; }

    /// <summary>Oldest first; the last one is answered. Whole turns that do not fit the model are dropped from the old end.</summary>
    public required IReadOnlyList<ChatMessage> Messages { get; init; }

    /// <summary>
    /// Decoding options as a client gives them (camelCase): <c>strategy</c>, the common ones and the strategy's own. Absent ones
    /// take the model's, then the strategy's defaults. <see cref="IChatModels.Check"/> refuses unknown or impossible ones.
    /// </summary>
    public JsonObject? Decoding { get; init; }

    /// <summary>Ids already emitted by another run of this same request; generation goes on behind them and does not repeat them.</summary>
    public IReadOnlyList<int> Emitted { get; init; } = [];

    /// <summary>Which of several choices of one request this is; the random stream is a function of (seed, index).</summary>
    public int Index { get; init; }

    /// <summary>How many alternatives to report with each token; <c>null</c> = no log-probabilities at all, 0 = the chosen token's alone.</summary>
    public int? TopLogprobs { get; init; }

    /// <summary>Who waits in turn: tenants share a busy model by the tokens they were served.</summary>
    public string Tenant { get; init; } = "";

    /// <summary>Higher goes first, and may set lower ones back.</summary>
    public int Priority { get; init; }

    /// <summary>How a cancellation is counted: false = the user said stop (<c>stopped</c>), true = the caller went away (<c>abort</c>).</summary>
    public bool CancelMeansAbort { get; init; }
}

public enum FinishReason { Stop, Length, Stopped }

/// <summary>A token with the log-probability that the strategy's processed distribution gave it (natural logarithm).</summary>
public sealed record TokenLogprob(int Id, ReadOnlyMemory<byte> Bytes, float Logprob);

/// <summary>One emitted token: the chosen one and, if asked for, the most probable alternatives, best first.</summary>
public sealed record EmittedToken(TokenLogprob Chosen, IReadOnlyList<TokenLogprob> Top);

/// <summary>How a reply ended. Token counts are of tokens fed and tokens chosen (the end token not counted).</summary>
public sealed record GenerationEnd(FinishReason Reason, int PromptTokens, int CompletionTokens)
{
    /// <summary>How guessing ahead went; <c>null</c> where nobody guessed. Guessed tokens that were wrong are work, never usage.</summary>
    public SpeculationUse? Speculation { get; init; }
}

/// <summary>Passes of the model after its first token, tokens that were guessed for them, and those of them that it confirmed: (confirmed + passes) / passes tokens a pass.</summary>
public sealed record SpeculationUse(int Passes, int Guessed, int Confirmed);

/// <summary>
/// What a model says next. <see cref="Text"/> is final (no stop string, not even a part of one, can still swallow it), ends on a
/// whole character, and may be empty; the bytes of <see cref="Tokens"/> put together over a reply are its text's bytes, cut at the stop string.
/// The last chunk, and only that, has an <see cref="End"/>.
/// </summary>
public sealed record GenerationChunk(string Text, IReadOnlyList<EmittedToken> Tokens, GenerationEnd? End = null)
{
    /// <summary>Tokens fed, on the first chunk: a reply that is stopped has no <see cref="End"/>, and its usage is asked for all the same.</summary>
    public int? PromptTokens { get; init; }
}
