using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Chat.Api.Identity;

/// <summary>What any client is held to before anybody looks at what it asks.</summary>
internal static class ServerLimits
{
    private static readonly TimeSpan HeaderTime = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan ShutdownTime = TimeSpan.FromSeconds(8);

    public static void AddServerLimits(this WebApplicationBuilder builder)
    {
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.RequestHeadersTimeout = HeaderTime;
            kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(10));
            kestrel.Limits.MaxRequestBodySize = 1024 * 1024;
        });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = ShutdownTime);
        // A body that cannot be bound becomes an exception, so that one place words all refusals.
        builder.Services.Configure<RouteHandlerOptions>(routes => routes.ThrowOnBadRequest = true);
    }
}
