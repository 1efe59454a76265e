namespace Chat.Api.Operations;

public static class SecurityHeaders
{
    private static readonly PathString[] Apis = ["/api", "/v1", "/health", "/metrics", "/openapi"];

    /// <summary>What an API says to a browser that shows its answer: nothing in it runs, nobody frames it, nobody keeps it.</summary>
    public static void UseSecurityHeaders(this WebApplication app) => app.Use((context, next) =>
    {
        if (Array.Exists(Apis, api => context.Request.Path.StartsWithSegments(api)))
        {
            var headers = context.Response.Headers;
            headers.XContentTypeOptions = "nosniff";
            headers.ContentSecurityPolicy = "default-src 'none'; frame-ancestors 'none'";
            headers.CacheControl = "no-store";
            headers["Referrer-Policy"] = "no-referrer";
        }
        return next(context);
    });
}
