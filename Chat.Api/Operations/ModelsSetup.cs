using Chat.Domain.Generation;

namespace Chat.Api.Operations;

public static class ModelsSetup
{
    /// <summary>GET /api/models: what is known of each model that answers; /v1/models is the same list in OpenAI's few words.</summary>
    public static void MapModels(this WebApplication app) =>
        app.MapGet("/api/models", (IChatModels models) => models.Models)
            .WithName("listServedModels").WithTags("models").WithSummary("Lists the models that answer, with hash, size, lineage and licence; the default one first.")
            .RequireAuthorization().ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status429TooManyRequests);
}
