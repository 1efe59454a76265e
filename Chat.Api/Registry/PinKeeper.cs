using System.Collections.Concurrent;
using Chat.Api.Hosts;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Models.Engine;
using StackExchange.Redis;

namespace Chat.Api.Registry;

/// <summary>A system prompt that is to be pinned wherever its model is served, as the store has it.</summary>
public sealed record WantedPin(string Name, string Model, string SystemPrompt);

/// <summary>
/// Pins that admins ask for: <c>chat:models:pins</c> says which, and every gateway sees to it that those who serve their models hold these and no others, at once and after
/// each look at them, so that a host that joins or comes back gets its pins. What a host was configured with is its own. While the store is away nothing changes. Thread-safe.
/// </summary>
internal sealed class PinKeeper(StoreConnection store, ModelRegistry registry, IChatModels models, HostsOptions hosts, TimeProvider time, ILogger<PinKeeper> logger) : BackgroundService
{
    // What was refused is not read again and again; who was only busy is asked soon.
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(60), ShortRest = TimeSpan.FromSeconds(5);

    private readonly ConcurrentDictionary<(string? Host, WantedPin Pin), (string Reason, DateTimeOffset Until)> refused = [];

    /// <summary>Somebody who serves models: a host, or this process.</summary>
    private sealed record Place(string? Host, IReadOnlyList<(string Model, HeldPin Pin)> Held, IReadOnlyList<string> Models, Func<WantedPin, CancellationToken, Task> PinAsync, Func<string, string, CancellationToken, Task> UnpinAsync)
    {
        public HeldPin? Find(string model, string name) => Held.FirstOrDefault(held => held.Model == model && held.Pin.Name == name).Pin;
    }

    public async Task<IReadOnlyList<PinInfo>> ListAsync()
    {
        var (wanted, places) = (await WantedAsync(CancellationToken.None), Places());
        var configured = places.SelectMany(place => place.Held.Where(held => held.Pin.IsConfigured)).Select(held => (held.Pin.Name, held.Model)).Distinct();
        return
        [
            .. wanted.Select(pin => Tell(pin, places)),
            .. configured.Select(pin => new PinInfo(pin.Name, pin.Model, (models as InProcessChatModels)?.Pins(pin.Model).First(p => p.Name == pin.Name).SystemPrompt, Configured: true,
                [.. places.Where(place => place.Find(pin.Model, pin.Name) is { IsConfigured: true }).Select(place => Tell(place, place.Find(pin.Model, pin.Name)!))])),
        ];
    }

    /// <summary>Pins it wherever its model is served now, and keeps it in mind for those who come.</summary>
    /// <exception cref="ChatException">What is wrong with it, or why nobody keeps it; then it is not kept in mind either.</exception>
    public async Task<PinInfo> SetAsync(string name, PinTarget target, CancellationToken cancellation)
    {
        if (!ModelRegistry.IsName(name)) throw ChatException.Invalid($"A pin's name is {ModelRegistry.NameForm}.");
        var model = await registry.ResolveAsync(target.Model ?? "");
        if (models.Models.All(m => m.Id != model)) throw ChatException.Invalid($"No model '{target.Model}'. Known: {string.Join(", ", models.Models.Select(m => m.Id))}.");
        var pin = new WantedPin(name, model, string.IsNullOrEmpty(target.SystemPrompt) ? "" : MessageText.Message(target.SystemPrompt));
        var able = Places().Where(place => place.Models.Contains(model)).ToList();
        if (able.Exists(place => place.Find(model, name) is { IsConfigured: true })) throw new ChatException(ChatError.Conflict, $"'{name}' is pinned by the configuration (Models:Pins).");
        if (able.Count == 0) throw new ChatException(ChatError.Busy, $"Nobody who could pin it serves '{model}' now. Try again in 5 seconds.") { RetryAfter = TimeSpan.FromSeconds(5) };

        var json = ConversationStore.Write(pin, StoreJson.Default.WantedPin);
        var isNew = await store.CallAsync(db => db.HashSetAsync(Keys.ModelPins, name, json, When.NotExists), cancellation);
        if (!isNew && await store.CallAsync(db => db.HashGetAsync(Keys.ModelPins, name), cancellation) != json)
            throw new ChatException(ChatError.Conflict, $"'{name}' is pinned with another model or system prompt; delete it first.");
        var failures = await Task.WhenAll(able.Select(place => TryPinAsync(place, pin, cancellation)));
        if (isNew && failures.All(failure => failure is not null))
        {
            await store.CallAsync(db => db.HashDeleteAsync(Keys.ModelPins, name), CancellationToken.None);
            throw failures[0]!;
        }
        if (models is RemoteChatModels remote) await remote.PollAsync(cancellation);
        return Tell(pin, Places());
    }

    /// <exception cref="ChatException">There is none of that name, or it is configured.</exception>
    public async Task RemoveAsync(string name, CancellationToken cancellation)
    {
        var removed = (await WantedAsync(cancellation)).FirstOrDefault(pin => pin.Name == name);
        if (removed is null || !await store.CallAsync(db => db.HashDeleteAsync(Keys.ModelPins, name), cancellation))
            throw Places().Any(place => place.Held.Any(held => held.Pin.Name == name && held.Pin.IsConfigured))
                ? new ChatException(ChatError.Conflict, $"'{name}' is pinned by the configuration (Models:Pins).")
                : new ChatException(ChatError.NotFound, "No such pin.");
        await Task.WhenAll(Places().Where(place => place.Find(removed.Model, name) is not null).Select(place => TryUnpinAsync(place, removed.Model, name, cancellation)));
        if (models is RemoteChatModels remote) await remote.PollAsync(cancellation);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(hosts.PollSeconds), time);
        try
        {
            do
            {
                try { await KeepAsync(stoppingToken); }
                catch (ChatException e) { logger.LogDebug("Pins are left as they are: {Reason}", e.Message); }
                catch (Exception e) when (!stoppingToken.IsCancellationRequested) { logger.LogError(e, "Pins are left as they are"); }
            } while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (Exception) when (stoppingToken.IsCancellationRequested) { }
    }

