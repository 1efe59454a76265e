using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Models.Decoding;
using Polly;
using Polly.Retry;

namespace Chat.Api.Hosts;

/// <summary>
/// The models of this gateway's hosts. A reply whose host fails before its first token begins at another one; one whose host fails later goes on
/// at another one behind what was emitted, where its strategy is pure. Each host is tried once a reply. Thread-safe.
/// </summary>
internal sealed class RemoteChatModels : BackgroundService, IChatModels
{
    // A gateway that starts beside its hosts waits for the first of them so long, and then starts without.
    private static readonly TimeSpan FirstLook = TimeSpan.FromSeconds(5), BetweenFirstLooks = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan ComeAgain = TimeSpan.FromSeconds(5);

    private readonly HostsOptions options;
    private readonly string? defaultModel;
    private readonly DecodingCatalog catalog;
    private readonly JsonObject? configured;
    private readonly TimeProvider time;
    private readonly ILogger<RemoteChatModels> logger;
    private readonly RemoteHost[] hosts;
    private readonly ResiliencePipeline anotherHost;
    private volatile IReadOnlyList<HostOffer> offers = [];

    /// <param name="configured">Options of <c>Decoding:Default</c>.</param>
    /// <exception cref="GenerationException">They name what no strategy knows.</exception>
    public RemoteChatModels(HostsOptions options, ModelsOptions models, DecodingCatalog catalog, JsonObject? configured, TimeProvider time, ILogger<RemoteChatModels> logger)
    {
        (this.options, defaultModel, this.catalog, this.configured, this.time, this.logger) = (options, models.Default, catalog, configured, time, logger);
        // What does not depend on a model is checked before there is one.
        catalog.CheckDefault(configured, new(int.MaxValue, int.MaxValue, int.MaxValue, HasAntonyms: true));
        hosts = [.. options.Addresses.Distinct().Select(a => new RemoteHost(new(a), options, time, logger))];
        anotherHost = new ResiliencePipelineBuilder { TimeProvider = time }
            .AddRetry(new RetryStrategyOptions
            {
                ShouldHandle = new PredicateBuilder().Handle<HostFailedException>(),
                MaxRetryAttempts = hosts.Length,     // the last attempt finds no host left
                Delay = TimeSpan.Zero,
            })
            .Build();
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
        var (tried, until) = (new HashSet<RemoteHost>(), time.GetUtcNow() + TimeSpan.FromSeconds(options.ReplySeconds));
        var (emitted, isFirst) = (request.Emitted.ToList(), true);
        for (; ; )
        {
            using var reply = await BeginAsync(offer, request with { Emitted = emitted }, until, tried, cancellation);
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
            await PollAsync(cancellationToken);
            if (hosts.Any(h => h.IsUp)) break;
            if (time.GetElapsedTime(began) > FirstLook)
            {
                logger.LogWarning("No model host answers yet: {Hosts}", string.Join(", ", options.Addresses));
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
            while (await timer.WaitForNextTickAsync(stoppingToken)) await PollAsync(stoppingToken);
        }
        catch (OperationCanceledException) { }
    }

    public override void Dispose()
    {
        foreach (var host in hosts) host.Dispose();
        base.Dispose();
    }

    private async Task PollAsync(CancellationToken cancellation)
    {
        await Task.WhenAll(hosts.Select(h => h.PollAsync(cancellation)));
        // While hosts change from one content to another, new replies get the newer one; the same content may be served with fewer rows.
        var known = hosts.SelectMany(h => h.Offers).GroupBy(o => o.Description.Id)
            .Select(g => g.OrderByDescending(o => o.Description.CreatedAt).ThenBy(o => o.Description.Hash, StringComparer.Ordinal).ThenBy(o => o.Limits.Rows).First());
        offers = [.. ModelServing.InOrder(known, o => o.Description, defaultModel)];
    }

    private async Task<RemoteHost.RemoteReply> BeginAsync(HostOffer offer, GenerationRequest request, DateTimeOffset until, HashSet<RemoteHost> tried, CancellationToken cancellation)
    {
        HostFailedException? last = null;
        return await anotherHost.ExecuteAsync(async token =>
        {
            var host = Choose(offer, request, tried);
            if (host is null) throw last is { Reason.Error: GenerationError.Busy } busy ? busy.Reason : GiveUp($"No model host answers for '{request.Model}' now. Try again in {ComeAgain.TotalSeconds:0} seconds.", last);
            tried.Add(host);
            try { return await host.BeginAsync(request, offer.Description.Hash, until, token); }
            catch (HostFailedException e)
            {
                logger.LogInformation("Reply {Reply}: {Failure}", request.RequestId, e.Message);
                last = e;
                throw;
            }
        }, cancellation);
    }

    private RemoteHost? Choose(HostOffer offer, GenerationRequest request, HashSet<RemoteHost> tried)
    {
        var able = hosts.Where(h => !tried.Contains(h) && Serves(h, offer)).ToList();
        if (able.Count == 0) return null;
        var loads = able.Select(h => new HostLoad(h.Name, h.Active, h.Offers.First(o => o.Description.Hash == offer.Description.Hash).Limits.Rows)).ToList();
        return able[HostChoice.Choose(loads, HostChoice.PrefixOf(offer.Description.Hash, request.Messages))];
    }

    private static bool Serves(RemoteHost host, HostOffer offer) =>
        host is { IsUp: true, IsDraining: false } && host.Offers.Any(o => o.Description.Id == offer.Description.Id && o.Description.Hash == offer.Description.Hash);

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

    // The host would have counted it, were it there.
    private static GenerationException GiveUp(string sentence, HostFailedException? last)
    {
        ChatMeter.Ended("error");
        return new(GenerationError.Unavailable, sentence, inner: last) { RetryAfter = ComeAgain };
    }

    private HostOffer Find(string model) => offers.FirstOrDefault(o => o.Description.Id == model) ?? throw (offers.Count == 0
        ? new GenerationException(GenerationError.Unavailable, $"No model is served yet. Try again in {ComeAgain.TotalSeconds:0} seconds.") { RetryAfter = ComeAgain }
        : new GenerationException(GenerationError.UnknownModel, $"No model '{(model.Length <= 60 ? model : model[..60] + "…")}'. Known: {string.Join(", ", offers.Select(o => o.Description.Id))}.", "model"));
}
