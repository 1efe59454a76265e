using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Chat.Api.Identity;

/// <summary>What any client is held to before anybody looks at what it asks.</summary>
internal static class ServerLimits
{
    // With Kestrel's granularity of a second a client that drips is gone well within 40 s.
    private const double HeaderSeconds = 15, BodyGraceSeconds = 10;
    private static readonly TimeSpan ShutdownTime = TimeSpan.FromSeconds(8);

    public static void AddServerLimits(this WebApplicationBuilder builder)
    {
        var limits = builder.Configuration.GetSection("Limits");
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(limits.GetValue("HeaderSeconds", HeaderSeconds));
            kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(limits.GetValue("BodyGraceSeconds", BodyGraceSeconds)));
            kestrel.Limits.MaxRequestBodySize = 1024 * 1024;
        });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = ShutdownTime);
        // A body that cannot be bound becomes an exception, so that one place words all refusals.
        builder.Services.Configure<RouteHandlerOptions>(routes => routes.ThrowOnBadRequest = true);
    }
}
