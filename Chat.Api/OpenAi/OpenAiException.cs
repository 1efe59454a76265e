using System.Globalization;
using System.Text.Json;
using Chat.Domain.Generation;

namespace Chat.Api.OpenAi;

/// <summary>A request under /v1 that is not answered; its body is an <see cref="OpenAiError"/>.</summary>
public sealed class OpenAiException(int status, string code, string message, string? param = null) : Exception(message)
{
    public int Status { get; } = status;
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>The body; also sent as an event when a stream has already begun.</summary>
    public OpenAiError Content { get; } = new(new(message, TypeOf(status), param, code));

    public static OpenAiException Invalid(string param, string message, string code = "invalid_value") => new(StatusCodes.Status400BadRequest, code, message, param);

    public static OpenAiException UnknownModel(string model, IEnumerable<string> known) =>
        new(StatusCodes.Status404NotFound, "model_not_found", $"No model '{model}'. Known: {string.Join(", ", known)}.", "model");

    /// <summary>What a failed generation means to a client of this API.</summary>
    /// <param name="paramOf">The name under which the client gave an option.</param>
    public static OpenAiException Of(GenerationException failure, Func<string, string> paramOf) => failure.Error switch
    {
        GenerationError.UnknownModel => new(StatusCodes.Status404NotFound, "model_not_found", failure.Message, "model"),
        GenerationError.InvalidOption => new(StatusCodes.Status400BadRequest, "invalid_value", failure.Message, failure.Parameter is { } name ? paramOf(name) : null),
        GenerationError.TooLong => new(StatusCodes.Status400BadRequest, "context_length_exceeded", failure.Message, failure.Parameter is { } name ? paramOf(name) : "messages"),
        GenerationError.Busy => new(StatusCodes.Status429TooManyRequests, "rate_limit_exceeded", failure.Message) { RetryAfter = failure.RetryAfter ?? TimeSpan.FromSeconds(1) },
        _ => new(StatusCodes.Status503ServiceUnavailable, "unavailable", failure.Message) { RetryAfter = failure.RetryAfter ?? TimeSpan.FromSeconds(5) },
    };

    /// <summary>The answer to a request that this API never saw: refused by the server, the router or the identity check.</summary>
    public static OpenAiException OfStatus(HttpContext context, int status, string? message = null)
    {
        var (code, sentence) = status switch
        {
            400 => ("invalid_request", "The request is malformed."),
            401 => ("invalid_api_key", "A valid bearer token is needed."),
            403 => ("forbidden", "This caller may not do that."),
            404 => ("unknown_url", $"Unknown request URL: {context.Request.Method} {context.Request.Path}."),
            405 => ("method_not_allowed", $"{context.Request.Path} does not answer {context.Request.Method}."),
            408 => ("request_timeout", "The request came too slowly."),
            413 => ("request_too_large", "The request is too large."),
            415 => ("unsupported_media_type", "The body must be application/json in UTF-8."),
            429 => ("rate_limit_exceeded", "Too many requests."),
            503 => ("unavailable", "The server cannot answer now."),
            _ => status < 500 ? ("invalid_request", "The request cannot be answered.") : ("internal_error", "The server failed."),
        };
        return new(status, code, message ?? sentence);
    }

    public async Task WriteAsync(HttpContext context)
    {
        context.Response.StatusCode = Status;
        if (RetryAfter is { } wait && !context.Response.Headers.ContainsKey("Retry-After"))
            context.Response.Headers.RetryAfter = Math.Max(1, (int)Math.Ceiling(wait.TotalSeconds)).ToString(CultureInfo.InvariantCulture);
        await context.Response.WriteAsJsonAsync(Content, OpenAiJson.Options, "application/json", CancellationToken.None);
    }

    private static string TypeOf(int status) => status switch
    {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        >= 500 => "server_error",
        _ => "invalid_request_error",
    };
}

/// <summary>The body of every failed answer under /v1.</summary>
public sealed record OpenAiError(OpenAiErrorDetail Error);

public sealed record OpenAiErrorDetail(string Message, string Type, string? Param, string Code);
