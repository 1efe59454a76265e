using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Chat.Domain.Plugins;
using Chat.Safety;

namespace Chat.Training.Data.Extraction;

/// <summary>
/// Replies in mails (RFC 822 in JSON, field <c>text</c>): what a mail quotes with «&gt;» and what it answers below. Personal data is masked: addresses and telephone numbers by the product's own filters, links, and the names that stand in any mail's
/// From, To or Cc where they are written with a capital and are not mostly ordinary words. What is left: names of people who never wrote a mail, places, and who could be recognised by what they say.
/// </summary>
[Plugin("mail-replies", Summary = "Quoted text and the answer below it, personal data masked")]
public sealed partial class MailReplies : IExtractor
{
    private const int Least = 10, Most = 600;
    private static readonly SafetyPolicy Personal = new([new EmailFilter(), new PhoneFilter()]);

    public IEnumerable<Document> Extract(string root, CorpusRecipe corpus)
    {
        var mails = corpus.FilesUnder(root).Select(path => (Path: path, Text: JsonDocument.Parse(File.ReadAllText(path)).RootElement.GetProperty("text").GetString() ?? ""))
            .Select(mail => (mail.Path, Headers: Headers(mail.Text), Body: Body(mail.Text))).Where(mail => mail.Body is not null).ToArray();
        var names = Names(mails.Select(mail => (mail.Headers, mail.Body!)));
        var seen = new HashSet<(string, string)>();
        foreach (var (path, _, body) in mails)
        {
            var number = 0;
            foreach (var (quoted, answer) in Pairs(body!))
            {
                var turns = new[] { Masked(quoted, names), Masked(answer, names) };
                if (turns.All(turn => turn.Length is >= Least and <= Most && turn.Count(char.IsLetter) > turn.Length * 0.6) && seen.Add((turns[0], turns[1])))
                    yield return new Document(corpus.Name, corpus.Language, $"{Path.GetFileName(Path.GetDirectoryName(path))}/{Path.GetFileNameWithoutExtension(path)}#{number++}", turns, ["quoted", "writer"]);
            }
        }
    }

    /// <summary>Masks what is personal in a text.</summary>
    public static string Masked(string text, IReadOnlySet<string> names)
    {
        var masked = Personal.Check(Link().Replace(text, "[link]"), "mail").Cleared.Text;
        masked = LastWord().Replace(masked, match => names.Contains(char.ToUpperInvariant(match.Value[0]) + match.Value[1..]) ? "[name]" : match.Value);      // many sign in small letters
        return TextCleaning.Normalise(NameRun().Replace(Word().Replace(masked, match => names.Contains(match.Value) ? "[name]" : match.Value), "[name]"));
    }

