using System.Security.Claims;
using Chat.Api.Identity;
using Chat.Domain.Conversations;
using MediatR;

namespace Chat.Api.Conversations;

public sealed record NewTitle(string? Title);

/// <summary>The HTTP side of the conversation service: list, read, rename, erase, export; bots to choose from.</summary>
internal static class ConversationEndpoints
{
    public static void MapConversations(this WebApplication app)
    {
        var api = app.MapGroup("/api").RequireAuthorization()
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status429TooManyRequests);

        api.MapGet("/conversations", (ClaimsPrincipal user, IMediator mediator, int limit = 50, string? cursor = null, string? q = null) =>
            mediator.Send(new ListConversations(limit, cursor, q) { Caller = user.Caller() }))
            .WithName("listConversations").WithSummary("Lists the caller's conversations, the newest first.").WithTags("conversations").Produces<ConversationList>();

        var one = api.MapGroup("/conversations/{id}").WithTags("conversations").ProducesProblem(StatusCodes.Status404NotFound);

        one.MapGet("", (string id, ClaimsPrincipal user, IMediator mediator) =>
            mediator.Send(new ReadConversation(id) { Caller = user.Caller() }))
            .WithName("readConversation").WithSummary("Reads one conversation's title, times and ratings.").Produces<ConversationDetails>();

        one.MapPatch("", (string id, NewTitle change, ClaimsPrincipal user, IMediator mediator) =>
            mediator.Send(new RenameConversation(id, change.Title) { Caller = user.Caller() }))
            .WithName("renameConversation").WithSummary("Gives a conversation another title.").Produces<ConversationSummary>();

        one.MapDelete("", async (string id, ClaimsPrincipal user, IMediator mediator) =>
        {
            await mediator.Send(new DeleteConversation(id) { Caller = user.Caller() });
            return Results.NoContent();
        }).WithName("deleteConversation").WithSummary("Erases a conversation; a running reply is stopped first.").Produces(StatusCodes.Status204NoContent);

        one.MapGet("/export", async (string id, ClaimsPrincipal user, IMediator mediator, HttpResponse response) =>
        {
            var export = await mediator.Send(new ExportConversation(id) { Caller = user.Caller() });
            response.Headers.ContentDisposition = $"attachment; filename=\"conversation-{export.Conversation.Id}.json\"";
            return export;
        }).WithName("exportConversation").WithSummary("Downloads a conversation with everything kept of it.").Produces<ConversationExport>();

        api.MapGet("/bots", (Bots bots) => bots.All.Select(b => new { b.Name, b.Model, b.Decoding, b.Greeting, b.Locale }))
            .WithName("listBots").WithSummary("Lists the bots that can be talked to.").WithTags("bots");
    }
}
