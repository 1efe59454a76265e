using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Models.Decoding;
using Polly;
using Polly.Hedging;
using Polly.Retry;

namespace Chat.Api.Hosts;

/// <summary>
/// The models of this gateway's hosts. A reply whose host fails before its first token begins at another one; one whose host fails later goes on
/// at another one behind what was emitted, where its strategy is pure. Each host is tried once a reply; one that is slow to begin may be raced against a
/// second one. Hosts behind a name come and go with its addresses. Thread-safe.
/// </summary>
internal sealed class RemoteChatModels : BackgroundService, IChatModels
{
    // A gateway that starts beside its hosts waits for the first of them so long, and then starts without.
    private static readonly TimeSpan FirstLook = TimeSpan.FromSeconds(5), BetweenFirstLooks = TimeSpan.FromMilliseconds(200);
    private static readonly ResiliencePropertyKey<Beginning> BeginningOf = new("beginning");
    private static readonly ResiliencePropertyKey<bool> IsSecond = new("second");
    private static readonly TimeSpan ComeAgain = TimeSpan.FromSeconds(5);

    private readonly HostsOptions options;
    private readonly string? defaultModel;
    private readonly DecodingCatalog catalog;
    private readonly JsonObject? configured;
    private readonly TimeProvider time;
    private readonly ILogger<RemoteChatModels> logger;
    private readonly Func<string, CancellationToken, Task<IPAddress[]>> resolve;
    private readonly Dictionary<Uri, IPAddress[]> resolved = [];
    private readonly ResiliencePipeline<RemoteHost.RemoteReply> anotherHost;
    private volatile IReadOnlyList<RemoteHost> hosts = [];
    private volatile IReadOnlyList<HostOffer> offers = [];
    private long resolvedAt;

    /// <param name="configured">Options of <c>Decoding:Default</c>.</param>
    /// <param name="resolve">The addresses of a name, as the system knows them by default.</param>
    /// <exception cref="GenerationException">They name what no strategy knows.</exception>
    public RemoteChatModels(HostsOptions options, ModelsOptions models, DecodingCatalog catalog, JsonObject? configured, TimeProvider time, ILogger<RemoteChatModels> logger,
        Func<string, CancellationToken, Task<IPAddress[]>>? resolve = null)
    {
        this.resolve = resolve ?? Dns.GetHostAddressesAsync;
        (this.options, defaultModel, this.catalog, this.configured, this.time, this.logger) = (options, models.Default, catalog, configured, time, logger);
        // What does not depend on a model is checked before there is one.
        catalog.CheckDefault(configured, new(int.MaxValue, int.MaxValue, int.MaxValue, HasAntonyms: true));
        UseHosts();
        var pipeline = new ResiliencePipelineBuilder<RemoteHost.RemoteReply> { TimeProvider = time };
        if (options.HedgeAfterSeconds > 0)
            pipeline.AddHedging(new HedgingStrategyOptions<RemoteHost.RemoteReply>
            {
                ShouldHandle = new PredicateBuilder<RemoteHost.RemoteReply>().Handle<GenerationException>(e => e.Error is GenerationError.Unavailable or GenerationError.Busy),     // the other one may answer yet
                MaxHedgedAttempts = 1,
                Delay = TimeSpan.FromSeconds(options.HedgeAfterSeconds),
                ActionGenerator = race =>
                {
                    if (!MayHedge(race.PrimaryContext.Properties.GetValue(BeginningOf, null!))) return null;
                    race.ActionContext.Properties.Set(IsSecond, true);
                    return () => race.Callback(race.ActionContext);
                },
            });
        anotherHost = pipeline
            .AddRetry(new RetryStrategyOptions<RemoteHost.RemoteReply>
            {
                ShouldHandle = new PredicateBuilder<RemoteHost.RemoteReply>().Handle<HostFailedException>(),
                MaxRetryAttempts = int.MaxValue,     // the last attempt finds no host left
                Delay = TimeSpan.Zero,
            })
            .Build();
    }

