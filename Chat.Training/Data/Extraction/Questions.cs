using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using Chat.Domain.Plugins;

namespace Chat.Training.Data.Extraction;

/// <summary>A page in, questions and their answers out: documents of two turns. Long answers end with a sentence; pages without the language's script give nothing.</summary>
public abstract partial class QuestionExtractor : IExtractor
{
    private const int LongestEnglish = 700, LongestChinese = 250, LeastEnglish = 20, LeastChinese = 10;

    public IEnumerable<Document> Extract(string root, CorpusRecipe corpus)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var path in corpus.FilesUnder(root))
        {
            var number = 0;
            foreach (var (question, answer) in Questions(File.ReadAllText(path)))
            {
                var turns = new[] { TextCleaning.Normalise(Number().Replace(question.Trim(), "")), Shortened(TextCleaning.Normalise(answer), corpus.Language) };
                if (turns[1].Length < (corpus.Language == "zh" ? LeastChinese : LeastEnglish) || turns[0].Length == 0 || (corpus.Language == "zh" ? TextCleaning.HanShare(turns[1]) < 0.4 : TextCleaning.HanShare(turns[1]) > 0) || !seen.Add(turns[0])) continue;
                yield return new Document(corpus.Name, corpus.Language, $"{Path.GetRelativePath(root, path).Replace('\\', '/')}#{number++}", turns, ["asks", "answers"]);
            }
        }
    }

    protected abstract IEnumerable<(string Question, string Answer)> Questions(string page);

    protected static string Text(string html) => WebUtility.HtmlDecode(Tag().Replace(Code().Replace(html, " "), ""));

    private static string Shortened(string answer, string language)
    {
        var most = language == "zh" ? LongestChinese : LongestEnglish;
        if (answer.Length <= most) return answer;
        var end = answer.LastIndexOfAny(language == "zh" ? ['。', '！', '？'] : ['.', '!', '?'], most - 1);
        return end > 0 ? answer[..(end + 1)] : "";
    }

    [GeneratedRegex(@"^[\d.]+\s*")]
    private static partial Regex Number();

    [GeneratedRegex(@"<(pre|script|style|table)\b.*?</\1\s*>|<div class=""(?:highlight|example)[^>]*>.*?</div>", RegexOptions.Singleline | RegexOptions.IgnoreCase)]
    private static partial Regex Code();

    [GeneratedRegex(@"<[^>]*>")]
    private static partial Regex Tag();
}

[Plugin("pod-questions", Summary = "Questions of Perl's FAQ and the paragraphs below them")]
public sealed partial class PodQuestions : QuestionExtractor
{
    // Verbatim paragraphs are indented; formatting codes keep what they enclose.
    protected override IEnumerable<(string Question, string Answer)> Questions(string page) => Entry().Matches(page)
        .Select(match => (Plain(match.Groups[1].Value), Plain(string.Join('\n', match.Groups[2].Value.Split('\n').Where(line => line.Length == 0 || (line[0] is not (' ' or '\t' or '=')))))));

    private static string Plain(string pod)
    {
        for (string before = ""; before != pod;) (before, pod) = (pod, Code().Replace(pod, match => match.Groups[1].Value.Split('|')[0]));
        return pod;
    }

    [GeneratedRegex(@"^=head2 ([^\n]*\?[^\n]*)\n(.*?)(?=^=head[12]|^=cut|\z)", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Entry();

    [GeneratedRegex(@"[BCFILSXZ]<(?:< )?([^<>]*?)(?: >)?>")]
    private static partial Regex Code();
}

[Plugin("html-questions", Summary = "Headings that end in a question mark and the text below them")]
public sealed partial class HtmlQuestions : QuestionExtractor
{
    protected override IEnumerable<(string Question, string Answer)> Questions(string page) => Heading().Matches(page)
        .Select(match => (Question: Text(match.Groups[2].Value).Replace("¶", "", StringComparison.Ordinal).Trim(), Answer: Text(match.Groups[3].Value)))
        .Where(pair => pair.Question.Contains('?', StringComparison.Ordinal) || pair.Question.Contains('？', StringComparison.Ordinal));

    [GeneratedRegex(@"<(h[23])\b[^>]*>(.*?)</\1>(.*?)(?=<h[123]\b|</section>|<section\b|<div class=""section""|<div class=""navfooter""|\z)", RegexOptions.Singleline | RegexOptions.IgnoreCase)]
    private static partial Regex Heading();
}

[Plugin("office-guide", Summary = "LibreOffice's how-to pages: what to do, and the paragraphs that tell how")]
public sealed partial class OfficeGuide : QuestionExtractor
{
    protected override IEnumerable<(string Question, string Answer)> Questions(string page)
    {
        var body = page.IndexOf("id=\"DisplayArea\"", StringComparison.Ordinal) is > 0 and var at ? page[at..] : page;
        if (Title().Match(body) is not { Success: true } title) yield break;
        var text = new StringBuilder();
        foreach (Match paragraph in Paragraph().Matches(body)) text.Append(Text(paragraph.Groups[1].Value).Trim()).Append(' ');
        yield return (Text(title.Groups[1].Value), text.ToString());
    }

    [GeneratedRegex(@"<h1\b[^>]*>(.*?)</h1>", RegexOptions.Singleline)]
    private static partial Regex Title();

    [GeneratedRegex(@"<p\b[^>]*class=""(?:paragraph|listitem)[^>]*>(.*?)</p>|<li\b[^>]*>\s*<p\b[^>]*>(?<1>.*?)</p>", RegexOptions.Singleline)]
    private static partial Regex Paragraph();
}
