using System.Globalization;
using Chat.Api.OpenAi;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Microsoft.AspNetCore.Diagnostics;

namespace Chat.Api.Operations;

/// <summary>
/// Gives every failed request a body in its surface's form: OpenAI's error object under /v1, RFC 9457 problem details elsewhere. That holds
/// for what the server, the router, the identity check and the limiter refuse too. No stack trace leaves; bad input is never a 500.
/// </summary>
public static class ErrorAnswers
{
    public static WebApplicationBuilder AddErrorAnswers(this WebApplicationBuilder builder)
    {
        builder.Services.AddProblemDetails();
        return builder;
    }

    /// <summary>Stands before routing, so that nothing escapes it.</summary>
    public static void UseErrorAnswers(this WebApplication app)
    {
        app.Use(AnswerFailuresAsync);
        app.UseStatusCodePages(status => WriteAsync(status.HttpContext, status.HttpContext.Response.StatusCode));
    }

    private static async Task AnswerFailuresAsync(HttpContext context, RequestDelegate next)
    {
        context.Request.Body = new RequestBody(context.Request.Body);
        try
        {
            await next(context);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            if (!context.Response.HasStarted) context.Response.StatusCode = StatusCodes.Status499ClientClosedRequest;
        }
        catch (Exception failure) when (!context.Response.HasStarted)
        {
            var headers = context.Response.Headers;
            foreach (var name in new[] { "Content-Type", "Content-Length", "Content-Encoding", "ETag" }) headers.Remove(name);
            if (failure is OpenAiException error) await error.WriteAsync(context);
            else await WriteAsync(context, failure);
        }
    }

    private static Task WriteAsync(HttpContext context, Exception failure)
    {
        switch (failure)
        {
            case ChatException said:
                if (said.RetryAfter is { } wait) SetRetryAfter(context, wait);
                return WriteAsync(context, StatusOf(said.Error), said.Message, said.Code);
            case BadHttpRequestException bad:
                return WriteAsync(context, bad.StatusCode);
            case GenerationException { Error: GenerationError.Busy } busy:
                SetRetryAfter(context, busy.RetryAfter ?? TimeSpan.FromSeconds(1));
                return WriteAsync(context, StatusCodes.Status429TooManyRequests, busy.Message);
            case GenerationException { Error: GenerationError.Unavailable } gone:
                SetRetryAfter(context, gone.RetryAfter ?? TimeSpan.FromSeconds(5));
                return WriteAsync(context, StatusCodes.Status503ServiceUnavailable, gone.Message);
            case GenerationException wrong:
                return WriteAsync(context, wrong.Error == GenerationError.UnknownModel ? StatusCodes.Status404NotFound : StatusCodes.Status400BadRequest, wrong.Message);
            default:
                context.RequestServices.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(ErrorAnswers))
                    .LogError(failure, "{Method} {Path} failed", context.Request.Method, context.Request.Path);
                return WriteAsync(context, StatusCodes.Status500InternalServerError);
        }
    }

    /// <summary>Writes the answer for a status, if its body is still to be written.</summary>
    /// <param name="code">The hub's word for the error, so that a client needs one table for both.</param>
    public static async Task WriteAsync(HttpContext context, int status, string? detail = null, string? code = null)
    {
        context.Response.StatusCode = status;
        if (context.Request.Path.StartsWithSegments("/v1", StringComparison.OrdinalIgnoreCase))
        {
            await OpenAiException.OfStatus(context, status, detail).WriteAsync(context);
            return;
        }
        var problems = context.RequestServices.GetRequiredService<IProblemDetailsService>();
        if (status == StatusCodes.Status401Unauthorized) detail ??= "A valid bearer token is needed: Authorization: Bearer <token>.";
        var problem = new ProblemDetailsContext { HttpContext = context, ProblemDetails = { Status = status, Detail = detail } };
        if (code is not null) problem.ProblemDetails.Extensions["code"] = code;
        await problems.TryWriteAsync(problem);
    }

    private static int StatusOf(ChatError error) => error switch
    {
        ChatError.NotFound => StatusCodes.Status404NotFound,
        ChatError.Conflict => StatusCodes.Status409Conflict,
        ChatError.Busy => StatusCodes.Status503ServiceUnavailable,
        ChatError.Limited => StatusCodes.Status429TooManyRequests,
        ChatError.TooLarge => StatusCodes.Status413PayloadTooLarge,
        _ => StatusCodes.Status400BadRequest,
    };

    private static void SetRetryAfter(HttpContext context, TimeSpan wait) =>
        context.Response.Headers.RetryAfter = Math.Max(1, (int)Math.Ceiling(wait.TotalSeconds)).ToString(CultureInfo.InvariantCulture);
}
