using System.Text.RegularExpressions;
using Chat.Domain.Plugins;

namespace Chat.Training.Data.Extraction;

/// <summary>
/// Dialogue scripts of FreedroidRPG (Lua): what the player may ask is <c>text = _"…"</c>, what is said <c>Tux:says(_"…")</c> and <c>Npc:says(_"…")</c>, in order of the file. A scene ends with its node, and where a script
/// branches: lines of two branches are never neighbours. Lines with a <c>%s</c> to be filled in end a scene too.
/// </summary>
[Plugin("freedroid", Summary = "Dialogue of FreedroidRPG's scripts")]
public sealed partial class FreedroidDialogue : IExtractor
{
    public IEnumerable<Document> Extract(string root, CorpusRecipe corpus)
    {
        foreach (var path in corpus.FilesUnder(root))
        {
            var person = Path.GetFileNameWithoutExtension(path);
            var number = 0;
            var (turns, speakers) = (new List<string>(), new List<string>());
            foreach (Match match in Token().Matches(Comment().Replace(File.ReadAllText(path), "")))
            {
                var line = TextCleaning.Normalise(Unescaped(match.Groups["line"].Value));
                var speaks = match.Groups["line"].Success && line.Length > 0 && !line.Contains('%', StringComparison.Ordinal);
                var asks = match.Groups["asks"].Success;
                if (turns.Count > 0 && (!speaks || asks))
                {
                    if (turns.Count > 1) yield return new Document(corpus.Name, corpus.Language, $"{person}#{number++}", turns, speakers);
                    (turns, speakers) = ([], []);
                }
                if (!speaks) continue;
                turns.Add(line);
                speakers.Add(asks || match.Groups["who"].Value == "Tux" ? "player" : person);
            }
            if (turns.Count > 1) yield return new Document(corpus.Name, corpus.Language, $"{person}#{number}", turns, speakers);
        }
    }

    private static string Unescaped(string line) => Escape().Replace(line, match => match.Value[1] is 'n' or 't' ? " " : match.Value[1..]);

    // A spoken line, a choice of the player, or what parts two branches or nodes.
    [GeneratedRegex("""(?:(?<asks>\btext\s*=\s*)|\b(?<who>Npc|Tux):says(?:_random)?\(\s*)_?"(?<line>(?:[^"\\\n]|\\.)*)"|\b(?:else|elseif|end|id\s*=)""")]
    private static partial Regex Token();

    [GeneratedRegex(@"--\[\[.*?\]\]|--[^\n]*", RegexOptions.Singleline)]
    private static partial Regex Comment();

    [GeneratedRegex(@"\\.", RegexOptions.Singleline)]
    private static partial Regex Escape();
}

/// <summary>
/// Conversations of Endless Sky: indented blocks of text, choices and labels. Each choice that is followed by text gives a scene: what was said before, the choice, what follows. Names to be filled in become plain words; lines with others go.
/// </summary>
[Plugin("endless-sky", Summary = "Conversations of Endless Sky's missions")]
public sealed class EndlessSkyDialogue : IExtractor
{
    private const string Player = "player", Teller = "teller";

    private static readonly HashSet<string> Ends = ["accept", "decline", "defer", "launch", "flee", "depart", "die", "explode"];

    /// <summary>A line of text, or a choice with where it leads: a label, nothing (what follows), or an end.</summary>
    private sealed record Node(string Text, bool IsChoice, int Group)
    {
        public string? Goto { get; set; }
        public bool Ends { get; set; }
    }

    public IEnumerable<Document> Extract(string root, CorpusRecipe corpus)
    {
        var seen = new HashSet<(string, string)>();
        foreach (var path in corpus.FilesUnder(root))
        {
            var lines = File.ReadAllLines(path);
            var number = 0;
            for (var i = 0; i < lines.Length; i++)
            {
                if (!lines[i].TrimStart('\t').StartsWith("conversation", StringComparison.Ordinal)) continue;
                var end = i + 1;
                while (end < lines.Length && (lines[end].Trim().Length == 0 || Depth(lines[end]) > Depth(lines[i]))) end++;
                foreach (var turns in Scenes(lines[(i + 1)..end]).Where(turns => seen.Add((turns[^2], turns[^1]))))
                    yield return new Document(corpus.Name, corpus.Language, $"{Path.GetFileNameWithoutExtension(path)}#{number++}", turns, turns.Count == 3 ? [Teller, Player, Teller] : [Player, Teller]);
                i = end - 1;
            }
        }
    }

    private static IEnumerable<IReadOnlyList<string>> Scenes(string[] block)
    {
        var nodes = new List<Node>();
        var labels = new Dictionary<string, int>(StringComparer.Ordinal);
        var (group, choiceDepth) = (0, -1);
        foreach (var line in block.Where(line => line.Trim().Length > 0))
        {
            var text = line.Trim();
            if (choiceDepth >= 0 && Depth(line) <= choiceDepth) choiceDepth = -1;
            if (text == "choice") (choiceDepth, group) = (Depth(line), group + 1);
            else if (text.StartsWith("label ", StringComparison.Ordinal)) labels[text[6..].Trim('"', '`', ' ')] = nodes.Count;
            else if (text[0] is '`' or '"') nodes.Add(new Node(Plain(text), choiceDepth >= 0, choiceDepth >= 0 ? group : -1));
            else if (nodes.Count > 0 && text.StartsWith("goto ", StringComparison.Ordinal)) nodes[^1].Goto = text[5..].Trim('"', '`', ' ');
            else if (nodes.Count > 0 && Ends.Contains(text)) nodes[^1].Ends = true;
        }
        for (var n = 0; n < nodes.Count; n++)
        {
            if (!nodes[n].IsChoice || nodes[n].Ends || nodes[n].Text.Length == 0) continue;
            var next = nodes[n].Goto is { } label ? labels.GetValueOrDefault(label, -1) : Enumerable.Range(n, nodes.Count - n).FirstOrDefault(i => nodes[i].Group != nodes[n].Group, -1);
            if (next < 0 || next >= nodes.Count || nodes[next].IsChoice || nodes[next].Text.Length == 0) continue;
            var before = Enumerable.Range(0, n).LastOrDefault(i => nodes[i].Group != nodes[n].Group, -1);
            yield return before >= 0 && !nodes[before].IsChoice && !nodes[before].Ends && nodes[before].Text.Length > 0 ? [nodes[before].Text, nodes[n].Text, nodes[next].Text] : [nodes[n].Text, nodes[next].Text];
        }
    }

    private static int Depth(string line) => line.Length - line.TrimStart('\t').Length;

    private static string Plain(string text)
    {
        var plain = TextCleaning.Normalise((text[0] == '`' ? text.Trim('`') : text.Trim('"')).Replace("<first>", "friend", StringComparison.Ordinal).Replace("Captain <last>", "Captain", StringComparison.Ordinal).Replace("the <ship>", "the ship", StringComparison.Ordinal).Replace("'<ship>'", "ship", StringComparison.Ordinal));
        // What a backtick encloses is a paragraph; speech in it keeps its quotation marks, a choice that is nothing but speech loses them.
        if (plain.Length > 2 && plain[0] == '"' && plain.IndexOf('"', 1) == plain.Length - 1) plain = plain[1..^1];
        return plain.Contains('<', StringComparison.Ordinal) ? "" : plain;
    }
}
