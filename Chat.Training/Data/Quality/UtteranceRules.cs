using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Chat.Training.Data.Extraction;

namespace Chat.Training.Data.Quality;

/// <summary>One rule over one utterance: gives the text back as it was, shortened, or <c>null</c> when it must go.</summary>
/// <param name="Name">Stands in recipes and reports.</param>
public sealed record UtteranceRule(string Name, Func<string, string?> Apply)
{
    /// <summary>
    /// Applied until nothing changes, so that a second cleaning finds nothing to do. Rules only shorten, or put a mark in place of
    /// something longer that no rule touches, so this ends.
    /// </summary>
    public string? Clean(string text)
    {
        for (var current = text; ; )
        {
            var next = Apply(current);
            if (next is null || next == current) return next;
            current = next;
        }
    }
}

/// <summary>
/// The utterance rules of EVA2.0's lineage (thu-coai's clean-dialog, arXiv 2203.09313 for the idea), in their order, as far as they make
/// sense outside Weibo. Full-width letters, digits and marks are folded before any of them looks, and marks of masked data are plain
/// words in brackets that no later rule takes away.
/// </summary>
public static partial class UtteranceRules
{
    private const string Phone = "[PHONE]", Mail = "[EMAIL]";
    private const int PhraseRepeats = 3, MentionTail = 30;
    private static readonly HashSet<string> Empty = new(StringComparer.OrdinalIgnoreCase) { "repost", "转发", "转发微博", "repostweibo", "分享图片" };

    public static IReadOnlyList<UtteranceRule> All(QualityRecipe recipe) =>
    [
        new("unicode", Unicode),
        new("blacklist", text => recipe.Blacklist is { } list && Packed(text) is var packed && list.Any(w => packed.Contains(w, StringComparison.OrdinalIgnoreCase)) ? null : text),
        new("repost-word", text => Empty.Contains(text.Trim()) ? null : text),
        new("reply-tag", text => ReplyTag().Replace(text, "")),
        new("repost-tail", text => RepostTail().Replace(text, "")),
        new("email", text => EMail().Replace(text, Mail)),
        new("url", text => Url().Replace(text, " ")),
        new("angle", text => Angle().Replace(text, "")),
        new("hashtag", text => HashTag().Replace(text, "")),
        new("emotion", text => EmotionCode().Replace(text, "")),
        new("mention", Mention),
        new("emoji", text => Emoji().Replace(text, "")),
        new("phone", text => PhoneNumber().Replace(text, Phone)),
        new("messenger", text => Messenger().Replace(text, " ")),
        new("repeats", text => Repeats().Replace(text, m => string.Concat(Enumerable.Repeat(m.Groups[1].Value, PhraseRepeats)))),
        new("spaces", text => Spaces().Replace(text, " ").Trim()),
        new("han", text => text.Any(TextCleaning.IsHan) ? text : null),
        new("short", text => Packed(text).Length < recipe.Shortest ? null : text),
        new("long", text => Packed(text).Length > recipe.Longest ? null : text),
        new("monotone", text => IsMonotone(text) ? null : text),
    ];

    /// <summary>Words of a text: runs of letters and digits in lower case, and Han characters in overlapping pairs (a lone one by itself).</summary>
    public static IEnumerable<string> Words(string text)
    {
        foreach (Match run in WordRun().Matches(text))
        {
            if (!TextCleaning.IsHan(run.Value[0])) yield return run.Value.ToLowerInvariant();
            else if (run.Length == 1) yield return run.Value;
            else for (var i = 0; i + 1 < run.Length; i++) yield return run.Value.Substring(i, 2);
        }
    }

    /// <summary>Folds full-width ASCII, drops control and replacement characters. Chinese punctuation stays Chinese.</summary>
    private static string Unicode(string text)
    {
        var folded = new StringBuilder(text.Length);
        foreach (var c in text)
        {
            if (c is >= '０' and <= '９' or >= 'Ａ' and <= 'Ｚ' or >= 'ａ' and <= 'ｚ' or '＠' or '＃' or '＜' or '＞' or '［' or '］' or '／') folded.Append((char)(c - 0xFEE0));
            else if (c != '\uFFFD' && c != '\u200B' && (!char.IsControl(c) || c is '\n' or '\t')) folded.Append(c);
        }
        return folded.ToString().IsNormalized(NormalizationForm.FormC) ? folded.ToString() : folded.ToString().Normalize(NormalizationForm.FormC);
    }

    /// <summary>Somebody is called by name in the middle, or the name is all that is left at the end: without the platform it means nothing.</summary>
    private static string? Mention(string text)
    {
        if (Called().IsMatch(text)) return null;
        var at = text.LastIndexOf('@');
        return at >= 0 && text.Length - at <= MentionTail ? null : text;
    }

    /// <summary>Few words again and again: at most a third of them different, or the three commonest more than three quarters of all.</summary>
    private static bool IsMonotone(string text)
    {
        var words = Words(text).ToArray();
        var counts = words.CountBy(w => w).Select(w => w.Value).OrderDescending().ToArray();
        return words.Length > 3 && (counts.Length * 3 <= words.Length || (counts.Length > 3 && counts.Take(3).Sum() * 4 > words.Length * 3));
    }

    private static string Packed(string text) => string.Concat(text.Where(c => !char.IsWhiteSpace(c)));

    [GeneratedRegex(@"回复\s?@[^:：]{1,30}[:：]\s?")]
    private static partial Regex ReplyTag();

    [GeneratedRegex(@"//\s?@[^:：]{1,30}[:：].*$", RegexOptions.Singleline)]
    private static partial Regex RepostTail();

    [GeneratedRegex(@"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")]
    private static partial Regex EMail();

    [GeneratedRegex(@"(?:https?|ftp)://[^\s\u3000-\u9fff\uff00-\uffef]+|\bwww\.[^\s\u3000-\u9fff\uff00-\uffef]+")]
    private static partial Regex Url();

    [GeneratedRegex(@"<[^<>\u3400-\u9fff]*>")]
    private static partial Regex Angle();

    [GeneratedRegex(@"#[^#\n]{1,60}#")]
    private static partial Regex HashTag();

    [GeneratedRegex(@"\[[\u4e00-\u9fff]{1,4}\]|:[a-z_]{2,30}:")]
    private static partial Regex EmotionCode();

    [GeneratedRegex(@"@\S{1,30}\s")]
    private static partial Regex Called();

    [GeneratedRegex(@"(?:\ud83c[\udf00-\udfff]|\ud83d[\udc00-\udfff]|\ud83e[\udd00-\udfff]|[\ufe0e\ufe0f\u200d])")]
    private static partial Regex Emoji();

    [GeneratedRegex(@"(?<![0-9])[0-9]{11}(?![0-9])|(?<![0-9])(?:\+|00)[0-9](?:[ -]?[0-9]){8,14}(?![0-9])|(?<![0-9])[0-9]{3}-[0-9]{3}-[0-9]{4}(?![0-9])")]
    private static partial Regex PhoneNumber();

    [GeneratedRegex(@"(?i:qq){1,2}[:：号]?\s?[0-9]{5,12}")]
    private static partial Regex Messenger();

    [GeneratedRegex(@"(.{1,30}?)\1{3,}", RegexOptions.Singleline)]
    private static partial Regex Repeats();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();

    [GeneratedRegex(@"[\u4e00-\u9fff\u3400-\u4dbf]+|[^\W\u4e00-\u9fff\u3400-\u4dbf]+")]
    private static partial Regex WordRun();
}
