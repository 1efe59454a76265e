using System.Text.Json;
using Chat.Domain.Plugins;

namespace Chat.Training.Data.Extraction;

/// <summary>
/// Verse of the package chinese-poetry (JSON arrays of poems with <c>paragraphs</c>), in simplified script when OpenCC's tables lie
/// among the packages. Garbled characters and gaps (□, U+FFFD, brackets) drop the line.
/// </summary>
public abstract class ChineseVerse : IExtractor
{
    public IEnumerable<Document> Extract(string root, CorpusRecipe corpus)
    {
        var simplified = Converter(root);
        foreach (var path in corpus.FilesUnder(root))
        {
            using var poems = JsonDocument.Parse(File.ReadAllBytes(path));
            var number = 0;
            foreach (var poem in poems.RootElement.EnumerateArray())
            {
                number++;
                if (!poem.TryGetProperty("paragraphs", out var paragraphs) || paragraphs.ValueKind != JsonValueKind.Array) continue;
                var lines = paragraphs.EnumerateArray().Select(p => simplified.Convert(p.GetString() ?? "")).Where(Whole).ToList();
                foreach (var turns in Turns(lines))
                    yield return new Document(corpus.Name, corpus.Language, $"{Path.GetFileNameWithoutExtension(path)}/{number}", turns);
            }
        }
    }

    protected abstract IEnumerable<IReadOnlyList<string>> Turns(IReadOnlyList<string> lines);

    private static bool Whole(string line) => line.Length > 0 && line.All(c => TextCleaning.IsHan(c) || c is '，' or '。' or '？' or '！' or '、' or '；' or '：');

    private static SimplifiedChinese Converter(string root)
    {
        string[] Lines(string name) => Directory.EnumerateFiles(root, name, SearchOption.AllDirectories).Select(File.ReadAllLines).FirstOrDefault() ?? [];
        return new SimplifiedChinese(Lines("TSPhrases.txt"), Lines("TSCharacters.txt"));
    }
}

[Plugin("couplets", Summary = "Upper and lower line of balanced 5- and 7-character couplets as a dialogue")]
public sealed class Couplets : ChineseVerse
{
    protected override IEnumerable<IReadOnlyList<string>> Turns(IReadOnlyList<string> lines) => lines
        .Select(line => line.TrimEnd('。', '！', '？').Split('，'))
        .Where(halves => halves.Length == 2 && halves[0].Length == halves[1].Length && halves[0].Length is 5 or 7 && halves.All(h => h.All(TextCleaning.IsHan)))
        .Select(halves => (IReadOnlyList<string>)halves);
}

[Plugin("verse", Summary = "Whole poems as running text")]
public sealed class Verse : ChineseVerse
{
    protected override IEnumerable<IReadOnlyList<string>> Turns(IReadOnlyList<string> lines)
    {
        if (lines.Sum(l => l.Length) >= 20) yield return [string.Concat(lines)];
    }
}
