using Chat.Domain.Generation;

namespace Chat.Api.OpenAi;

/// <summary>Configuration section <c>OpenAi</c>.</summary>
public sealed record OpenAiOptions
{
    /// <summary>A larger body is 413. Kept by Limits:Enabled=false.</summary>
    public int MaxRequestBytes { get; init; } = 1024 * 1024;
}

public static class OpenAiSetup
{
    public static WebApplicationBuilder AddOpenAi(this WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton(builder.Configuration.GetSection("OpenAi").Get<OpenAiOptions>() ?? new());
        builder.Services.AddSingleton<ChatCompletions>();
        return builder;
    }

    public static void MapOpenAi(this WebApplication app)
    {
        var group = app.MapGroup("/v1").RequireAuthorization().WithTags("OpenAI")
            .WithMetadata(Fails(StatusCodes.Status401Unauthorized), Fails(StatusCodes.Status429TooManyRequests));

        group.MapPost("/chat/completions", (ChatCompletions completions, HttpContext context) => completions.AnswerAsync(context))
            .WithName("createChatCompletion").WithSummary("Answers a dialogue, in one piece or streamed; OpenAI's shape.")
            .Accepts<CompletionBody>("application/json").Produces<Completion>().Produces<OpenAiError>(StatusCodes.Status400BadRequest)
            .Produces<OpenAiError>(StatusCodes.Status404NotFound).Produces<OpenAiError>(StatusCodes.Status413PayloadTooLarge).Produces<OpenAiError>(StatusCodes.Status415UnsupportedMediaType);

        group.MapGet("/models", (IChatModels models) => Results.Json(new ModelList([.. models.Models.Select(EntryOf)]), OpenAiJson.Options))
            .WithName("listModels").WithSummary("Lists the models that answer, the default one first.").Produces<ModelList>();

        group.MapGet("/models/{**id}", (string id, IChatModels models) => models.Models.FirstOrDefault(m => m.Id == id) is { } model
                ? Results.Json(EntryOf(model), OpenAiJson.Options)
                : throw OpenAiException.UnknownModel(id, models.Models.Select(m => m.Id)))
            .WithName("getModel").WithSummary("Describes one model.").Produces<ModelEntry>().Produces<OpenAiError>(StatusCodes.Status404NotFound);
    }

    private static ProducesResponseTypeMetadata Fails(int status) => new(status, typeof(OpenAiError), ["application/json"]);

    private static ModelEntry EntryOf(ModelDescription model) => new(model.Id, model.CreatedAt.ToUnixTimeSeconds());
}