    // Words of the people in the headers, unless the mails write them small as often as not: Will, Mark, Bill.
    private static HashSet<string> Names(IEnumerable<(string Headers, string Body)> mails)
    {
        var people = new HashSet<string>(StringComparer.Ordinal);
        var capital = new Dictionary<string, int>(StringComparer.Ordinal);
        var small = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var (headers, body) in mails)
        {
            foreach (Match header in Person().Matches(headers))
                foreach (Match word in Word().Matches(Address().Replace(header.Groups[1].Value, " ")))
                    if (char.IsUpper(word.Value[0])) people.Add(word.Value);
            foreach (Match word in Word().Matches(body))
            {
                var counts = char.IsUpper(word.Value[0]) ? capital : small;
                counts[word.Value.ToLowerInvariant()] = counts.GetValueOrDefault(word.Value.ToLowerInvariant()) + 1;
            }
        }
        return [.. people.Where(name => small.GetValueOrDefault(name.ToLowerInvariant()) <= capital.GetValueOrDefault(name.ToLowerInvariant()))];
    }

    private static IEnumerable<(string Quoted, string Answer)> Pairs(string body)
    {
        var blocks = new List<(bool Quoted, StringBuilder Text)>();
        foreach (var line in body.Split('\n').Select(line => line.TrimEnd('\r')))
        {
            if (Signature().IsMatch(line)) break;
            if (line.Trim().Length == 0 || Attribution().IsMatch(line)) continue;
            var quoted = Quote().Match(line);
            if (blocks.Count == 0 || blocks[^1].Quoted != quoted.Success) blocks.Add((quoted.Success, new StringBuilder()));
            blocks[^1].Text.Append(' ').Append(quoted.Success ? line[quoted.Length..].Trim() : line.Trim());
        }
        for (var i = 0; i + 1 < blocks.Count; i++)
            if (blocks[i].Quoted && !blocks[i + 1].Quoted) yield return (blocks[i].Text.ToString().Trim(), blocks[i + 1].Text.ToString().Trim());
    }

    private static string Headers(string mail) => HeaderFold().Replace(mail.Replace("\r\n", "\n", StringComparison.Ordinal) is var text && text.IndexOf("\n\n", StringComparison.Ordinal) is > 0 and var end ? text[..end] : "", " ");

    // The plain text of a mail; of one in parts the first plain part. Coded otherwise than plainly or quoted-printable: none.
    private static string? Body(string mail)
    {
        var text = mail.Replace("\r\n", "\n", StringComparison.Ordinal);
        var end = text.IndexOf("\n\n", StringComparison.Ordinal);
        if (end < 0) return null;
        var (headers, body) = (HeaderFold().Replace(text[..end], " "), text[(end + 2)..]);
        if (Boundary().Match(headers) is { Success: true } boundary)
            return body.Split("--" + boundary.Groups[1].Value).Skip(1).Select(part => Body(part.TrimStart('\n'))).FirstOrDefault(part => part is not null);
        if (ContentType().Match(headers) is { Success: true } type && !type.Groups[1].Value.Equals("text/plain", StringComparison.OrdinalIgnoreCase)) return null;
        var coding = Encoded().Match(headers).Groups[1].Value.ToLowerInvariant();
        if (coding == "base64") return null;
        return coding == "quoted-printable" ? Hex().Replace(body.Replace("=\n", "", StringComparison.Ordinal), match => ((char)Convert.ToByte(match.Groups[1].Value, 16)).ToString()) : body;
    }

    [GeneratedRegex(@"^\s*[>|][\s>|]*")]
    private static partial Regex Quote();

    [GeneratedRegex(@"^(_{5,}|-- ?$|[-=]{8,})")]
    private static partial Regex Signature();

    [GeneratedRegex(@"\b(wrote|writes|said|schrieb|écrit)\s*:\s*$|^On .{5,80}$|^\S+ \S+ <?\S+@\S+>?:?$", RegexOptions.IgnoreCase)]
    private static partial Regex Attribution();

    [GeneratedRegex(@"\n[ \t]+")]
    private static partial Regex HeaderFold();

    [GeneratedRegex(@"^(?:From|To|Cc|Reply-To|Sender):(.*)$", RegexOptions.Multiline | RegexOptions.IgnoreCase)]
    private static partial Regex Person();

    [GeneratedRegex(@"<[^>]*>|\S+@\S+")]
    private static partial Regex Address();

    [GeneratedRegex(@"\b\p{L}{3,}(?=\W*$)")]
    private static partial Regex LastWord();

    [GeneratedRegex(@"\b\p{L}[\p{L}'’-]{2,}")]
    private static partial Regex Word();

    [GeneratedRegex(@"\[name\](?:\s+(?:\p{Lu}\.\s*)?\[name\])+")]
    private static partial Regex NameRun();

    [GeneratedRegex(@"\b(?:https?|ftp)://\S+|\bwww\.\S+", RegexOptions.IgnoreCase)]
    private static partial Regex Link();

    [GeneratedRegex(@"^Content-Type:\s*multipart/[^\n]*boundary=""?([^"";\n]+)", RegexOptions.Multiline | RegexOptions.IgnoreCase)]
    private static partial Regex Boundary();

    [GeneratedRegex(@"^Content-Type:\s*([^;\s]+)", RegexOptions.Multiline | RegexOptions.IgnoreCase)]
    private static partial Regex ContentType();

    [GeneratedRegex(@"^Content-Transfer-Encoding:\s*(\S+)", RegexOptions.Multiline | RegexOptions.IgnoreCase)]
    private static partial Regex Encoded();

    [GeneratedRegex(@"=([0-9A-F]{2})")]
    private static partial Regex Hex();
}