    /// <summary>A reply that looks for a host; two branches of a race share it.</summary>
    private sealed class Beginning(HostOffer offer)
    {
        public HostOffer Offer => offer;
        public Lock Sync { get; } = new();
        public HashSet<RemoteHost> Tried { get; } = [];
        public bool IsHedged { get; set; }

        /// <summary>Hosts asked beside the first one, one after the other.</summary>
        public HashSet<RemoteHost> Second { get; } = [];
        public HostFailedException? LastFailure { get; set; }
    }

    /// <summary>What some host serves or has served: one that is away for a moment does not make its models unknown.</summary>
    public IReadOnlyList<ModelDescription> Models => [.. offers.Select(o => o.Description)];

    public IReadOnlyList<RemoteHost> Hosts => hosts;

    /// <summary>Whether a host that answers serves the model.</summary>
    public bool Answers(string model) => Find(model) is var offer && hosts.Any(h => Serves(h, offer));

    /// <param name="host">A host's <see cref="RemoteHost.Name"/>.</param>
    /// <exception cref="ChatException">No such host, or what it said against it.</exception>
    public async Task<ModelDescription> LoadAsync(string host, string hash, CancellationToken cancellation)
    {
        var loaded = await Named(host).LoadAsync(hash, cancellation);
        await PollAsync(cancellation);
        return loaded;
    }

    /// <inheritdoc cref="LoadAsync"/>
    public async Task UnloadAsync(string host, string model, int waitSeconds, CancellationToken cancellation)
    {
        await Named(host).UnloadAsync(model, waitSeconds, cancellation);
        await PollAsync(cancellation);
    }

    /// <inheritdoc cref="LoadAsync"/>
    public async Task DrainAsync(string host, int waitSeconds, CancellationToken cancellation)
    {
        await Named(host).DrainAsync(waitSeconds, cancellation);
        await PollAsync(cancellation);
    }

    /// <inheritdoc cref="LoadAsync"/>
    public async Task UndrainAsync(string host, CancellationToken cancellation)
    {
        await Named(host).UndrainAsync(cancellation);
        await PollAsync(cancellation);
    }

    public JsonObject Check(string model, JsonObject? decoding)
    {
        var offer = Find(model);
        return catalog.Resolve(decoding, configured, offer.Description.DefaultDecoding, offer.Limits, InProcessModels.DrawSeed).Spelled();
    }

