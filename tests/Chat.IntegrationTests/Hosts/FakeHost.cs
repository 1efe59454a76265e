using System.Collections.Concurrent;
using Chat.Api.Hosts.Wire;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Chat.IntegrationTests.Hosts;

/// <summary>A model host on a real port that does what a test tells it to. Unless told otherwise it says the letters behind what was emitted, one a chunk.</summary>
internal sealed class FakeHost : ModelHost.ModelHostBase, IAsyncDisposable
{
    public const int Letters = 6;
    private WebApplication? app;

    public Uri Address { get; private set; } = new("http://nowhere");

    public string Name => Address.Authority;

    public bool IsDraining { get; set; }

    /// <summary>Requests that it says it is at for others.</summary>
    public int Active { get; set; }

    public string Hash { get; set; } = "content-1";

    /// <summary>What it says of its engine; null = it is older than such a report.</summary>
    public EngineStatus? Engine { get; set; }

    public ConcurrentQueue<GenerateRequest> Requests { get; } = [];

    public ConcurrentQueue<DrawRequest> Draws { get; } = [];

    /// <summary>It is older than <see cref="Draw"/>.</summary>
    public bool IsOld { get; set; }

    /// <summary>What it says of its model's ids.</summary>
    public IReadOnlyList<(byte[] Name, bool IsSpecial)> Names { get; set; } = [.. Enumerable.Range(0, 100).Select(id => (Name: new[] { (byte)id }, IsSpecial: false))];

    /// <summary>Awaited before each letter, with its place in the reply; what it throws breaks the reply off.</summary>
    public Func<int, ServerCallContext, Task> Before { get; set; } = (_, _) => Task.CompletedTask;

    public static async Task<FakeHost> StartAsync(string url = "http://127.0.0.1:0")
    {
        var host = new FakeHost();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls(url).ConfigureKestrel(k => k.ConfigureEndpointDefaults(l => l.Protocols = HttpProtocols.Http2));
        builder.Services.AddGrpc();
        builder.Services.AddSingleton(host);
        host.app = builder.Build();
        host.app.MapGrpcService<FakeHost>();
        await host.app.StartAsync();
        host.Address = new(host.app.Urls.Single());
        return host;
    }

    public override async Task Generate(GenerateRequest request, IServerStreamWriter<GenerateChunk> responseStream, ServerCallContext context)
    {
        Requests.Enqueue(request);
        for (var place = request.Emitted.Count; place < Letters; place++)
        {
            await Before(place, context);
            var chunk = new GenerateChunk { Text = $"{(char)('a' + place)}" };
            chunk.Tokens.Add(new EmittedToken { Chosen = new() { Id = 10 + place, Bytes = Google.Protobuf.ByteString.CopyFromUtf8(chunk.Text) } });
            if (place == request.Emitted.Count) chunk.PromptTokens = 3;
            if (place == Letters - 1) chunk.End = new() { Reason = FinishReason.Length, PromptTokens = 3, CompletionTokens = Letters };
            await responseStream.WriteAsync(chunk);
        }
    }

    /// <summary>The ids 10, 11, … one after the other, as <see cref="Generate"/> says letters.</summary>
    public override async Task Draw(DrawRequest request, IServerStreamWriter<DrawnToken> responseStream, ServerCallContext context)
    {
        if (IsOld) throw new RpcException(new(StatusCode.Unimplemented, ""));
        Draws.Enqueue(request);
        for (var place = 0; place < Letters; place++)
        {
            await Before(place, context);
            await responseStream.WriteAsync(new() { Id = 10 + place, Logprob = -place });
        }
    }

    public override async Task Vocabulary(VocabularyRequest request, IServerStreamWriter<VocabularyPart> responseStream, ServerCallContext context)
    {
        var part = new VocabularyPart();
        part.Tokens.AddRange(Names.Select(n => Google.Protobuf.ByteString.CopyFrom(n.Name)));
        part.Special.AddRange(Names.Index().Where(n => n.Item.IsSpecial).Select(n => n.Index));
        await responseStream.WriteAsync(part);
    }

    public override Task<StatusReply> Status(StatusRequest request, ServerCallContext context)
    {
        var status = new StatusReply { Draining = IsDraining };
        status.Models.Add(new ServedModel { Id = "m", Hash = Hash, MaxPromptTokens = 100, MaxCompletionTokens = 50, Rows = 8, VocabularySize = Names.Count, Active = Active, Load = Engine, Weights = "exact", Draws = !IsOld });
        return Task.FromResult(status);
    }

    public async ValueTask DisposeAsync()
    {
        if (app is null) return;
        using var atOnce = new CancellationTokenSource();
        await atOnce.CancelAsync();
        await app.StopAsync(atOnce.Token);
        await app.DisposeAsync();
        app = null;
    }
}
