using System.Net;
using Chat.Api.Hosts;
using Chat.Domain.Generation;
using Chat.Domain.Plugins;
using Chat.Models.Decoding;
using Grpc.Core;
using Microsoft.Extensions.Logging.Abstractions;

namespace Chat.IntegrationTests.Hosts;

/// <summary>Two model hosts that do what a test tells them to, and gateways of them.</summary>
public abstract class TwoHosts : IAsyncLifetime
{
    private static readonly DecodingCatalog Catalog = new(new PluginCatalog(typeof(IDecodingStrategy).Assembly));

    private readonly List<RemoteChatModels> gateways = [];

    private protected FakeHost A { get; private set; } = null!;
    private protected FakeHost B { get; private set; } = null!;

    /// <summary>Set when a caller has heard three letters.</summary>
    private protected TaskCompletionSource HeardThree { get; private set; } = new();

    public async ValueTask InitializeAsync() => (A, B) = (await FakeHost.StartAsync(), await FakeHost.StartAsync());

    public virtual async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        foreach (var gateway in gateways)
        {
            await gateway.StopAsync(CancellationToken.None);
            gateway.Dispose();
        }
        await A.DisposeAsync();
        await B.DisposeAsync();
    }

    /// <summary>The host says nothing until it is cancelled.</summary>
    private protected static TaskCompletionSource Silence(FakeHost host)
    {
        var cancelled = new TaskCompletionSource();
        host.Before = async (_, context) =>
        {
            context.CancellationToken.Register(() => cancelled.TrySetResult());
            await Task.Delay(Timeout.Infinite, context.CancellationToken);
        };
        return cancelled;
    }

    /// <summary>The host that <see cref="Request"/> prefers, and the other one.</summary>
    private protected async Task<(FakeHost First, FakeHost Second)> PreferredAsync()
    {
        await HearAsync(await StartAsync(A, B), Request());
        var pair = A.Requests.IsEmpty ? (B, A) : (A, B);
        A.Requests.Clear();
        B.Requests.Clear();
        HeardThree = new();
        return pair;
    }

    /// <summary>The host's connection breaks when the caller has heard three letters.</summary>
    private protected void DieWhenHeard(FakeHost host) => host.Before = async (place, context) =>
    {
        if (place < 3) return;
        await HeardThree.Task;
        context.GetHttpContext().Abort();
    };

    private protected Task<RemoteChatModels> StartAsync(params FakeHost[] hosts) => StartAsync(new HostsOptions(), hosts);

    private protected Task<RemoteChatModels> StartAsync(HostsOptions options, params FakeHost[] hosts) => StartAsync(options, TimeProvider.System, hosts);

    private protected async Task<RemoteChatModels> StartAsync(HostsOptions options, TimeProvider time, params FakeHost[] hosts)
    {
        var gateway = Gateway(options with { Addresses = [.. hosts.Select(h => h.Address.OriginalString)] }, time);
        await gateway.StartAsync(CancellationToken.None);
        return gateway;
    }

    private protected RemoteChatModels Gateway(HostsOptions options, TimeProvider? time = null, Func<string, CancellationToken, Task<IPAddress[]>>? resolve = null)
    {
        var gateway = new RemoteChatModels(options, new(), Catalog, null, time ?? TimeProvider.System, NullLogger<RemoteChatModels>.Instance, resolve);
        gateways.Add(gateway);
        return gateway;
    }

    private protected static GenerationRequest Request() => new() { RequestId = "r", Model = "m", Messages = [new(ChatRole.System, "Be brief."), new(ChatRole.User, "Who is there?")] };

    private protected async Task<List<GenerationChunk>> HearAsync(IChatModels models, GenerationRequest request, List<GenerationChunk>? heard = null, CancellationToken cancellation = default)
    {
        heard ??= [];
        await foreach (var chunk in models.GenerateAsync(request, cancellation))
        {
            heard.Add(chunk);
            if (heard.Count == 3) HeardThree.TrySetResult();
        }
        return heard;
    }

    private protected static string Text(IEnumerable<GenerationChunk> chunks) => string.Concat(chunks.Select(c => c.Text));
}