    public async IAsyncEnumerable<GenerationChunk> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellation)
    {
        var offer = Find(request.Model);
        // Spelled out here, so that hosts with other defaults, and a second host, draw the same seed.
        request = request with { Decoding = Check(request.Model, request.Decoding) };
        var (beginning, until) = (new Beginning(offer), time.GetUtcNow() + TimeSpan.FromSeconds(options.ReplySeconds));
        var (emitted, isFirst) = (request.Emitted.ToList(), true);
        for (; ; )
        {
            using var reply = await BeginAsync(beginning, request with { Emitted = emitted }, until, cancellation);
            HostFailedException? failure;
            do
            {
                var chunk = reply.Current;
                emitted.AddRange(chunk.Tokens.Select(t => t.Chosen.Id));
                yield return isFirst ? chunk : chunk with { PromptTokens = null };
                isFirst = false;
                if (chunk.End is not null) yield break;

                failure = await NextAsync(reply, cancellation);
            } while (failure is null);

            if (time.GetUtcNow() >= until) throw GiveUp($"The reply took longer than {options.ReplySeconds} seconds.", failure);
            if (emitted.Count > request.Emitted.Count && !IsPure(request)) throw GiveUp($"The model host that wrote this reply is gone, and the strategy '{(string?)request.Decoding!["strategy"]}' cannot go on elsewhere. Send the message again for a new reply.", failure);
            logger.LogWarning("Reply {Reply}: {Failure} It goes on elsewhere behind {Count} tokens", request.RequestId, failure.Message, emitted.Count);
        }
    }

    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        var began = time.GetTimestamp();
        for (; ; )
        {
            await ResolveAsync(cancellationToken);
            await PollAsync(cancellationToken);
            if (hosts.Any(h => h.IsUp)) break;
            if (time.GetElapsedTime(began) > FirstLook)
            {
                logger.LogWarning("No model host answers yet: {Hosts}", string.Join(", ", options.Addresses.Concat(options.Dns)));
                break;
            }
            await Task.Delay(BetweenFirstLooks, time, cancellationToken);
        }
        await base.StartAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(options.PollSeconds), time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                if (time.GetElapsedTime(resolvedAt) >= TimeSpan.FromSeconds(options.DnsSeconds)) await ResolveAsync(stoppingToken);
                await PollAsync(stoppingToken);
            }
        }
        catch (Exception) when (stoppingToken.IsCancellationRequested) { }     // hosts may be let go in the middle of a look
    }

    public override void Dispose()
    {
        foreach (var host in hosts) host.Dispose();
        base.Dispose();
    }

    /// <summary>Looks the names up, and takes what they say now; a name that cannot be looked up keeps the addresses it had. Never called twice at once.</summary>
    private async Task ResolveAsync(CancellationToken cancellation)
    {
        resolvedAt = time.GetTimestamp();
        if (options.Dns.Length == 0) return;
        foreach (var address in options.Dns.Select(d => new Uri(d)))
        {
            try
            {
                if (await resolve(address.IdnHost, cancellation) is { Length: > 0 } found) resolved[address] = found;
            }
            catch (SocketException e) { logger.LogWarning("Hosts:Dns: {Name} cannot be looked up: {Reason}", address.Host, e.Message); }
        }
        UseHosts();
    }

    /// <summary>Hosts as they are named and looked up now; one that is gone leaves when its replies have ended.</summary>
    private void UseHosts()
    {
        var (before, wanted) = (hosts, new Dictionary<string, (Uri Address, IPAddress? At)>());
        foreach (var address in options.Addresses.Select(a => new Uri(a))) wanted[RemoteHost.NameOf(address, null)] = (address, null);
        foreach (var (address, found) in resolved)
            foreach (var at in found) wanted[RemoteHost.NameOf(address, at)] = (address, at);

        foreach (var host in before)
            if (host.IsLeaving != !wanted.ContainsKey(host.Name))
            {
                host.IsLeaving = !host.IsLeaving;
                logger.LogInformation("Model host {Host} {Change}", host.Name, host.IsLeaving ? "leaves" : "stays");
            }
        List<RemoteHost> gone = [.. before.Where(h => h is { IsLeaving: true, Own: 0 })];
        hosts = [.. before.Except(gone), .. wanted.Where(w => before.All(h => h.Name != w.Key)).Select(w => new RemoteHost(w.Value.Address, w.Value.At, options, time, logger))];
        foreach (var host in gone) host.Dispose();
    }

    /// <summary>Asks all hosts what they are at.</summary>
    public async Task PollAsync(CancellationToken cancellation)
    {
        await Task.WhenAll(hosts.Select(h => h.PollAsync(cancellation)));
        // While hosts change from one content to another, new replies get the newer one; the same content may be served with fewer rows.
        var known = hosts.SelectMany(h => h.Offers).GroupBy(o => o.Description.Id)
            .Select(g => g.OrderByDescending(o => o.Description.CreatedAt).ThenBy(o => o.Description.Hash, StringComparer.Ordinal).ThenBy(o => o.Limits.Rows).First());
        offers = [.. ModelServing.InOrder(known, o => o.Description, defaultModel)];
    }

    private async Task<RemoteHost.RemoteReply> BeginAsync(Beginning beginning, GenerationRequest request, DateTimeOffset until, CancellationToken cancellation)
    {
        var context = ResilienceContextPool.Shared.Get(cancellation);
        context.Properties.Set(BeginningOf, beginning);
        var (wasHedged, outcome) = (beginning.IsHedged, "failed");
        try
        {
            var reply = await anotherHost.ExecuteAsync(async begun =>
            {
                var host = Choose(beginning, request, begun.Properties.GetValue(IsSecond, false));
                if (host is null) throw beginning.LastFailure is { Reason.Error: GenerationError.Busy } busy ? busy.Reason
                    : Unavailable($"No model host answers for '{request.Model}' now. Try again in {ComeAgain.TotalSeconds:0} seconds.", beginning.LastFailure);
                try { return await host.BeginAsync(request, beginning.Offer.Description.Hash, until, begun.CancellationToken, cancellation); }
                catch (HostFailedException e)
                {
                    logger.LogInformation("Reply {Reply}: {Failure}", request.RequestId, e.Message);
                    beginning.LastFailure = e;
                    throw;
                }
            }, context);
            outcome = beginning.Second.Contains(reply.Host) ? "won" : "lost";
            return reply;
        }
        catch (OperationCanceledException)
        {
            outcome = "abort";
            throw;
        }
        catch (GenerationException e) when (e.Error == GenerationError.Unavailable)
        {
            ChatMeter.Ended("error");     // the host would have counted it, were it there
            throw;
        }
        finally
        {
            ResilienceContextPool.Shared.Return(context);
            if (beginning.IsHedged && !wasHedged) ChatMeter.Hedged(outcome);
        }
    }

    private RemoteHost? Choose(Beginning beginning, GenerationRequest request, bool isSecond)
    {
        lock (beginning.Sync)
        {
            var able = Able(beginning);
            if (able.Count == 0) return null;
            var hash = beginning.Offer.Description.Hash;
            var loads = able.Select(h => new HostLoad(h.Name, h.Active, h.Offers.First(o => o.Description.Hash == hash).Limits.Rows)).ToList();
            var host = able[HostChoice.Choose(loads, HostChoice.PrefixOf(hash, request.Messages))];
            beginning.Tried.Add(host);
            if (isSecond) beginning.Second.Add(host);
            return host;
        }
    }

    /// <summary>Whether a second host may be asked beside the first; true once a reply.</summary>
    private bool MayHedge(Beginning beginning)
    {
        lock (beginning.Sync)
        {
            if (beginning.IsHedged || Able(beginning).Count == 0) return false;
            return beginning.IsHedged = true;
        }
    }

    private List<RemoteHost> Able(Beginning beginning) => [.. hosts.Where(h => !beginning.Tried.Contains(h) && Serves(h, beginning.Offer))];

    private static bool Serves(RemoteHost host, HostOffer offer) =>
        host is { IsUp: true, IsDraining: false, IsLeaving: false } && host.Offers.Any(o => o.Description.Id == offer.Description.Id && o.Description.Hash == offer.Description.Hash);

    /// <returns>Why there is no next chunk; <c>null</c> when there is.</returns>
    private static async Task<HostFailedException?> NextAsync(RemoteHost.RemoteReply reply, CancellationToken cancellation)
    {
        try
        {
            await reply.ReadNextAsync(cancellation);
            return null;
        }
        catch (HostFailedException e) { return e; }
    }

    private bool IsPure(GenerationRequest request) => catalog.Strategies[(string)request.Decoding!["strategy"]!].IsPure;

    private RemoteHost Named(string name) => hosts.FirstOrDefault(h => h.Name == name)
        ?? throw new ChatException(ChatError.NotFound, $"No such model host. Known: {string.Join(", ", hosts.Select(h => h.Name))}.");

    private static GenerationException GiveUp(string sentence, HostFailedException last)
    {
        ChatMeter.Ended("error");     // the host would have counted it, were it there
        return Unavailable(sentence, last);
    }

    private static GenerationException Unavailable(string sentence, HostFailedException? last) => new(GenerationError.Unavailable, sentence, inner: last) { RetryAfter = ComeAgain };

    private HostOffer Find(string model) => offers.FirstOrDefault(o => o.Description.Id == model) ?? throw (offers.Count == 0
        ? new GenerationException(GenerationError.Unavailable, $"No model is served yet. Try again in {ComeAgain.TotalSeconds:0} seconds.") { RetryAfter = ComeAgain }
        : new GenerationException(GenerationError.UnknownModel, $"No model '{(model.Length <= 60 ? model : model[..60] + "…")}'. Known: {string.Join(", ", offers.Select(o => o.Description.Id))}.", "model"));
}
