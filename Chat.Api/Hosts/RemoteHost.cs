using System.Net;
using System.Net.Sockets;
using Chat.Api.Hosts.Wire;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Models.Decoding;
using Chat.Models.Engine;
using Grpc.Core;
using Grpc.Net.Client;
using Polly;
using Polly.CircuitBreaker;
using Polly.Timeout;

namespace Chat.Api.Hosts;

/// <summary>A model that a host offers, and what it was at, and had pinned, when the host was asked.</summary>
internal sealed record HostOffer(ModelDescription Description, DecodingLimits Limits, EngineLoad Load, IReadOnlyList<HeldPin> Pins);

/// <summary>A host did not begin, or did not end, what it was asked for; another one may.</summary>
internal sealed class HostFailedException(RemoteHost host, GenerationException reason) : Exception(reason.Message, reason)
{
    public RemoteHost Host { get; } = host;
    public GenerationException Reason { get; } = reason;
}

/// <summary>
/// One model host as a gateway sees it: what it said of itself last, the requests that this gateway has there, and a circuit breaker. Thread-safe.
/// </summary>
internal sealed class RemoteHost : IDisposable
{
    private static readonly TimeSpan PollLimit = TimeSpan.FromSeconds(5), ConnectLimit = TimeSpan.FromSeconds(2);

    // A machine that is cut off answers no ping; a process that dies closes its connection.
    private static readonly TimeSpan PingDelay = TimeSpan.FromSeconds(5), PingLimit = TimeSpan.FromSeconds(5);

    private readonly HostsOptions options;
    private readonly TimeProvider time;
    private readonly ILogger logger;
    private readonly GrpcChannel channel;
    private readonly ModelHost.ModelHostClient client;
    private readonly Metadata headers = [];
    private readonly ResiliencePipeline firstToken;
    private readonly CircuitBreakerManualControl breaker = new();
    private volatile View view = new(false, false, [], 0);
    private int own;

    /// <param name="Others">Requests that other gateways had there when it was asked.</param>
    private sealed record View(bool IsUp, bool IsDraining, IReadOnlyList<HostOffer> Offers, int Others);

    /// <param name="at">Which of the addresses that the name stands for; the name is still the one that its certificate must have. <c>null</c> = any.</param>
    public RemoteHost(Uri address, IPAddress? at, HostsOptions options, TimeProvider time, ILogger logger)
    {
        (this.options, this.time, this.logger, Name) = (options, time, logger, NameOf(address, at));
        var handler = new SocketsHttpHandler
        {
            ConnectTimeout = ConnectLimit,
            EnableMultipleHttp2Connections = true,
            KeepAlivePingDelay = PingDelay,
            KeepAlivePingTimeout = PingLimit,
        };
        if (options.Tls.IsOn) handler.SslOptions = options.Tls.Client();
        if (at is not null) handler.ConnectCallback = (_, limit) => ConnectAsync(new(at, address.Port), limit);
        channel = GrpcChannel.ForAddress(address, new()
        {
            MaxReceiveMessageSize = WireForms.LargestMessage,
            MaxSendMessageSize = WireForms.LargestMessage,
            DisposeHttpClient = true,
            HttpHandler = handler,
        });
        client = new(channel);
        if (options.Key is { } key) headers.Add("authorization", $"Bearer {key}");
        firstToken = new ResiliencePipelineBuilder { TimeProvider = time }
            .AddCircuitBreaker(new CircuitBreakerStrategyOptions
            {
                // Busy, or wrong, is not broken.
                ShouldHandle = new PredicateBuilder().Handle<TimeoutRejectedException>().Handle<GenerationException>(e => e.Error == GenerationError.Unavailable),
                FailureRatio = 0.5,
                MinimumThroughput = 3,
                SamplingDuration = TimeSpan.FromSeconds(10),
                BreakDuration = TimeSpan.FromSeconds(5),
                ManualControl = breaker,
            })
            .AddTimeout(TimeSpan.FromSeconds(options.FirstTokenSeconds))
            .Build();
    }

    public string Name { get; }

