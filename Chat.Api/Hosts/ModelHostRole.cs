using System.Net;
using Chat.Api.Identity;
using Chat.Api.Operations;
using Chat.Api.Registry;
using Chat.Domain.Generation;
using Grpc.Core;
using Grpc.Core.Interceptors;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Chat.Api.Hosts;

/// <summary>The role <c>model-host</c>: models of this process behind gRPC, for gateways elsewhere. No store, no users, no page.</summary>
internal static class ModelHostRole
{
    public const string Name = "model-host";
    private const string DefaultHttp = "http://localhost:5081";
    private const int StreamsPerConnection = 1000;

    public static WebApplication Compose(WebApplicationBuilder builder)
    {
        builder.AddStartFailure();
        builder.AddServerLimits();
        builder.AddErrorAnswers();
        builder.AddPlugins();
        builder.AddInProcessModels(mayBeEmpty: true);
        builder.AddModelHost();
        builder.AddMetrics();
        builder.AddModelHealth().AddCheck<NotDraining>("draining");

        var app = builder.Build();
        app.UseErrorAnswers();
        app.UseMetrics();
        app.UseRouting();
        app.UseAuthentication();
        app.UseAuthorization();
        app.MapGrpcService<ModelHostService>().RequireAuthorization();
        app.MapGrpcHealthChecksService();
        app.MapModelFiles();
        app.MapHealth();
        return app;
    }

    private static void AddModelHost(this WebApplicationBuilder builder)
    {
        builder.AddKeysInDataFolder();
        var hosts = HostsOptions.Read(builder.Configuration);
        HostKey.Require(hosts, builder.Environment);
        if (hosts.Tls.IsOn && !hosts.Listen.StartsWith("https:", StringComparison.Ordinal)) throw new InvalidOperationException($"Hosts:Tls is set, so Hosts:Listen must be https://…, not '{hosts.Listen}'.");
        var services = builder.Services;
        services.AddSingleton(hosts);
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton<HostWork>();
        services.AddSingleton<ModelShelf>();
        services.AddSingleton<ModelPull>();
        services.AddSingleton<HostFolders>();
        services.AddHostedService<LoadAtStart>();
        services.AddAuthentication(HostKey.Scheme).AddScheme<AuthenticationSchemeOptions, HostKey>(HostKey.Scheme, null);
        services.AddAuthorization();
        services.AddGrpc(grpc =>
        {
            grpc.MaxReceiveMessageSize = grpc.MaxSendMessageSize = WireForms.LargestMessage;
            grpc.Interceptors.Add<HostErrors>();
        });
        services.AddGrpcHealthChecks();
        // A host that ends tells its connections so, takes nothing new, and waits for what runs; a gateway goes on elsewhere with what is left.
        services.Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(hosts.DrainSeconds));

        // Without TLS a port speaks either HTTP/1.1 or HTTP/2: probes and Prometheus know the one, gRPC the other.
        var http = builder.Configuration[WebHostDefaults.ServerUrlsKey] is { Length: > 0 } urls ? urls : DefaultHttp;
        builder.WebHost.UseSetting(WebHostDefaults.ServerUrlsKey, "");
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = WireForms.LargestMessage + 1024;     // a message has a head of its own
            kestrel.Limits.Http2.MaxStreamsPerConnection = StreamsPerConnection;
            foreach (var url in http.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)) Listen(kestrel, url, HttpProtocols.Http1, new());
            Listen(kestrel, hosts.Listen, HttpProtocols.Http2, hosts.Tls);
        });
    }

    private static void Listen(KestrelServerOptions kestrel, string url, HttpProtocols protocols, HostTls tls)
    {
        if (!Uri.TryCreate(url.Replace("://*", "://[::]", StringComparison.Ordinal).Replace("://+", "://[::]", StringComparison.Ordinal), UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https"))
            throw new InvalidOperationException($"'{url}' is no address to listen on; it takes the form http://localhost:5090.");
        if (IPAddress.TryParse(uri.Host.Trim('[', ']'), out var address)) kestrel.Listen(address, uri.Port, Configure);
        else if (uri.Host == "localhost") kestrel.ListenLocalhost(uri.Port, Configure);
        else kestrel.ListenAnyIP(uri.Port, Configure);

        void Configure(ListenOptions listen)
        {
            listen.Protocols = protocols;
            if (uri.Scheme == "https" && tls.IsOn) tls.Listen(listen);
            else if (uri.Scheme == "https") listen.UseHttps();     // Kestrel:Certificates:Default
        }
    }

    private sealed class NotDraining(HostWork work) : IHealthCheck
    {
        public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
            Task.FromResult(work.IsDraining ? HealthCheckResult.Unhealthy("The host is being drained.") : HealthCheckResult.Healthy());
    }

    /// <summary>The models' errors as status codes. Anything else is a failure of ours: gRPC logs it and says nothing of it.</summary>
    private sealed class HostErrors : Interceptor
    {
        public override async Task<TResponse> UnaryServerHandler<TRequest, TResponse>(TRequest request, ServerCallContext context, UnaryServerMethod<TRequest, TResponse> continuation)
        {
            try { return await continuation(request, context); }
            catch (GenerationException e) { throw WireForms.Write(e); }
            catch (OperationCanceledException) { throw new RpcException(new(StatusCode.Cancelled, "The caller went away.")); }
        }

        public override async Task ServerStreamingServerHandler<TRequest, TResponse>(TRequest request, IServerStreamWriter<TResponse> responseStream, ServerCallContext context, ServerStreamingServerMethod<TRequest, TResponse> continuation)
        {
            try { await continuation(request, responseStream, context); }
            catch (GenerationException e) { throw WireForms.Write(e); }
            catch (OperationCanceledException) { throw new RpcException(new(StatusCode.Cancelled, "The caller went away.")); }
        }
    }
}
