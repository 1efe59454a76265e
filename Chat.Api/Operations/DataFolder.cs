using Microsoft.AspNetCore.DataProtection;

namespace Chat.Api.Operations;

/// <summary><c>Data:Folder</c>: everything that the product writes.</summary>
internal static class DataFolder
{
    public static string Of(IConfiguration configuration, IHostEnvironment environment) =>
        Path.GetFullPath(configuration["Data:Folder"] is { Length: > 0 } folder ? folder : "data", environment.ContentRootPath);

    /// <summary>ASP.NET's sign-in makes keys at start, under the user's home if nobody says where. It warns that they are not encrypted; nothing here is signed with them.</summary>
    public static void AddKeysInDataFolder(this WebApplicationBuilder builder)
    {
        builder.Services.AddDataProtection().PersistKeysToFileSystem(new(Path.Combine(Of(builder.Configuration, builder.Environment), "keys")));
        builder.Logging.AddFilter("Microsoft.AspNetCore.DataProtection", LogLevel.Error);
    }
}
