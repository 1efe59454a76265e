using System.Security.Claims;
using Chat.Api.Hosts;
using Chat.Api.Identity;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Models.Engine;

namespace Chat.Api.Registry;

public sealed record AliasTarget(string? Model);

/// <summary>A registered model: what its card says, the aliases that mean it, what it comes from, where it answers, and what this process keeps read for it.</summary>
public sealed record ModelDetails(ModelDescription Model, DateTimeOffset RegisteredAt, bool Served, IReadOnlyList<string> Aliases, IReadOnlyList<Ancestor> Lineage, IReadOnlyList<string> Hosts, IReadOnlyList<Pin> Pins);

/// <param name="Leaving">Its address is no longer one of <c>Hosts:Dns</c>; it ends what it is at.</param>
public sealed record HostInfo(string Name, bool Up, bool Draining, bool Leaving, int Active, IReadOnlyList<HostModel> Models);

/// <summary>A model on a host, and its engine when the host was last asked: requests that hold rows, requests that wait, share of the cache, tokens looked up and found in the prefix cache, and whether another model there guesses ahead for it.</summary>
public sealed record HostModel(string Id, string Hash, int Rows, int Running, int Waiting, double KvCacheUsage, long PrefixCacheQueries, long PrefixCacheHits, bool HasDraft);

/// <summary>/api/models and /api/hosts. Everybody may read models; changing anything, and seeing hosts, takes the role admin.</summary>
internal static class ModelEndpoints
{
    private const int LongestWait = 600;

    public static void MapModels(this WebApplication app)
    {
        var models = app.MapGroup("/api/models").WithTags("models").RequireAuthorization()
            .ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status429TooManyRequests);

        models.MapGet("", (IChatModels served) => served.Models)
            .WithName("listServedModels").WithSummary("Lists the models that answer, with hash, size, lineage and licence; the default one first.");

