using System.Globalization;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Chat.Api.Operations;

/// <summary>GET /openapi/v1.json: this server's HTTP routes as OpenAPI 3.1.</summary>
public static class OpenApiSetup
{
    private const string Scheme = "bearer";

    public static WebApplicationBuilder AddOpenApiDocument(this WebApplicationBuilder builder)
    {
        builder.Services.AddOpenApi("v1", openApi =>
        {
            openApi.OpenApiVersion = OpenApiSpecVersion.OpenApi3_1;
            openApi.AddDocumentTransformer((document, _, _) => { Describe(document); return Task.CompletedTask; });
            openApi.AddOperationTransformer((operation, context, _) => { Complete(operation, context); return Task.CompletedTask; });
        });
        return builder;
    }

    public static void MapOpenApiDocument(this WebApplication app) => app.MapOpenApi("/openapi/{documentName}.json");

    private static readonly Dictionary<string, string> Tags = new()
    {
        ["OpenAI"] = "The shape that OpenAI's clients speak. Stores nothing.",
        ["conversations"] = "The caller's own conversations.",
        ["bots"] = "Who there is to talk to.",
        ["models"] = "The models that answer.",
        ["training"] = "Jobs for the training workers, and chats that may be trained on.",
        ["plugins"] = "What options can name.",
        ["operations"] = "For whoever runs the server.",
    };

    private static void Describe(OpenApiDocument document)
    {
        document.Info = new()
        {
            Title = "Chat",
            Version = "1",
            Summary = "A chatbot's HTTP side; the conversation itself runs over SignalR at /hubs/chat.",
            License = new() { Name = "MIT", Identifier = "MIT" },
        };
        document.Tags = Tags.Select(tag => new OpenApiTag { Name = tag.Key, Description = tag.Value }).ToHashSet();
        document.Servers = [new() { Url = "/" }];
        document.Components ??= new();
        document.Components.SecuritySchemes ??= new Dictionary<string, IOpenApiSecurityScheme>();
        document.Components.SecuritySchemes[Scheme] = new OpenApiSecurityScheme { Type = SecuritySchemeType.Http, Scheme = Scheme, BearerFormat = "JWT" };
    }

    private static void Complete(OpenApiOperation operation, OpenApiOperationTransformerContext context)
    {
        var needsToken = context.Description.ActionDescriptor.EndpointMetadata.OfType<Microsoft.AspNetCore.Authorization.IAuthorizeData>().Any();
        operation.Security = needsToken ? [new() { [new OpenApiSecuritySchemeReference(Scheme, context.Document)] = [] }] : [];

        // Every route can be asked wrongly; a route that does not say how still says that.
        operation.Responses ??= [];
        if (!operation.Responses.Keys.Any(status => status.StartsWith('4')))
            operation.Responses[StatusCodes.Status400BadRequest.ToString(CultureInfo.InvariantCulture)] = new OpenApiResponse { Description = "The request is malformed." };
    }
}