    private async Task KeepAsync(CancellationToken cancellation)
    {
        if (Places() is not { Count: > 0 } places) return;
        var wanted = await WantedAsync(cancellation);
        foreach (var key in refused.Keys.Where(key => !wanted.Contains(key.Pin))) refused.TryRemove(key, out _);
        await Task.WhenAll(places.Select(place => KeepAsync(place, wanted, cancellation)));
    }

    private async Task KeepAsync(Place place, IReadOnlyList<WantedPin> wanted, CancellationToken cancellation)
    {
        foreach (var (model, held) in place.Held)
            if (!held.IsConfigured && !wanted.Any(pin => pin.Model == model && IsHeld(pin, held))) await TryUnpinAsync(place, model, held.Name, cancellation);
        foreach (var pin in wanted.Where(pin => place.Models.Contains(pin.Model)))
        {
            if (place.Find(pin.Model, pin.Name) is { } held && IsHeld(pin, held)) continue;
            if (refused.TryGetValue((place.Host, pin), out var last) && time.GetUtcNow() < last.Until) continue;
            if (await TryPinAsync(place, pin, cancellation) is { } failure) logger.LogWarning("{Name} is not pinned at {Place}: {Reason}", pin.Name, place.Host ?? "this process", failure.Message);
            else logger.LogInformation("Pinned {Name} for {Model} at {Place}", pin.Name, pin.Model, place.Host ?? "this process");
        }
    }

    private async Task<ChatException?> TryPinAsync(Place place, WantedPin pin, CancellationToken cancellation)
    {
        try
        {
            await place.PinAsync(pin, cancellation);
            refused.TryRemove((place.Host, pin), out _);
            return null;
        }
        catch (Exception e) when (Failure(e) is { } failure)
        {
            refused[(place.Host, pin)] = (failure.Message, time.GetUtcNow() + (failure.Error == ChatError.Busy ? ShortRest : Rest));
            return failure;
        }
    }

    private async Task TryUnpinAsync(Place place, string model, string name, CancellationToken cancellation)
    {
        try { await place.UnpinAsync(model, name, cancellation); }
        catch (Exception e) when (Failure(e) is { } failure) { logger.LogDebug("{Name} is still pinned at {Place}: {Reason}", name, place.Host, failure.Message); }     // it is looked at again
    }

    private static ChatException? Failure(Exception e) => e switch
    {
        ChatException said => said,
        PinException cannot => new(ChatError.Conflict, cannot.Message, cannot),
        GenerationException { Error: GenerationError.InvalidOption or GenerationError.TooLong } wrong => new(ChatError.Invalid, wrong.Message, wrong),
        GenerationException { Error: GenerationError.UnknownModel } gone => new(ChatError.NotFound, gone.Message, gone),
        GenerationException busy => new(ChatError.Busy, busy.Message, busy) { RetryAfter = busy.RetryAfter },
        _ => null,
    };

    private IReadOnlyList<Place> Places() => models switch
    {
        RemoteChatModels remote =>
        [
            .. remote.Hosts.Where(host => host is { IsUp: true, IsLeaving: false }).Select(host => new Place(host.Name,
                [.. host.Offers.SelectMany(offer => offer.Pins.Select(pin => (offer.Description.Id, pin)))], [.. host.Offers.Select(offer => offer.Description.Id)],
                (pin, cancellation) => host.PinAsync(pin.Model, pin.Name, pin.SystemPrompt, cancellation), host.UnpinAsync)),
        ],
        InProcessChatModels own =>
        [
            new Place(null, [.. own.Models.SelectMany(model => own.Pins(model.Id).Select(pin => (model.Id, HeldPin.Of(pin))))], [.. own.Models.Select(model => model.Id)],
                (pin, cancellation) => own.PinAsync(pin.Model, pin.Name, pin.SystemPrompt, cancellation), (model, name, _) => own.UnpinAsync(model, name)),
        ],
        _ => [],
    };

    private PinInfo Tell(WantedPin pin, IReadOnlyList<Place> places) => new(pin.Name, pin.Model, pin.SystemPrompt, Configured: false,
    [
        .. places.Where(place => place.Models.Contains(pin.Model)).Select(place => place.Find(pin.Model, pin.Name) is { } held && IsHeld(pin, held) ? Tell(place, held)
            : new(place.Host, 0, 0, refused.TryGetValue((place.Host, pin), out var last) ? last.Reason : "It is still to be read.")),
    ]);

    private static PinPlace Tell(Place place, HeldPin held) => new(place.Host, held.Tokens, held.Bytes, null);

    private static bool IsHeld(WantedPin pin, HeldPin held) => held.Name == pin.Name && held.PromptSha256 == HeldPin.HashOf(pin.SystemPrompt);

    private async Task<IReadOnlyList<WantedPin>> WantedAsync(CancellationToken cancellation) =>
        [.. (await store.CallAsync(db => db.HashValuesAsync(Keys.ModelPins), cancellation)).Select(pin => ConversationStore.Read(pin, StoreJson.Default.WantedPin)).OrderBy(pin => pin.Name, StringComparer.Ordinal)];
}