        var aliases = app.MapGroup("/api/model-aliases").WithTags("models").RequireAuthorization()
            .ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status429TooManyRequests);

        aliases.MapGet("", (ModelRegistry registry) => registry.AliasesAsync())
            .WithName("listModelAliases").WithSummary("Lists the aliases and the models that they stand for.");

        models.MapGet("/{model}", async (string model, ModelRegistry registry, IChatModels served) => await DetailsAsync(model, registry, served))
            .WithName("readModel").WithSummary("Reads a registered model by id, alias or content hash: card, aliases, lineage, hosts.")
            .Produces<ModelDetails>().ProducesProblem(StatusCodes.Status404NotFound);

        var oneAlias = aliases.MapGroup("/{alias}").RequireAuthorization(Admins.Policy).ProducesProblem(StatusCodes.Status403Forbidden);

        oneAlias.MapPut("", async (string alias, AliasTarget target, ModelRegistry registry, ClaimsPrincipal user, ILogger<ModelRegistry> logger) =>
        {
            await registry.SetAliasAsync(alias, target.Model);
            logger.LogInformation("{User} made {Alias} stand for {Model}", user.Caller().User, alias, target.Model);
            return Results.NoContent();
        }).WithName("setModelAlias").WithSummary("Makes an alias stand for a served model, on all gateways at once. For admins.")
            .Produces(StatusCodes.Status204NoContent).ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status409Conflict);

        oneAlias.MapDelete("", async (string alias, ModelRegistry registry) =>
            await registry.RemoveAliasAsync(alias) ? Results.NoContent() : throw new ChatException(ChatError.NotFound, "No such alias."))
            .WithName("deleteModelAlias").WithSummary("Removes an alias. For admins.").Produces(StatusCodes.Status204NoContent).ProducesProblem(StatusCodes.Status404NotFound);

        var one = models.MapGroup("/{model}").RequireAuthorization(Admins.Policy).ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status403Forbidden);

        one.MapPost("/load", (string model, IChatModels served, HttpContext http, CancellationToken cancellation, string? host = null) => host is null
                ? Own(served, http).LoadHereAsync(model, cancellation)
                : Remote(served).LoadAsync(host, model, cancellation))
            .WithName("loadModel").WithSummary("Has a model host, or this process where it serves models itself, serve the model with this content, pulling it if need be. For admins.")
            .Produces<ModelDescription>().ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status409Conflict).ProducesProblem(StatusCodes.Status503ServiceUnavailable);

        one.MapPost("/unload", async (string model, IChatModels served, HttpContext http, CancellationToken cancellation, string? host = null, int waitSeconds = 30) =>
        {
            if (host is null) await Own(served, http).UnloadHereAsync(model);
            else await Remote(served).UnloadAsync(host, model, Wait(waitSeconds), cancellation);
            return Results.NoContent();
        }).WithName("unloadModel").WithSummary("Has a model host serve a model no more; running replies may end within the wait. Where this process serves models itself, they break off. For admins.")
            .Produces(StatusCodes.Status204NoContent).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status409Conflict).ProducesProblem(StatusCodes.Status503ServiceUnavailable);

        var hosts = app.MapGroup("/api/hosts").WithTags("models").RequireAuthorization(Admins.Policy)
            .ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status403Forbidden).ProducesProblem(StatusCodes.Status429TooManyRequests);

        hosts.MapGet("", (IChatModels served) => served is RemoteChatModels remote ? remote.Hosts.Select(Describe).ToList() : [])
            .WithName("listModelHosts").WithSummary("Lists this gateway's model hosts; none when it serves models itself. For admins.").Produces<IReadOnlyList<HostInfo>>();

        hosts.MapPost("/{host}/drain", async (string host, IChatModels served, CancellationToken cancellation, int waitSeconds = 30) =>
        {
            await Remote(served).DrainAsync(host, Wait(waitSeconds), cancellation);
            return Results.NoContent();
        }).WithName("drainModelHost").WithSummary("Has a model host take nothing new until it is put back; returns when what runs there has ended, or after the wait. For admins.")
            .Produces(StatusCodes.Status204NoContent).ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status503ServiceUnavailable);

        hosts.MapPost("/{host}/undrain", async (string host, IChatModels served, CancellationToken cancellation) =>
        {
            await Remote(served).UndrainAsync(host, cancellation);
            return Results.NoContent();
        }).WithName("undrainModelHost").WithSummary("Has a drained model host take new requests again. For admins.")
            .Produces(StatusCodes.Status204NoContent).ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status503ServiceUnavailable);
    }

    private static async Task<ModelDetails> DetailsAsync(string name, ModelRegistry registry, IChatModels served)
    {
        var record = await registry.FindAsync(name) ?? throw new ChatException(ChatError.NotFound, "No such model.");
        var aliases = (await registry.AliasesAsync()).Where(a => a.Value == record.Model.Id).Select(a => a.Key).ToList();
        var hosts = served is RemoteChatModels remote ? remote.Hosts.Where(h => h.IsUp && h.Offers.Any(o => o.Description.Hash == record.Model.Hash)).Select(h => h.Name).ToList() : [];
        return new(record.Model, record.RegisteredAt, served.Models.Any(m => m.Hash == record.Model.Hash), aliases, await registry.LineageAsync(record.Model), hosts, served is InProcessChatModels own ? [.. own.Pins(record.Model.Id).Select(pin => pin.Kept)] : []);
    }

    private static HostInfo Describe(RemoteHost host) =>
        new(host.Name, host.IsUp, host.IsDraining, host.IsLeaving, host.Active, [.. host.Offers.Select(o => new HostModel(o.Description.Id, o.Description.Hash, o.Limits.Rows, o.Load.Running, o.Load.Waiting, o.Load.CacheUsage, o.Load.PrefixQueries, o.Load.PrefixHits, o.Load.HasDraft))]);

    private static RemoteChatModels Remote(IChatModels models) => models as RemoteChatModels
        ?? throw ChatException.Invalid("This gateway serves models itself (Models:Folder); it has no model hosts (Hosts:Addresses, Hosts:Dns).");

    // Asked for only here: it would open the models' folder where a test or a gateway of hosts has none.
    private static HostFolders Own(IChatModels models, HttpContext http) => models is InProcessChatModels ? http.RequestServices.GetRequiredService<HostFolders>()
        : throw ChatException.Invalid("'host' is missing: this gateway has model hosts (/api/hosts lists them).");

    private static int Wait(int seconds) => seconds is >= 0 and <= LongestWait ? seconds : throw ChatException.Invalid($"waitSeconds must be from 0 to {LongestWait}, not {seconds}.");
}
