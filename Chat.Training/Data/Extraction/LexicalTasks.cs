using System.Text.Json;
using System.Text.RegularExpressions;
using Chat.Domain.Plugins;
using Chat.Training.Methods;

namespace Chat.Training.Data.Extraction;

/// <summary>
/// Instructions that a lexicon answers, each in one of several wordings. The scene is <c>task/entry</c>, so a training recipe holds whole tasks out by its beginning; at most <see cref="MostPerTask"/> of a task, spread over the lexicon by the entries' hashes.
/// </summary>
public abstract class LexicalTasks : IExtractor
{
    public const int MostPerTask = 4000;

    /// <summary>One task on one entry.</summary>
    /// <param name="Wordings">With <c>{0}</c> for what is asked about.</param>
    protected sealed record Item(string Task, string Entry, string[] Wordings, string About, string Answer);

    public IEnumerable<Document> Extract(string root, CorpusRecipe corpus) => Items(root, corpus).GroupBy(item => item.Task).OrderBy(task => task.Key, StringComparer.Ordinal)
        .SelectMany(task => task.DistinctBy(item => item.About).OrderBy(item => RandomStream.Of(0, $"{item.Task} {item.Entry} {item.About}", 0).Next()).Take(MostPerTask))
        .Select(item => new Document(corpus.Name, corpus.Language, $"{item.Task}/{item.Entry}",
            [item.Wordings[(int)(RandomStream.Of(1, item.Entry, 0).Next() % (uint)item.Wordings.Length)].Replace("{0}", item.About, StringComparison.Ordinal), item.Answer], ["asks", "answers"]));

    protected abstract IEnumerable<Item> Items(string root, CorpusRecipe corpus);
}

[Plugin("wordnet-tasks", Summary = "Define, name, give a synonym, a kind, an example, a class: from WordNet")]
public sealed class WordNetTasks : LexicalTasks
{
    protected override IEnumerable<Item> Items(string root, CorpusRecipe corpus)
    {
        var wordNet = new WordNet(corpus.FilesUnder(root));
        foreach (var set in wordNet.Synsets.Values)
        {
            var word = set.Words[0];
            if (set.Definition.Length is < 10 or > 200 || word.Any(char.IsDigit)) continue;
            yield return new("define", set.Id, ["What does \"{0}\" mean?", "Define: {0}", "Explain the word {0}."], word, set.Definition);
            yield return new("reverse-define", set.Id, ["Which word means \"{0}\"?", "Name this: {0}", "What do you call the following? {0}"], set.Definition, word);
            yield return new("supersense", set.Id, ["To which class does this belong? {0}", "Class of \"{0}\"?", "Sort this into a class: {0}"], $"{word}, {set.Definition}", set.Class[(set.Class.IndexOf('.', StringComparison.Ordinal) + 1)..]);
            if (set.Words.Count > 1) yield return new("synonym", set.Id, ["Give a synonym of \"{0}\".", "Another word for {0}?", "Say {0} in another word."], word, set.Words[1]);
            if (set.Hypernyms.Count > 0 && wordNet.Synsets.TryGetValue(set.Hypernyms[0], out var kind)) yield return new("hypernym", set.Id, ["What kind of thing is this: {0}?", "{0} is a kind of …", "Name the kind: {0}"], word, kind.Words[0]);
            if (set.Examples.FirstOrDefault(example => example.Contains(word, StringComparison.OrdinalIgnoreCase) && example.Length > 15) is { } sentence)
                yield return new("example", set.Id, ["Use \"{0}\" in a sentence.", "Write a sentence with the word {0}.", "An example of {0}, please."], word, sentence);
        }
    }
}

[Plugin("cedict-tasks", Summary = "Chinese to English, English to Chinese, pinyin: from CC-CEDICT")]
public sealed class CedictTasks : LexicalTasks
{
    protected override IEnumerable<Item> Items(string root, CorpusRecipe corpus)
    {
        foreach (var path in corpus.FilesUnder(root))
        {
            var script = File.ReadAllText(path);
            using var lexicon = JsonDocument.Parse(script.AsMemory(script.IndexOf('{'), script.LastIndexOf('}') + 1 - script.IndexOf('{')));
            foreach (var entry in lexicon.RootElement.GetProperty("all").EnumerateArray())
            {
                if (entry[3].ValueKind is not (JsonValueKind.String or JsonValueKind.Array)) continue;
                var (word, pinyin) = (entry[1].GetString()!, entry[2].GetString()!);
                var gloss = entry[3].ValueKind == JsonValueKind.String ? entry[3].GetString()! : entry[3].EnumerateArray().Select(each => each.GetString()!).FirstOrDefault() ?? "";
                if (word.Length is < 2 or > 6 || !word.All(TextCleaning.IsHan) || gloss.Length is < 2 or > 80 || gloss.Contains("variant of", StringComparison.Ordinal) || gloss.Contains("surname", StringComparison.Ordinal) || gloss.Contains('[', StringComparison.Ordinal)) continue;
                var id = $"{word} {pinyin}";
                yield return new("zh-en", id, ["“{0}”用英语怎么说？", "把“{0}”翻译成英语。", "请给出“{0}”的英文意思。"], word, gloss);
                yield return new("en-zh", id, ["“{0}”用中文怎么说？", "把“{0}”翻译成中文。", "请给出“{0}”的中文说法。"], gloss, word);
                yield return new("pinyin", id, ["“{0}”怎么读？", "请写出“{0}”的拼音。", "“{0}”的拼音是什么？"], word, pinyin);
            }
        }
    }
}

[Plugin("couplet-tasks", Summary = "The lower line of a couplet, asked for in words")]
public sealed class CoupletTasks : LexicalTasks
{
    private readonly Couplets couplets = new();

    protected override IEnumerable<Item> Items(string root, CorpusRecipe corpus) => couplets.Extract(root, corpus)
        .Select(couplet => new Item("couplet", couplet.Scene, ["请对下联：{0}", "上联是“{0}”，下联是什么？", "给这句诗对出下一句：{0}"], couplet.Turns[0], couplet.Turns[1]));
}

[Plugin("section-tasks", Summary = "The section of a Debian package, from its description")]
public sealed partial class SectionTasks : LexicalTasks
{
    protected override IEnumerable<Item> Items(string root, CorpusRecipe corpus)
    {
        foreach (var path in corpus.FilesUnder(root))
            foreach (var record in File.ReadAllText(path).Split("\n\n"))
            {
                var fields = Field().Matches(record).DistinctBy(match => match.Groups[1].Value).ToDictionary(match => match.Groups[1].Value, match => match.Groups[2].Value.Trim());
                if (!fields.TryGetValue("Package", out var package) || !fields.TryGetValue("Section", out var section) || !fields.TryGetValue("Description", out var description)) continue;
                if (description.Length < 15 || section.Contains("libs", StringComparison.Ordinal) || section.Contains("devel", StringComparison.Ordinal) || section.Contains("debug", StringComparison.Ordinal)) continue;
                yield return new("section", package, ["In which section of Debian is a package \"{0}\"?", "Sort this program into a section: {0}", "Section of \"{0}\"?"], description, section[(section.IndexOf('/', StringComparison.Ordinal) + 1)..]);
            }
    }

    [GeneratedRegex(@"^(Package|Section|Description): (.*)$", RegexOptions.Multiline)]
    private static partial Regex Field();
}
