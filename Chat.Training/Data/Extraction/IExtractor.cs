using System.Text.RegularExpressions;
using Chat.Domain.Plugins;

namespace Chat.Training.Data.Extraction;

/// <summary>Reads one published form of text. Pure: the same files give the same documents in the same order.</summary>
[PluginKind("extractor")]
public interface IExtractor
{
    /// <param name="root">Folder with the unpacked package(s).</param>
    /// <param name="corpus">Which files, language and name.</param>
    IEnumerable<Document> Extract(string root, CorpusRecipe corpus);
}

/// <summary>One corpus of a data recipe.</summary>
/// <param name="Name">Its file is <c>NAME.jsonl.gz</c>, and its documents' <c>source</c>.</param>
/// <param name="Packages">Packages whose files it reads.</param>
/// <param name="Extractor">Plugin of kind <c>extractor</c>.</param>
/// <param name="Files">Regular expression over paths <c>PACKAGE/path/in/it</c>, <c>/</c> between segments.</param>
/// <param name="Language"><c>en</c> or <c>zh</c>.</param>
/// <param name="Licence">As the packages state it.</param>
public sealed record CorpusRecipe(string Name, IReadOnlyList<string> Packages, string Extractor, string Files, string Language, string Licence)
{
    /// <summary>The corpus's files, in ordinal order of their paths.</summary>
    public IEnumerable<string> FilesUnder(string root)
    {
        var pattern = new Regex(Files, RegexOptions.CultureInvariant);
        return Packages.Select(package => Path.Combine(root, new PackageRecipe("", package).Folder))
            .SelectMany(folder => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories))
            .Where(path => pattern.IsMatch(Path.GetRelativePath(root, path).Replace('\\', '/')))
            .Where(path => new FileInfo(path).LinkTarget is null)
            .Order(StringComparer.Ordinal);
    }
}
