using System.IO.Compression;
using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using Chat.Domain.Plugins;

namespace Chat.Training.Data.Extraction;

/// <summary>A form of running text that comes in files: a file in, paragraphs out.</summary>
public abstract class ProseExtractor : IExtractor
{
    public IEnumerable<Document> Extract(string root, CorpusRecipe corpus)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var path in corpus.FilesUnder(root))
        {
            var scene = Path.GetRelativePath(root, path).Replace('\\', '/');
            foreach (var document in TextCleaning.Passages(corpus, scene, Paragraphs(ReadBytes(path)), seen)) yield return document;
        }
    }

    protected abstract IEnumerable<string> Paragraphs(byte[] file);

    protected static string Utf8(byte[] file) => Encoding.UTF8.GetString(file);

    private static byte[] ReadBytes(string path)
    {
        if (!path.EndsWith(".gz", StringComparison.Ordinal)) return File.ReadAllBytes(path);
        using var stream = new GZipStream(File.OpenRead(path), CompressionMode.Decompress);
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }
}

[Plugin("html", Summary = "Paragraphs, list items and cells of HTML pages")]
public sealed partial class HtmlProse : ProseExtractor
{
    protected override IEnumerable<string> Paragraphs(byte[] file)
    {
        var page = Dropped().Replace(Utf8(file), " ");
        foreach (var block in Block().Split(page))
            yield return WebUtility.HtmlDecode(Tag().Replace(block, ""));
    }

    [GeneratedRegex(@"<(script|style|pre|nav|head)\b.*?</\1\s*>|<!--.*?-->", RegexOptions.Singleline | RegexOptions.IgnoreCase)]
    private static partial Regex Dropped();

    [GeneratedRegex(@"</?(?:p|div|li|ul|ol|dl|dd|dt|td|th|tr|table|h[1-6]|br|section|blockquote)\b[^>]*>", RegexOptions.IgnoreCase)]
    private static partial Regex Block();

    [GeneratedRegex(@"<[^>]*>")]
    private static partial Regex Tag();
}

[Plugin("manpage", Summary = "Prose of roff manual pages")]
public sealed partial class ManualPageProse : ProseExtractor
{
    protected override IEnumerable<string> Paragraphs(byte[] file)
    {
        var paragraph = new StringBuilder();
        var verbatim = false;
        foreach (var line in Utf8(file).Split('\n'))
        {
            if (line.StartsWith(".nf", StringComparison.Ordinal) || line.StartsWith(".EX", StringComparison.Ordinal)) verbatim = true;
            if (line.StartsWith(".fi", StringComparison.Ordinal) || line.StartsWith(".EE", StringComparison.Ordinal)) verbatim = false;
            if (verbatim) continue;
            var inline = Inline().Match(line);
            if (inline.Success)
            {
                paragraph.Append(' ').Append(Plain(inline.Groups[1].Value.Replace("\"", "", StringComparison.Ordinal)));
            }
            else if (line.Length == 0 || line[0] is '.' or '\'')
            {
                if (paragraph.Length > 0) yield return paragraph.ToString();
                paragraph.Clear();
            }
            else
            {
                paragraph.Append(' ').Append(Plain(line));
            }
        }
        if (paragraph.Length > 0) yield return paragraph.ToString();
    }

    private static string Plain(string line) => Escape().Replace(line, m => m.Value switch { @"\-" => "-", @"\e" => @"\", _ => "" });

    [GeneratedRegex(@"^\.(?:B|I|BR|IR|BI|IB|RB|RI|SM|SB)\s+(.*)$")]
    private static partial Regex Inline();

    [GeneratedRegex(@"\\f(?:\[[^\]]*\]|\(..|.)|\\s[+-]?\d|\\\(..|\\\[[^\]]*\]|\\.")]
    private static partial Regex Escape();
}

[Plugin("catalog", Summary = "Translations in gettext message catalogs")]
public sealed partial class CatalogProse : ProseExtractor
{
    protected override IEnumerable<string> Paragraphs(byte[] file) =>
        MessageCatalog.Read(file).Where(p => p.Key.Length > 0).Select(p => Markup().Replace(p.Value.Split('\0')[0].Replace("~", "", StringComparison.Ordinal), ""));

    [GeneratedRegex(@"<[^>]*>|%[A-Z0-9_]+|\$[a-z_]+\|?")]
    private static partial Regex Markup();
}

[Plugin("fortune", Summary = "Items of fortune files")]
public sealed partial class FortuneProse : ProseExtractor
{
    protected override IEnumerable<string> Paragraphs(byte[] file) =>
        Escape().Replace(Utf8(file), "").Split("\n%").SelectMany(item => item.Split("\n\n"));

    [GeneratedRegex(@"\x1b\[[0-9;]*m")]
    private static partial Regex Escape();
}

[Plugin("plain", Summary = "Plain text, paragraphs parted by empty lines")]
public sealed class PlainProse : ProseExtractor
{
    protected override IEnumerable<string> Paragraphs(byte[] file) => Utf8(file).Split("\n\n");
}

[Plugin("wordnet", Summary = "Definitions and example sentences of WordNet data files")]
public sealed class WordNetProse : ProseExtractor
{
    protected override IEnumerable<string> Paragraphs(byte[] file)
    {
        foreach (var line in Encoding.Latin1.GetString(file).Split('\n'))
        {
            var bar = line.IndexOf(" | ", StringComparison.Ordinal);
            if (bar < 0 || line.StartsWith("  ", StringComparison.Ordinal)) continue;
            var word = line.Split(' ')[4].Replace('_', ' ');
            var gloss = line[(bar + 3)..].Split("; \"");
            yield return $"{char.ToUpperInvariant(word[0])}{word[1..]}: {gloss[0].Trim()}.";
            foreach (var example in gloss.Skip(1)) yield return example.Trim().TrimEnd('"').TrimEnd('"', ';', ' ');
        }
    }
}

[Plugin("debian-descriptions", Summary = "Package descriptions of Debian translation lists")]
public sealed partial class DebianDescriptions : ProseExtractor
{
    protected override IEnumerable<string> Paragraphs(byte[] file)
    {
        foreach (var record in Utf8(file).Split("\n\n"))
        {
            var description = Description().Match(record).Groups[1].Value;
            foreach (var paragraph in description.Split("\n .\n").Skip(0).Where(p => !p.Contains("\n  ", StringComparison.Ordinal))) yield return paragraph;
        }
    }

    [GeneratedRegex(@"^Description-\S+: [^\n]*\n((?: [^\n]*\n?)*)", RegexOptions.Multiline)]
    private static partial Regex Description();
}
