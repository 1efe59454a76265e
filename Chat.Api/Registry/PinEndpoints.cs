using System.Security.Claims;
using Chat.Api.Identity;

namespace Chat.Api.Registry;

/// <param name="Model">Id or alias of a served model.</param>
/// <param name="SystemPrompt">A bot's, word for word; without one what the model's template begins with.</param>
public sealed record PinTarget(string? Model, string? SystemPrompt);

/// <summary>A system prompt that is kept read wherever its model is served.</summary>
/// <param name="SystemPrompt"><c>null</c> where a host's own configuration pins it.</param>
/// <param name="Configured">By <c>Models:Pins</c>: it stays for as long as the model is served.</param>
public sealed record PinInfo(string Name, string Model, string? SystemPrompt, bool Configured, IReadOnlyList<PinPlace> Places);

/// <param name="Host">A model host; <c>null</c> for this process.</param>
/// <param name="Tokens">That prompts which begin so do not read again; 0 while it is not held there.</param>
/// <param name="Bytes">Their keys and values, those counted that other pins share.</param>
/// <param name="Failure">Why it is not held there.</param>
public sealed record PinPlace(string? Host, int Tokens, long Bytes, string? Failure);

/// <summary>/api/pins, for admins: prompts that no conversation waits for.</summary>
internal static class PinEndpoints
{
    public static void MapPins(this WebApplication app)
    {
        var pins = app.MapGroup("/api/pins").WithTags("models").RequireAuthorization(Admins.Policy)
            .ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status403Forbidden).ProducesProblem(StatusCodes.Status429TooManyRequests);

        pins.MapGet("", (PinKeeper keeper) => keeper.ListAsync())
            .WithName("listPins").WithSummary("Lists the pinned system prompts, and where each is held. For admins.");

        pins.MapPut("/{name}", async (string name, PinTarget target, PinKeeper keeper, ClaimsPrincipal user, ILogger<PinKeeper> logger, CancellationToken cancellation) =>
        {
            var pinned = await keeper.SetAsync(name, target, cancellation);
            logger.LogInformation("{User} pinned {Name} for {Model}", user.Caller().User, name, pinned.Model);
            return pinned;
        }).WithName("setPin").WithSummary("Has a system prompt read and kept wherever its model is served, now and later. Returns when it is; repeating it changes nothing. For admins.")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status409Conflict)
            .ProducesProblem(StatusCodes.Status413PayloadTooLarge).ProducesProblem(StatusCodes.Status503ServiceUnavailable);

        pins.MapDelete("/{name}", async (string name, PinKeeper keeper, CancellationToken cancellation) =>
        {
            await keeper.RemoveAsync(name, cancellation);
            return Results.NoContent();
        }).WithName("deletePin").WithSummary("Lets go of a pinned system prompt, everywhere. For admins.")
            .Produces(StatusCodes.Status204NoContent).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status409Conflict).ProducesProblem(StatusCodes.Status503ServiceUnavailable);
    }
}
