using System.Text.Json.Nodes;

namespace Chat.Domain.Generation;

/// <summary>What is known of a served model. <see cref="Hash"/> is the content hash of its folder (without chat-model.json).</summary>
public sealed record ModelDescription
{
    public required string Id { get; init; }
    public required string Hash { get; init; }
    public required DateTimeOffset CreatedAt { get; init; }
    public required long Parameters { get; init; }
    /// <summary>Tokens the model can read and can write, at most.</summary>
    public required int MaxPromptTokens { get; init; }
    public required int MaxCompletionTokens { get; init; }
    public string? Parent { get; init; }
    public string? Teacher { get; init; }
    public string? Licence { get; init; }
    public JsonObject? DefaultDecoding { get; init; }
}

/// <summary>
/// The models that can answer now: in this process, or on model hosts. Thread-safe; a call may come from any thread.
/// </summary>
public interface IChatModels
{
    /// <summary>Served models, the default one first.</summary>
    IReadOnlyList<ModelDescription> Models { get; }

    /// <summary>
    /// Checks model and decoding options before anything is stored and returns the options as they will be used, every one spelled out
    /// (<c>strategy</c>, <c>temperature</c>, <c>seed</c> … a seed is drawn when none was given).
    /// </summary>
    /// <exception cref="GenerationException">Unknown model, strategy or option (the message lists the known ones), or a value out of range.</exception>
    JsonObject Check(string model, JsonObject? decoding);

    /// <summary>
    /// Streams one reply. The stream ends with a chunk that has an <see cref="GenerationChunk.End"/>, or throws. Cancelling frees the
    /// model's slot within one decode step and ends the stream with <see cref="OperationCanceledException"/>.
    /// </summary>
    /// <exception cref="GenerationException">Bad request, overload, or a model that failed.</exception>
    IAsyncEnumerable<GenerationChunk> GenerateAsync(GenerationRequest request, CancellationToken cancellation);
}

public enum GenerationError
{
    UnknownModel,
    /// <summary>Unknown strategy or option, or a value out of range; <see cref="GenerationException.Parameter"/> names it.</summary>
    InvalidOption,
    /// <summary>The request cannot fit the model, whatever is dropped.</summary>
    TooLong,
    /// <summary>The queue is full; <see cref="GenerationException.RetryAfter"/> says when to come again.</summary>
    Busy,
    /// <summary>The model host is gone or failed.</summary>
    Unavailable,
}

/// <summary>A request that was not, or not wholly, answered. The message is fit for a client: it says what is wrong and what is known.</summary>
public sealed class GenerationException(GenerationError error, string message, string? parameter = null, Exception? inner = null) : Exception(message, inner)
{
    public GenerationError Error { get; } = error;
    public string? Parameter { get; } = parameter;
    public TimeSpan? RetryAfter { get; init; }
}
