using System.Net;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;

namespace Chat.Api.Identity;

/// <summary>
/// A caller without a token, in Development, from this machine. All of them are the user <c>anonymous</c>, but a browser that has opened the page
/// carries a random id of its own in a cookie that scripts cannot read. Requests that another site's page makes are refused.
/// </summary>
internal sealed class AnonymousCaller(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    public new const string Scheme = "Anonymous";
    private const string Cookie = "chat-browser";
    private const int IdLength = 32;

    /// <summary>No token, Development, the loopback interface, and a page of this very site if a page asks at all.</summary>
    public static bool IsAllowed(HttpContext http)
    {
        var request = http.Request;
        return http.RequestServices.GetRequiredService<IWebHostEnvironment>().IsDevelopment()
            && string.IsNullOrEmpty(request.Headers.Authorization) && string.IsNullOrEmpty(request.Query["access_token"])
            && (http.Connection.RemoteIpAddress is not { } address || IPAddress.IsLoopback(address))
            && IsLocalName(request.Host.Host)     // a foreign name that resolves to this machine would let its page in
            && (request.Headers.Origin is not [{ } origin] || (Uri.TryCreate(origin, UriKind.Absolute, out var site) && site.Authority == request.Host.Value));
    }

    /// <summary>Gives a browser that opens the page an id of its own.</summary>
    public static void GiveBrowserId(HttpContext http)
    {
        if (http.Request.Path != "/" || !HttpMethods.IsGet(http.Request.Method) || BrowserId(http.Request) is not null || !IsAllowed(http)) return;
        http.Response.Cookies.Append(Cookie, RandomNumberGenerator.GetHexString(IdLength, lowercase: true), new()
        {
            HttpOnly = true, SameSite = SameSiteMode.Strict, Secure = http.Request.IsHttps, MaxAge = TimeSpan.FromDays(365), IsEssential = true,
        });
    }

    protected override Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var user = BrowserId(Request) is { } id ? $"browser-{id}" : "anonymous";
        var principal = new ClaimsPrincipal(new ClaimsIdentity([new("sub", user)], Scheme));
        return Task.FromResult(AuthenticateResult.Success(new(principal, Scheme)));
    }

    private static string? BrowserId(HttpRequest request) =>
        request.Cookies[Cookie] is { Length: IdLength } id && id.All(char.IsAsciiHexDigitLower) ? id : null;

    private static bool IsLocalName(string host) => host is "localhost" || (IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address));
}
