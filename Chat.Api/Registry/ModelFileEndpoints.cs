using Chat.Api.Hosts;
using Chat.Domain.Conversations;
using Microsoft.AspNetCore.Authorization;

namespace Chat.Api.Registry;

/// <summary>GET /api/models/{model}/files, the model named by its content hash: model folders for the processes of this installation, which know its key.</summary>
internal static class ModelFileEndpoints
{
    public static void MapModelFiles(this WebApplication app)
    {
        var files = app.MapGroup("/api/models/{model}/files").WithTags("models")
            .RequireAuthorization(new AuthorizeAttribute { AuthenticationSchemes = HostKey.Scheme })
            .ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status404NotFound);

        files.MapGet("", (string model, ModelShelf shelf) => shelf.Find(model) is { } found ? found.Manifest : throw Unknown(model))
            .WithName("listModelFiles").WithSummary("Lists the files of a model folder with size and sha256, for a process that pulls it.").Produces<ModelManifest>();

        // Only a path that the manifest names is looked at.
        files.MapGet("/{**path}", (string model, string path, ModelShelf shelf) => shelf.Find(model) is { } found && found.Manifest.Files.Any(f => f.Path == path)
                ? Results.File(Path.Combine(found.Folder, path), "application/octet-stream", enableRangeProcessing: true)
                : throw Unknown(model))
            .WithName("readModelFile").WithSummary("One file of a model folder; ranges are served.").Produces<byte[]>(StatusCodes.Status200OK, "application/octet-stream");
    }

    private static ChatException Unknown(string hash) => new(ChatError.NotFound, ModelShelf.IsHash(hash) ? "No such file of a model folder here." : $"A content hash is {ModelShelf.HashLength} lower-case hex digits.");
}
