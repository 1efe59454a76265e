using Microsoft.Extensions.Configuration.Memory;

namespace Chat.Api.Operations;

/// <summary>What the server's log holds where nobody configures it otherwise: what the product says, and ASP.NET's warnings.</summary>
public static class ServerLogs
{
    public static WebApplicationBuilder AddServerLogs(this WebApplicationBuilder builder)
    {
        // Before every other source, so that any of them overrides it.
        builder.Configuration.Sources.Insert(0, new MemoryConfigurationSource { InitialData = [new("Logging:LogLevel:Microsoft.AspNetCore", "Warning")] });
        // A filter, since no setting may bring it back: its lines hold a request's whole address, and the hub's holds the caller's token.
        builder.Logging.AddFilter("Microsoft.AspNetCore.Hosting.Diagnostics", LogLevel.Warning);
        return builder;
    }
}
