using Chat.Api.Hosts;
using Chat.Api.Hosts.Wire;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Chat.IntegrationTests.Hosts;

/// <summary>A model host in this process, over the tiny models, on ports of its own.</summary>
internal sealed class HostServer : IAsyncDisposable
{
    public const string Key = "a key of sixteen letters or more";

    private readonly WebApplication app;
    private readonly GrpcChannel channel;

    private HostServer(WebApplication app)
    {
        this.app = app;
        Uri[] addresses = [.. app.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.Select(a => new Uri(a))];
        (HttpAddress, Address) = (addresses[0], addresses[1]);
        channel = GrpcChannel.ForAddress(Address);
        Client = new(channel);
    }

    /// <summary>Where it takes gRPC, and where health and metrics stand.</summary>
    public Uri Address { get; }
    public Uri HttpAddress { get; }

    public ModelHost.ModelHostClient Client { get; }

    public GrpcChannel Channel => channel;

    public IServiceProvider Services => app.Services;

    public static Metadata KeyHeader => new() { { "authorization", $"Bearer {Key}" } };

    public static async Task<HostServer> StartAsync(params (string Key, string Value)[] settings)
    {
        var builder = WebApplication.CreateBuilder();
        builder.Configuration.AddInMemoryCollection(
        [
            new("urls", "http://127.0.0.1:0"), new("Hosts:Listen", "http://127.0.0.1:0"), new("Hosts:Key", Key),
            new("Models:Folder", Path.Combine(AppContext.BaseDirectory, "Models")), new("Models:Rows", "4"),
        ]);
        builder.Configuration.AddInMemoryCollection(settings.Select(s => KeyValuePair.Create(s.Key, (string?)s.Value)));
        builder.Logging.ClearProviders();
        var app = ModelHostRole.Compose(builder);
        await app.StartAsync();
        return new(app);
    }

    public async ValueTask DisposeAsync()
    {
        channel.Dispose();
        await app.DisposeAsync();
    }
}