    public static string NameOf(Uri address, IPAddress? at) => at is null ? address.Authority : $"{new IPEndPoint(at, address.Port)}";

    /// <summary>No address of <c>Hosts:Dns</c> any more: it gets nothing new, and is let go when what this gateway has there has ended.</summary>
    public bool IsLeaving { get; set; }

    /// <summary>Requests that this gateway has there.</summary>
    public int Own => Volatile.Read(ref own);

    public bool IsUp => view.IsUp;

    public bool IsDraining => view.IsDraining;

    /// <summary>What it offers, or offered when it last answered.</summary>
    public IReadOnlyList<HostOffer> Offers => view.Offers;

    /// <summary>Requests that it is at, as far as is known here.</summary>
    public int Active => view.Others + Own;

    /// <summary>Asks the host for its status; one that does not answer is down.</summary>
    public async Task PollAsync(CancellationToken cancellation)
    {
        var before = Volatile.Read(ref own);
        try
        {
            var status = await client.StatusAsync(new(), headers, (time.GetUtcNow() + PollLimit).UtcDateTime, cancellation);
            var isBack = !view.IsUp;
            if (isBack) await breaker.CloseAsync(cancellation);                              // what broke was the process before
            view = new(true, status.Draining, [.. status.Models.Select(WireForms.Read)], Math.Max(0, status.Models.Sum(m => m.Active) - before));
            if (isBack) logger.LogInformation("Model host {Host} answers; it serves {Models}", Name, string.Join(", ", status.Models.Select(m => m.Id)));
        }
        catch (Exception e) when (e is RpcException or GenerationException or ObjectDisposedException && !cancellation.IsCancellationRequested)
        {
            var reason = e is RpcException rpc ? $"{rpc.StatusCode}: {rpc.Status.Detail}" : e.Message;
            if (view.IsUp) logger.LogWarning("Model host {Host} does not answer: {Reason}", Name, reason);
            else logger.LogDebug("Model host {Host} does not answer: {Reason}", Name, reason);
            view = view with { IsUp = false, Others = 0 };
        }
    }

    /// <summary>Begins a reply; returns when its first chunk is there.</summary>
    /// <param name="until">The call's deadline.</param>
    /// <param name="beginning">Given up before the first chunk is there; afterwards it means nothing.</param>
    /// <exception cref="HostFailedException">Another host may do better.</exception>
    /// <exception cref="GenerationException">The request is wrong.</exception>
    public async Task<RemoteReply> BeginAsync(GenerationRequest request, string modelHash, DateTimeOffset until, CancellationToken beginning, CancellationToken cancellation)
    {
        try
        {
            return await firstToken.ExecuteAsync(async limit =>
            {
                var reply = new RemoteReply(this, client.Generate(WireForms.Write(request, modelHash), headers, until.UtcDateTime, cancellation));
                try
                {
                    await reply.ReadFirstAsync(limit, cancellation);
                    return reply;
                }
                catch
                {
                    reply.Dispose();
                    throw;
                }
            }, beginning);
        }
        catch (ObjectDisposedException e)
        {
            throw new HostFailedException(this, new(GenerationError.Unavailable, $"The model host {Name} has just left.", inner: e));
        }
        catch (TimeoutRejectedException e)
        {
            throw new HostFailedException(this, new(GenerationError.Unavailable, $"The model host {Name} gave no first token within {options.FirstTokenSeconds} s.", inner: e));
        }
        catch (BrokenCircuitException e)
        {
            throw new HostFailedException(this, new(GenerationError.Unavailable, $"The model host {Name} failed a moment ago.", inner: e));
        }
        catch (GenerationException e) when (e.Error is GenerationError.Unavailable or GenerationError.Busy)
        {
            throw new HostFailedException(this, e);
        }
    }

    /// <exception cref="ChatException">What the host said against it.</exception>
    public async Task<ModelDescription> LoadAsync(string hash, CancellationToken cancellation) =>
        WireForms.Read(await AskAsync(client.LoadAsync(new() { Hash = hash }, headers, cancellationToken: cancellation))).Description;

