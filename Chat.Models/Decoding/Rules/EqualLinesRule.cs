using System.Buffers;
using System.Text;
using Chat.Domain.Plugins;

namespace Chat.Models.Decoding.Rules;

/// <summary>
/// A couplet's second line is as long as its first. Where the last utterance is nothing but five or seven Han characters, a reply that so far is
/// nothing but Han characters does not end before it has as many, and then has no more. Any other character (prose has its comma or question mark)
/// shows that the reply is no verse, and the rule leaves it alone from there on. Low temperatures and short nuclei need it: the end is one token
/// and the next character one of thousands, so cutting the tail makes a line end early.
/// </summary>
[Plugin("equal-lines", Summary = "equalLines: a line of verse is answered by a line of equal length.")]
public sealed class EqualLinesRule : ILogitsRule
{
    public RuleStage Stage => RuleStage.Ban;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        options.EqualLines && Read(tokens, LastUtterance(tokens, dialogue.Span)) is (int length, 0) && length is 5 or 7 ? new Row(tokens, length) : null;

    private static ReadOnlySpan<int> LastUtterance(TokenTable tokens, ReadOnlySpan<int> dialogue)
    {
        while (!dialogue.IsEmpty && tokens.IsSpecial(dialogue[^1])) dialogue = dialogue[..^1];
        if (!dialogue.IsEmpty && dialogue[^1] == tokens.Separator) dialogue = dialogue[..^1];
        return dialogue[(dialogue.LastIndexOf(tokens.Separator) + 1)..];
    }

    /// <summary>Whole Han characters, and the bytes of an unfinished one behind them; no count where anything else stands.</summary>
    private static (int? Count, int Unfinished) Read(TokenTable tokens, ReadOnlySpan<int> ids)
    {
        var bytes = new List<byte>();
        foreach (var id in ids) bytes.AddRange(tokens.Bytes(id));
        ReadOnlySpan<byte> left = bytes.ToArray();
        var count = 0;
        while (!left.IsEmpty)
        {
            var status = Rune.DecodeFromUtf8(left, out var rune, out var read);
            if (status == OperationStatus.NeedMoreData && left[0] is >= 0xE3 and <= 0xE9) return (count, left.Length);
            if (status != OperationStatus.Done || !TokenTable.IsHan(rune.Value)) return (null, 0);
            count++;
            left = left[read..];
        }
        return (count, 0);
    }

    private sealed class Row(TokenTable tokens, int length) : IRowRule
    {
        public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
        {
            if (reply.Length > 3 * length) return;                                          // a character has three bytes: longer than the line
            var (count, unfinished) = Read(tokens, reply);
            if (count is not { } said || said > length) return;
            var begun = said + (unfinished > 0 ? 1 : 0);
            var whole = said == length;
            for (var id = 0; id < scores.Length; id++)
            {
                var more = tokens.HanCharacters(id);
                if (whole ? more != 0 : begun + more > length) scores[id] = float.NegativeInfinity;
            }
            if (!whole) scores[tokens.Separator] = float.NegativeInfinity;
            Bans.KeepOne(scores, tokens.Separator);
        }
    }
}
