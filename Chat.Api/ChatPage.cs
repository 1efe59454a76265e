using Microsoft.AspNetCore.Hosting.StaticWebAssets;
using Microsoft.AspNetCore.Routing.Patterns;

namespace Chat.Api;

/// <summary>
/// The chat page at <c>/</c>: the static files of wwwroot, compressed at build time, each under headers that let nothing in from elsewhere.
/// </summary>
public static class ChatPage
{
    /// <summary>
    /// Scripts, styles, pictures and connections from this origin only; nothing may frame the page; no string becomes HTML or script
    /// (trusted types, and no policy may be created that would lift them).
    /// </summary>
    public const string ContentSecurityPolicy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " +
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

    /// <summary>
    /// Lets a build's output serve wwwroot in every environment, as it was built; without it only Development and a published folder would, and
    /// a build's output would compress again, badly, at each request.
    /// </summary>
    public static WebApplicationBuilder AddChatPage(this WebApplicationBuilder builder)
    {
        builder.Configuration["ReloadStaticAssetsAtRuntime"] = "false";
        StaticWebAssetsLoader.UseStaticWebAssets(builder.Environment, builder.Configuration);
        return builder;
    }

    public static void MapChatPage(this IEndpointRouteBuilder routes) => routes.MapStaticAssets().Add(endpoint =>
    {
        var route = (RouteEndpointBuilder)endpoint;
        // index.html has one endpoint an encoding; all of them answer at the root, so the page is sent compressed too.
        var isPage = route.RoutePattern.RawText == "index.html";
        if (isPage) route.RoutePattern = RoutePatternFactory.Parse("/");

        var serve = route.RequestDelegate!;
        route.RequestDelegate = context =>
        {
            var headers = context.Response.Headers;
            headers.XContentTypeOptions = "nosniff";
            if (isPage)
            {
                headers.ContentSecurityPolicy = ContentSecurityPolicy;
                headers["Referrer-Policy"] = "no-referrer";
                headers["Cross-Origin-Opener-Policy"] = "same-origin";
                headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()";
            }
            return serve(context);
        };
    });
}