    /// <inheritdoc cref="LoadAsync"/>
    public Task UnloadAsync(string model, int waitSeconds, CancellationToken cancellation) =>
        AskAsync(client.UnloadAsync(new() { Model = model, WaitSeconds = waitSeconds }, headers, cancellationToken: cancellation));

    /// <inheritdoc cref="LoadAsync"/>
    public Task DrainAsync(int waitSeconds, CancellationToken cancellation) =>
        AskAsync(client.DrainAsync(new() { WaitSeconds = waitSeconds }, headers, cancellationToken: cancellation));

    /// <inheritdoc cref="LoadAsync"/>
    public Task UndrainAsync(CancellationToken cancellation) => AskAsync(client.UndrainAsync(new(), headers, cancellationToken: cancellation));

    /// <inheritdoc cref="LoadAsync"/>
    public Task PinAsync(string model, string name, string systemPrompt, CancellationToken cancellation) =>
        AskAsync(client.PinAsync(new() { Model = model, Name = name, SystemPrompt = systemPrompt }, headers, cancellationToken: cancellation));

    /// <inheritdoc cref="LoadAsync"/>
    public Task UnpinAsync(string model, string name, CancellationToken cancellation) =>
        AskAsync(client.UnpinAsync(new() { Model = model, Name = name }, headers, cancellationToken: cancellation));

    public void Dispose() => channel.Dispose();

    private static async ValueTask<Stream> ConnectAsync(IPEndPoint at, CancellationToken limit)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(at, limit);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private async Task<T> AskAsync<T>(AsyncUnaryCall<T> call)
    {
        try
        {
            using (call) return await call;
        }
        catch (RpcException e)
        {
            throw e.StatusCode switch
            {
                StatusCode.NotFound => new ChatException(ChatError.NotFound, e.Status.Detail, e),
                StatusCode.InvalidArgument => new ChatException(ChatError.Invalid, e.Status.Detail, e),
                StatusCode.FailedPrecondition => new ChatException(ChatError.Conflict, e.Status.Detail, e),
                StatusCode.DataLoss => new ChatException(ChatError.Invalid, e.Status.Detail, e),
                _ => new ChatException(ChatError.Busy, $"The model host {Name} failed: {e.StatusCode}.", e),
            };
        }
    }

    /// <summary>A reply that a host writes. Disposing of it before its end cancels it there.</summary>
    internal sealed class RemoteReply : IDisposable
    {
        private readonly RemoteHost host;
        private readonly AsyncServerStreamingCall<GenerateChunk> call;

        public RemoteReply(RemoteHost host, AsyncServerStreamingCall<GenerateChunk> call)
        {
            (this.host, this.call) = (host, call);
            Interlocked.Increment(ref host.own);
        }

        public RemoteHost Host => host;

        public GenerationChunk Current { get; private set; } = new("", []);

        internal Task ReadFirstAsync(CancellationToken limit, CancellationToken cancellation) => ReadAsync(limit, cancellation);

        /// <exception cref="HostFailedException">The host is gone, or broke off.</exception>
        public async Task ReadNextAsync(CancellationToken cancellation)
        {
            try { await ReadAsync(cancellation, cancellation); }
            catch (GenerationException e) when (e.Error == GenerationError.Unavailable) { throw new HostFailedException(host, e); }
        }

        private async Task ReadAsync(CancellationToken limit, CancellationToken cancellation)
        {
            try
            {
                if (!await call.ResponseStream.MoveNext(limit)) throw new GenerationException(GenerationError.Unavailable, $"The model host {host.Name} broke off without an end.");
                Current = WireForms.Read(call.ResponseStream.Current);
            }
            catch (RpcException e)
            {
                cancellation.ThrowIfCancellationRequested();
                limit.ThrowIfCancellationRequested();     // the pipeline makes a timeout of it
                throw WireForms.Read(e, host.Name);
            }
        }

        public void Dispose()
        {
            call.Dispose();
            Interlocked.Decrement(ref host.own);
        }
    }
}
