using System.Text;
using System.Text.RegularExpressions;
using Chat.Models.Decoding;

namespace Chat.Training.Data.Extraction;

/// <summary>What all running-text extractors share: paragraphs of prose in one language, joined into passages.</summary>
public static partial class TextCleaning
{
    /// <summary>Paragraphs shorter than this are headings, menu items and table cells.</summary>
    private const int MinimumHan = 8, MinimumWords = 6;

    /// <summary>A passage ends at the paragraph that takes it past this many characters.</summary>
    private const int PassageHan = 300, PassageLetters = 1200;

    /// <summary>Whitespace runs become one space; none stays beside a Han character or its punctuation (line wrapping put it there).</summary>
    public static string Normalise(string text)
    {
        var spaced = Space().Replace(text.Normalize(NormalizationForm.FormC), " ").Trim();
        return SpaceBesideHan().Replace(spaced, "");
    }

    /// <summary>Share of letters that are Han characters; 0 for a text without letters.</summary>
    public static double HanShare(string text)
    {
        var letters = 0;
        var han = 0;
        foreach (var c in text)
        {
            if (!char.IsLetter(c)) continue;
            letters++;
            if (IsHan(c)) han++;
        }
        return letters == 0 ? 0 : (double)han / letters;
    }

    public static bool IsHan(char c) => TokenTable.IsHan(c);

    /// <summary>Prose of the language: long enough, mostly letters, and Han or not as the language says.</summary>
    public static bool IsProse(string text, string language)
    {
        var letters = text.Count(char.IsLetter);
        if (letters < text.Length * 0.6) return false;
        return language == "zh"
            ? HanShare(text) > 0.6 && text.Count(IsHan) >= MinimumHan
            : HanShare(text) == 0 && text.Count(c => c == ' ') >= MinimumWords - 1;
    }

    /// <summary>Prose paragraphs joined into passages, each a document; equal paragraphs of one corpus are kept once.</summary>
    public static IEnumerable<Document> Passages(CorpusRecipe corpus, string scene, IEnumerable<string> paragraphs, HashSet<string> seen)
    {
        var passage = new StringBuilder();
        var number = 0;
        var chinese = corpus.Language == "zh";
        foreach (var paragraph in paragraphs.Select(Normalise).Where(p => IsProse(p, corpus.Language) && seen.Add(p)))
        {
            if (passage.Length > 0 && !chinese) passage.Append(' ');
            passage.Append(paragraph);
            if (passage.Length <= (chinese ? PassageHan : PassageLetters)) continue;
            yield return new Document(corpus.Name, corpus.Language, $"{scene}#{number++}", [passage.ToString()]);
            passage.Clear();
        }
        if (passage.Length > 0) yield return new Document(corpus.Name, corpus.Language, $"{scene}#{number}", [passage.ToString()]);
    }

    [GeneratedRegex(@"\s+")]
    private static partial Regex Space();

    [GeneratedRegex(@"(?<=[\u4e00-\u9fff\u3400-\u4dbf\u3000-\u303f\uff00-\uffef]) | (?=[\u4e00-\u9fff\u3400-\u4dbf\u3000-\u303f\uff00-\uffef])")]
    private static partial Regex SpaceBesideHan();
}
