using System.Security.Claims;
using System.Text.Json;
using Chat.Api.Identity;
using Chat.Api.Operations;
using Chat.Api.Store;
using Chat.Domain.Conversations;
using Chat.Domain.Generation;
using Chat.Safety;
using MediatR;

namespace Chat.Api.Conversations;

/// <summary>Section <c>Training</c>: <c>Tenants</c> names those whose users are asked at all; <c>default</c> stands for users without a tenant. None by default: then consent cannot be given and nothing is exported. <c>JobsPerTenant</c>: how many training jobs a tenant may have, ended ones too.</summary>
internal sealed class TrainingSettings
{
    public int JobsPerTenant { get; set; } = 200;

    public string[] Tenants { get; set; } = [];

    public bool Asks(string tenant) => Tenants.Contains(tenant.Length == 0 ? "default" : tenant);
}

public sealed record Consent(bool? Training);

/// <param name="Asked">The tenant uses chats for training where their owners agree.</param>
public sealed record ConsentState(bool Training, bool Asked);

/// <summary>The owner says whether a conversation may be used for training. Never said = no. Taken back = absent from every later export.</summary>
public sealed record SetTrainingConsent(string Id, bool? Training) : CallerRequest<Consent>;

internal sealed class SetTrainingConsentHandler(OwnConversations conversations, ConversationStore store, TrainingSettings settings) : IRequestHandler<SetTrainingConsent, Consent>
{
    public async Task<Consent> Handle(SetTrainingConsent set, CancellationToken cancellationToken)
    {
        var conversation = await conversations.GetAsync(set.Caller, set.Id);
        var given = set.Training ?? throw ChatException.Invalid("'training' is missing; it is true or false.");
        if (given && !settings.Asks(conversation.Tenant)) throw ChatException.Invalid("Chats of this tenant are not used for training, so there is nothing to consent to.");
        if (!await store.SetConsentAsync(conversation.Id, given)) throw ChatException.NoConversation();
        return new(given);
    }
}

/// <summary>
/// <c>/api/conversations/{id}/consent</c> for owners, <c>/api/training/export</c> for admins: conversations of the admin's own tenant with consent, one a line, without who wrote them, e-mail addresses and telephone numbers masked.
/// Names and whatever else tells who somebody is are not found.
/// </summary>
internal static class TrainingConsentEndpoints
{
    private static readonly SafetyPolicy Personal = new([new EmailFilter(), new PhoneFilter()]);
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { Converters = { new CamelCaseEnums() } };

    public static void MapTrainingConsent(this WebApplication app)
    {
        var one = app.MapGroup("/api/conversations/{id}/consent").WithTags("conversations").RequireAuthorization()
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status429TooManyRequests);

        one.MapPut("", (string id, Consent consent, ClaimsPrincipal user, IMediator mediator) => mediator.Send(new SetTrainingConsent(id, consent.Training) { Caller = user.Caller() }))
            .WithName("setTrainingConsent").WithSummary("Says whether a conversation may be used for training; false takes it back.").Produces<Consent>();

        one.MapGet("", async (string id, ClaimsPrincipal user, OwnConversations conversations, ConversationStore store, TrainingSettings settings) =>
        {
            var conversation = await conversations.GetAsync(user.Caller(), id);
            return new ConsentState(await store.HasConsentAsync(conversation.Id), settings.Asks(conversation.Tenant));
        })
            .WithName("readTrainingConsent").WithSummary("Reads whether a conversation may be used for training, no unless its owner said so, and whether the tenant asks for that.").Produces<ConsentState>();

        app.MapGet("/api/training/export", async (ClaimsPrincipal user, ConversationStore store, TrainingSettings settings, HttpResponse response, CancellationToken cancellation) =>
        {
            var tenant = user.Caller().Tenant;
            response.ContentType = "application/x-ndjson";
            if (!settings.Asks(tenant)) return;
            await foreach (var conversation in store.ConsentedAsync(tenant).WithCancellation(cancellation))
            {
                var line = await ExportAsync(conversation, store);
                if (line.Turns.Count > 0) await response.WriteAsync(JsonSerializer.Serialize(line, Json) + "\n", cancellation);
            }
        }).RequireAuthorization(Admins.Policy).WithName("exportForTraining").WithTags("training").WithSummary("Exports the tenant's conversations with consent for training, one JSON object a line, personal data masked. For admins.")
            .Produces<string>(StatusCodes.Status200OK, "application/x-ndjson").ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status403Forbidden).ProducesProblem(StatusCodes.Status429TooManyRequests);
    }

    private static async Task<ConsentedConversation> ExportAsync(Conversation conversation, ConversationStore store)
    {
        var ratings = await store.RatingsAsync(conversation.Id);
        var turns = (await store.TurnsAsync(conversation.Id)).Turns.Where(turn => turn.State is TurnState.Stop or TurnState.Length or TurnState.Stopped && turn.Text.Length > 0)
            .Select(turn => new ConsentedTurn(turn.Id, turn.Role, Personal.Check(turn.MaskedText ?? turn.Text, turn.Id).Cleared.Text, turn.ReplyTo, ratings.GetValueOrDefault(turn.Id)?.Value));
        return new(Conversation.CurrentSchema, conversation.Id, conversation.Bot, [.. turns]);
    }
}
