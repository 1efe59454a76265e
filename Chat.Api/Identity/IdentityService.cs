using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.JwtBearer;

namespace Chat.Api.Identity;

/// <summary>Bearer tokens from the section <c>Authentication:Schemes:Bearer</c>; in Development, on this machine, also nobody in particular.</summary>
internal static class IdentityService
{
    private const string Either = "BearerOrAnonymous";

    public static void AddIdentity(this WebApplicationBuilder builder)
    {
        builder.Services.AddAuthentication(Either)
            .AddPolicyScheme(Either, null, scheme => scheme.ForwardDefaultSelector = http => AnonymousCaller.IsAllowed(http) ? AnonymousCaller.Scheme : JwtBearerDefaults.AuthenticationScheme)
            .AddScheme<AuthenticationSchemeOptions, AnonymousCaller>(AnonymousCaller.Scheme, null)
            .AddJwtBearer(bearer =>
            {
                bearer.MapInboundClaims = false;     // `sub` stays `sub`
                bearer.Events = new()
                {
                    OnMessageReceived = context =>
                    {
                        // Browsers cannot set a header on a WebSocket.
                        if (context.Request.Path.StartsWithSegments("/hubs", StringComparison.Ordinal)) context.Token = context.Request.Query["access_token"];
                        if (string.IsNullOrEmpty(context.Token)) context.Token = null;
                        return Task.CompletedTask;
                    },
                    OnTokenValidated = context =>
                    {
                        if (string.IsNullOrEmpty(context.Principal?.Caller().User)) context.Fail("The token has no 'sub'.");
                        return Task.CompletedTask;
                    },
                };
            });
        builder.Services.AddAuthorization();
        builder.Services.AddUserLimits(builder.Configuration);
    }

    /// <summary>Gives a browser that opens the page in Development an identity of its own.</summary>
    public static void UseBrowserIds(this WebApplication app) => app.Use((http, next) =>
    {
        AnonymousCaller.GiveBrowserId(http);
        return next(http);
    });
}
