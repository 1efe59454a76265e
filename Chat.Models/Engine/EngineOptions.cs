namespace Chat.Models.Engine;

/// <summary>What a model's engine is at.</summary>
/// <param name="Running">Requests that hold rows.</param>
/// <param name="Waiting">Requests in the queue.</param>
/// <param name="CacheUsage">Share of the memory for keys and values in use, 0 to 1.</param>
/// <param name="PrefixQueries">Tokens looked up in the prefix cache since the model was loaded.</param>
/// <param name="PrefixHits">Tokens found there.</param>
/// <param name="HasDraft">Another served model guesses ahead for it.</param>
public readonly record struct EngineLoad(int Running, int Waiting, double CacheUsage, long PrefixQueries, long PrefixHits, bool HasDraft = false);

/// <summary>Limits of one model's engine.</summary>
public sealed record EngineOptions
{
    /// <summary>Hypotheses alive at once: a sampled reply is one, a beam search as many as it has beams.</summary>
    public int Rows { get; init; } = 16;

    /// <summary>Requests that may wait for rows; one more is told that the model is busy.</summary>
    public int QueueLimit { get; init; } = 1024;

    /// <summary>
    /// Tokens of prompts read in one step: running replies wait no longer than that takes. One prompt that cannot be read in parts (<see cref="IRunner.ReadsInParts"/>)
    /// may be longer.
    /// </summary>
    public int PrefillTokens { get; init; } = 256;

    /// <summary>Chunks that may wait for a slow reader; then its reply, and only that, pauses.</summary>
    public int OutputChunks { get; init; } = 64;

    /// <summary>Told after each step which share of the memory for keys and values is in use; called on the engine's thread.</summary>
    public Action<double> OnUsage { get; init; } = _ => { };

    /// <summary>Told of failures of the model; called on the engine's thread.</summary>
    public Action<Exception> OnFailure { get; init; } = _ => { };
}
