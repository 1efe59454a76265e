namespace Chat.Training.Data;

/// <summary>
/// A package of text, by name. npm and NuGet are pinned by version and hash. Debian keeps only the current version of a package, so for
/// apt the version may be left out and the hash of what came is recorded instead.
/// </summary>
/// <param name="Manager"><c>npm</c>, <c>nuget</c>, <c>apt</c>, or <c>apt-records</c>: what apt knows of all packages, whatever the name.</param>
/// <param name="Sha256">Lower-case hex of the package file; required for npm and NuGet.</param>
public sealed record PackageRecipe(string Manager, string Name, string? Version = null, string? Sha256 = null)
{
    /// <summary>Name fit for a folder: npm scopes lose their slash.</summary>
    public string Folder => Name.Replace("@", "", StringComparison.Ordinal).Replace('/', '-');
}

/// <summary>A fetched package as recorded beside the data.</summary>
public sealed record FetchedPackage(string Manager, string Name, string Version, string Sha256, long Bytes);
