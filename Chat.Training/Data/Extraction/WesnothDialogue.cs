using System.Text.RegularExpressions;
using Chat.Domain.Plugins;

namespace Chat.Training.Data.Extraction;

/// <summary>
/// Campaign scripts of Battle for Wesnoth: <c>[message] speaker=… message= _ "…"</c> in file order; a scene ends at an event, a branch
/// or an option. The Chinese side looks each original up in the campaign's message catalog, so both languages have the same scenes.
/// A turn without a full translation is left out of the Chinese side, and the scene ends there.
/// </summary>
[Plugin("wesnoth", Summary = "Dialogue of Battle for Wesnoth campaigns, original or translated")]
public sealed partial class WesnothDialogue : IExtractor
{
    private sealed record Message(string Speaker, string Domain, IReadOnlyList<string> Parts);

    public IEnumerable<Document> Extract(string root, CorpusRecipe corpus)
    {
        var catalogs = new Dictionary<string, Dictionary<string, string>>(StringComparer.Ordinal);
        foreach (var path in corpus.FilesUnder(root))
        {
            var name = CampaignPath().Match(path.Replace('\\', '/')).Groups[1].Value;
            var number = 0;
            foreach (var scene in Scenes(File.ReadAllText(path)))
            {
                foreach (var part in Translate(scene, domain => Catalog(root, domain, corpus.Language, catalogs)))
                    yield return new Document(corpus.Name, corpus.Language, $"{name}#{number++}", [.. part.Select(t => t.Text)], [.. part.Select(t => t.Speaker)]);
            }
        }
    }

    private static IEnumerable<List<(string Speaker, string Text)>> Translate(List<Message> scene, Func<string, Dictionary<string, string>?> catalog)
    {
        var turns = new List<(string, string)>();
        foreach (var message in scene)
        {
            var translations = catalog(message.Domain);
            var text = translations is null
                ? string.Concat(message.Parts)
                : message.Parts.All(p => string.IsNullOrWhiteSpace(p) || translations.ContainsKey(p))
                    ? string.Concat(message.Parts.Select(p => translations.GetValueOrDefault(p, "")))
                    : "";
            text = Clean(text);
            if (text.Length > 0)
            {
                turns.Add((message.Speaker, text));
            }
            else if (turns.Count > 0)
            {
                yield return turns;
                turns = [];
            }
        }
        if (turns.Count > 0) yield return turns;
    }

    /// <summary>Null: the original language.</summary>
    private static Dictionary<string, string>? Catalog(string root, string domain, string language, Dictionary<string, Dictionary<string, string>> loaded)
    {
        if (language == "en") return null;
        if (loaded.TryGetValue(domain, out var catalog)) return catalog;
        var file = Directory.EnumerateFiles(root, domain + ".mo", SearchOption.AllDirectories).FirstOrDefault(p => p.Contains("zh_CN", StringComparison.Ordinal));
        return loaded[domain] = file is null ? [] : MessageCatalog.Read(File.ReadAllBytes(file));
    }

    private static IEnumerable<List<Message>> Scenes(string source)
    {
        var scene = new List<Message>();
        var domain = "";
        var speaker = "";
        List<string>? parts = null;
        var inMessage = false;
        for (var match = Mark().Match(source); match.Success;)
        {
            var next = match.Index + match.Length;
            var tag = match.Groups["tag"].Value;
            if (match.Groups["domain"].Success)
            {
                domain = match.Groups["domain"].Value;
            }
            else if (tag == "message")
            {
                (inMessage, speaker, parts) = (true, "", null);
            }
            else if (tag == "/message")
            {
                if (inMessage && parts is not null) scene.Add(new Message(speaker, domain, parts));
                inMessage = false;
            }
            else if (!inMessage && tag is "event" or "/event" or "/scenario" or "if" or "else" or "then" or "option" or "command" or "/option" && !inMessage)
            {
                if (scene.Count > 0) yield return scene;
                scene = [];
            }
            else if (inMessage && match.Groups["key"].Value == "speaker")
            {
                speaker = match.Groups["value"].Value.Trim();
            }
            else if (inMessage && match.Groups["key"].Value == "message" && parts is null)
            {
                (var found, var end) = Strings(source, match.Groups["value"].Index);
                if (found.Count > 0) (parts, next) = (found, Math.Max(next, end));
            }
            match = Mark().Match(source, next);
        }
        if (scene.Count > 0) yield return scene;
    }

    /// <summary><c>_ "a" + _ "b"</c>, with comment lines between, as its pieces; a doubled quote stands for one.</summary>
    private static (List<string> Parts, int End) Strings(string source, int start)
    {
        var parts = new List<string>();
        for (var match = FirstString().Match(source, start); match.Success;)
        {
            parts.Add(match.Groups[1].Value.Replace("\"\"", "\"", StringComparison.Ordinal));
            start = match.Index + match.Length;
            match = NextString().Match(source, start);
        }
        return (parts, start);
    }

    private static string Clean(string text) => Space().Replace(Markup().Replace(text, ""), " ").Trim();

    [GeneratedRegex(@"^\s*#textdomain (?<domain>\S+)|^\s*\[(?<tag>/?\+?[a-z_]+)\]|^\s*(?<key>speaker|message)\s*=\s*(?<value>.*)$", RegexOptions.Multiline)]
    private static partial Regex Mark();

    [GeneratedRegex(@"\G[ \t]*_?\s*""((?:[^""]|"""")*)""")]
    private static partial Regex FirstString();

    [GeneratedRegex(@"\G[ \t]*\+\s*(?:#[^\n]*\n)*\s*_?\s*""((?:[^""]|"""")*)""")]
    private static partial Regex NextString();

    [GeneratedRegex(@"<[^>]+>|\^.*?\^")]
    private static partial Regex Markup();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Space();

    [GeneratedRegex(@"/campaigns/(.+)$")]
    private static partial Regex CampaignPath();
}
