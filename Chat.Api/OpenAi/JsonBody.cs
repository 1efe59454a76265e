using System.Text.Json;
using System.Text.Unicode;

namespace Chat.Api.OpenAi;

/// <summary>Reads a request's body as one JSON object, strictly, so that every fault of it is told here and none later.</summary>
internal static class JsonBody
{
    private static readonly JsonDocumentOptions Strict = new() { MaxDepth = 32, AllowDuplicateProperties = false };

    /// <exception cref="OpenAiException">415, 413 or 400.</exception>
    public static async Task<JsonDocument> ReadAsync(HttpRequest request, int limit, CancellationToken cancellation)
    {
        if (!IsJson(request)) throw OpenAiException.OfStatus(request.HttpContext, StatusCodes.Status415UnsupportedMediaType);
        if (request.ContentLength > limit) throw TooLarge(request, limit);

        using var buffer = new MemoryStream();
        var piece = new byte[16 * 1024];
        for (int read; (read = await request.Body.ReadAsync(piece, cancellation)) > 0;)
        {
            if (buffer.Length + read > limit) throw TooLarge(request, limit);
            buffer.Write(piece, 0, read);
        }

        var bytes = buffer.ToArray();
        if (!Utf8.IsValid(bytes)) throw Bad("The body is not valid UTF-8.");
        JsonDocument document;
        try { document = JsonDocument.Parse(bytes, Strict); }
        catch (JsonException e) { throw Bad($"The body is not valid JSON: {e.Message}"); }
        if (document.RootElement.ValueKind == JsonValueKind.Object && HasWholeTexts(document.RootElement)) return document;
        using (document)
            throw Bad(document.RootElement.ValueKind == JsonValueKind.Object ? "A string in the body holds half a surrogate pair." : "The body must be a JSON object.");
    }

    private static bool IsJson(HttpRequest request)
    {
        if (!request.HasJsonContentType() || request.Headers.ContentEncoding.Count > 0) return false;
        var charset = request.GetTypedHeaders().ContentType?.Charset.Value?.Trim('"');
        return string.IsNullOrEmpty(charset) || charset.Equals("utf-8", StringComparison.OrdinalIgnoreCase);
    }

    // An escaped lone surrogate passes the parser and throws only where the string is read.
    internal static bool HasWholeTexts(JsonElement element)
    {
        try
        {
            return element.ValueKind switch
            {
                JsonValueKind.String => element.GetString() is not null,
                JsonValueKind.Array => element.EnumerateArray().All(HasWholeTexts),
                JsonValueKind.Object => element.EnumerateObject().All(p => p.Name is not null && HasWholeTexts(p.Value)),
                _ => true,
            };
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }

    private static OpenAiException Bad(string message) => new(StatusCodes.Status400BadRequest, "invalid_request", message);

    private static OpenAiException TooLarge(HttpRequest request, int limit) =>
        OpenAiException.OfStatus(request.HttpContext, StatusCodes.Status413PayloadTooLarge, $"The body is larger than {limit} bytes.");
}
