using System.Collections.Concurrent;
using Chat.Api.Hosts;
using Chat.Api.Operations;

namespace Chat.Api.Registry;

/// <summary>
/// The model folders of this process by content: those of <c>Models:Folder</c>, and those pulled into <c>Data:Folder/models</c>, each in a
/// folder named by its hash. Thread-safe.
/// </summary>
internal sealed class ModelShelf(ModelsOptions options, IConfiguration configuration, IHostEnvironment environment)
{
    public const int HashLength = 64;

    // A folder's content never changes, but somebody may put another one in its place.
    private readonly ConcurrentDictionary<string, (string Stamp, ModelManifest Manifest)> known = new();

    /// <summary>Where pulled folders are put.</summary>
    public string Pulled { get; } = Path.Combine(DataFolder.Of(configuration, environment), "models");

    public static bool IsHash(string text) => text.Length == HashLength && text.All(char.IsAsciiHexDigitLower);

    /// <returns>The folder and what it holds; <c>null</c> when none has this content.</returns>
    public (string Folder, ModelManifest Manifest)? Find(string hash)
    {
        if (!IsHash(hash)) return null;
        foreach (var folder in new[] { Path.Combine(Pulled, hash), options.Folder }.Where(Directory.Exists).SelectMany(ModelServing.Folders))
            if (ManifestOf(folder) is var manifest && manifest.Hash == hash) return (folder, manifest);
        return null;
    }

    private ModelManifest ManifestOf(string folder)
    {
        var stamp = string.Join('|', Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Select(f => new FileInfo(f)).Select(f => $"{f.FullName} {f.Length} {f.LastWriteTimeUtc.Ticks}"));
        if (known.TryGetValue(folder, out var found) && found.Stamp == stamp) return found.Manifest;
        var manifest = ModelManifest.Of(folder);
        known[folder] = (stamp, manifest);
        return manifest;
    }
}
