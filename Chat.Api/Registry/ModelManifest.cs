using Chat.Models.Checkpoints;

namespace Chat.Api.Registry;

/// <summary>What a model folder holds: enough to fetch it from a stranger and to know that it is the folder of this hash.</summary>
/// <param name="Hash">The content hash, over every file but the card.</param>
/// <param name="Name">Of the folder: the model's id where its card gives none.</param>
public sealed record ModelManifest(string Hash, string Name, IReadOnlyList<ModelFile> Files)
{
    private const int MostFiles = 1000, LongestPath = 200;
    private const long LargestFolder = 1L << 40;

    public static ModelManifest Of(string folder)
    {
        var files = ModelFolder.Files(folder);
        return new(ModelFolder.HashOf(files), Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))), files);
    }

    /// <summary>Refuses what would not be this folder, or would be written elsewhere.</summary>
    /// <exception cref="InvalidDataException">What is wrong.</exception>
    public void Check(string hash)
    {
        if (Files is null || Files.Any(f => f?.Path is null || f.Sha256 is null)) throw new InvalidDataException("The manifest is incomplete.");
        if (Files.Count is 0 or > MostFiles) throw new InvalidDataException($"The manifest has {Files.Count} files, not 1 to {MostFiles}.");
        if (Name is null || !IsPlain(Name) || Name[0] == '.') throw new InvalidDataException("The manifest gives the folder no plain name.");
        foreach (var file in Files)
            if (file.Path.Length > LongestPath || !file.Path.Split('/').All(IsPlain))
                throw new InvalidDataException($"The manifest names a file that is no plain path: '{(file.Path.Length <= 60 ? file.Path : file.Path[..60] + "…")}'.");
        if (Files.Select(f => f.Path).Distinct(StringComparer.Ordinal).Count() != Files.Count) throw new InvalidDataException("The manifest names a file twice.");
        if (Files.Any(f => f.Size is < 0 or > LargestFolder) || Files.Sum(f => f.Size) > LargestFolder) throw new InvalidDataException("The manifest's sizes cannot be.");
        if (ModelFolder.HashOf(Files) is var actual && actual != hash) throw new InvalidDataException($"The manifest is of the content {actual}, not {hash}.");
    }

    private static bool IsPlain(string name) => name is not ("" or "." or "..") && name.Length <= LongestPath && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');
}
