using System.Text;
using Chat.Domain.Plugins;

namespace Chat.Models.Decoding.Rules;

/// <summary>
/// The reply never contains one of the given strings, however it is cut into tokens: at each step every token is banned that
/// would complete one, counted in UTF-8 bytes.
/// </summary>
[Plugin("bad-words", Summary = "Bans tokens that would complete one of badWords.")]
public sealed class BadWordsRule : ILogitsRule
{
    public RuleStage Stage => RuleStage.Ban;

    public IRowRule? Start(DecodingOptions options, TokenTable tokens, ReadOnlyMemory<int> dialogue) =>
        options.BadWords.Count == 0 ? null : new Row(tokens, [.. options.BadWords.Select(Encoding.UTF8.GetBytes)]);

    private sealed class Row : IRowRule
    {
        private readonly TokenTable tokens;
        private readonly int longest;
        private readonly List<(byte[] Start, int[] Completing)> bans = [];                 // what has been said, what must not follow

        public Row(TokenTable tokens, IReadOnlyList<byte[]> words)
        {
            this.tokens = tokens;
            longest = words.Max(w => w.Length);
            foreach (var word in words)
                for (var said = 0; said < word.Length; said++)
                {
                    var rest = word.AsMemory(said);
                    var completing = Enumerable.Range(0, tokens.Count).Where(id => said == 0 ? tokens.Bytes(id).IndexOf(rest.Span) >= 0 : tokens.Bytes(id).StartsWith(rest.Span)).ToArray();
                    if (completing.Length > 0) bans.Add((word[..said], completing));
                }
        }

        public void Apply(Span<float> scores, ReadOnlySpan<int> reply)
        {
            var tail = Tail(reply);
            foreach (var (start, completing) in bans)
                if (tail.AsSpan().EndsWith(start)) Bans.Ban(scores, completing, tokens.Separator);
        }

        private byte[] Tail(ReadOnlySpan<int> reply)
        {
            var from = reply.Length;
            for (var length = 0; from > 0 && length < longest; from--) length += tokens.Bytes(reply[from - 1]).Length;
            var tail = new List<byte>();
            foreach (var id in reply[from..]) tail.AddRange(tokens.Bytes(id));
            return [.. tail];
        }
    }
}
